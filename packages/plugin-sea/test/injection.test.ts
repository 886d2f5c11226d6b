/** Sections 2.5, 4.3 and 4.5: what an injected abort or SError makes of every interrupted PSTATE. */
import { describe, expect, it } from 'vitest';
import injection from '../data/injection.json' with { type: 'json' };
import { type Bench, bench, PC, SPAN, start, UNTOUCHED, V, VBAR } from './support/bench.ts';

interface Row {
  readonly from: string;
  readonly pstate: string;
  readonly kind: string;
  readonly span: number;
  readonly ease?: number;
  readonly nmea?: number;
  readonly dssbs?: number;
  readonly mte?: number;
  readonly vector: string | null;
  readonly esr?: string;
  readonly esrBF?: string;
  readonly vsesr?: string;
  readonly newPstate: string;
}

/** SCTLR_EL1.DSSBS in its high half, and where the state keeps the register. */
const DSSBS = 1 << 12;
const SCTLR_SLOT = 4;
/** AArch32 and MTE are not in the CPU model. */
const driven = (r: Row): boolean => !r.from.startsWith('A32') && !r.mte;

/** A vCPU interrupted in the row's state, with FAR_EL2 = V captured. */
function interrupted(r: Row, set: Readonly<Record<string, string>> = {}): Bench {
  const b = bench({
    df2: r.ease === 1 || r.nmea !== undefined || r.dssbs !== undefined,
    set: { 'sea.eventsWithIabt': 'yes', ...set },
  });
  const base = 0x30d0_1805n & ~SPAN;
  start(b.cpu, base | (r.span ? SPAN : 0n));
  if (r.dssbs) b.arm.state.put(SCTLR_SLOT, b.arm.state.lo(SCTLR_SLOT), DSSBS);
  if (r.ease) b.cpu.set('sctlr2_el1', 0x20);
  if (r.nmea) b.cpu.set('sctlr2_el1', 0x4);
  // past the register's mask: the rows also name bits that this CPU model has not
  b.arm.state.setPstate(Number(BigInt.asIntN(32, BigInt(r.pstate))));
  b.arm.modeChanged();
  b.arm.fault = { esr: 0x9200_0010, far: V, hpfar: 0n };
  return b;
}

function check(b: Bench, r: Row, esr: string, far: bigint): void {
  expect(b.cpu.pc - VBAR).toBe(BigInt(Number.parseInt(r.vector ?? '0', 16)));
  expect(b.cpu.get('esr_el1').toString(16).toUpperCase()).toBe(esr);
  expect(b.cpu.get('elr_el1')).toBe(PC);
  expect(b.cpu.get('spsr_el1').toString(16)).toBe(BigInt(r.pstate).toString(16));
  expect(b.cpu.get('far_el1')).toBe(far);
  expect(b.cpu.get('pstate').toString(16)).toBe(BigInt(r.newPstate).toString(16));
}

const sea = [...injection.sea, ...injection.seaSsbsTco] as readonly Row[];
describe('external abort injected into an interrupted PSTATE -> vector, syndrome, new PSTATE', () => {
  it.each(sea.filter(driven))(
    '$from, $kind, EASE=$ease SPAN=$span DSSBS=$dssbs -> $vector $esr $newPstate',
    (r) => {
      const b = interrupted(r);
      b.cpu.op('set-vcpu-events', r.kind === 'fetch' ? { extIabtPending: true } : { extDabtPending: true });
      check(b, r, r.esr ?? '', V);
    },
  );
});

const serror = injection.serror as readonly Row[];
describe.each([
  ['BD', 'esr'],
  ['BF', 'esrBF'],
] as const)('SError injected, top byte %s', (top, field) => {
  it.each(serror.filter((r) => driven(r) && r.vector))(
    '$from, SPAN=$span NMEA=$nmea -> $vector, software entry',
    (r) => {
      const b = interrupted(r, { 'sea.vserrorTopByte': top });
      b.arm.injectSError();
      check(b, r, r[field] ?? '', UNTOUCHED);
    },
  );
});
describe('SError injected while PSTATE.A is set', () => {
  it.each(serror.filter((r) => driven(r) && !r.vector))(
    '$from, SPAN=$span -> VSE pending, nothing else changes',
    (r) => {
      const b = interrupted(r);
      b.arm.injectSError();
      expect(b.cpu.pc).toBe(PC);
      expect(b.cpu.get('pstate')).toBe(BigInt(r.newPstate));
      const e = b.cpu.op('get-vcpu-events', {});
      expect(e).toMatchObject({ serrorPending: true, serrorHasEsr: true });
      expect(e.serrorEsr.toString(16)).toBe(r.vsesr);
    },
  );
});

const skipped = [...sea, ...serror].filter((r) => !driven(r)).length;
describe.skipIf(skipped > 0)(`${skipped} rows need AArch32 or MTE, which the CPU model has not`, () => {
  it('none is left out', () => expect(skipped).toBe(0));
});
