/** Sections 3.2 to 3.4: what the exit's ESR shows, where the IPA comes from, and the order of the handler's tests. */
import { describe, expect, it } from 'vitest';
import data from '../data/esr-mask.json' with { type: 'json' };
import { hostOwns, SEA_KNOBS, type SeaKnobs, sanitise } from '../src/index.ts';
import { isWalkFsc } from '../src/report.ts';
import { bench, I, V } from './support/bench.ts';

const DEFAULTS = Object.fromEntries(
  Object.entries(SEA_KNOBS).map(([k, d]) => [k, d.default]),
) as unknown as SeaKnobs;
const bitsOf = (spec: string): number => {
  const [high, low = high] = spec.split(':').map(Number) as [number, number?];
  let mask = 0;
  for (let n = low as number; n <= Math.min(high, 31); n++) mask |= 1 << n;
  return mask >>> 0;
};

describe('arm_sea.esr', () => {
  it('mask of a VM without and with RAS', () => {
    expect(sanitise(0xffff_ffff, DEFAULTS, false)).toBe(Number(data.mask['vmRas=0']));
    expect(sanitise(0xffff_ffff, DEFAULTS, true)).toBe(Number(data.mask['vmRas>0']));
  });
  it.each(data.fields.filter((f) => f.field !== 'ISS2').map((f) => [f.field, f.bits, f.shown] as const))(
    '%s (%s) -> shown %s',
    (_, bits, shown) => {
      const mask = bitsOf(bits);
      const seen = (ras: boolean): number => sanitise(mask, DEFAULTS, ras);
      expect(seen(false)).toBe(shown === 'always' ? mask : 0);
      expect(seen(true)).toBe(shown === 'never' ? 0 : mask);
    },
  );
  it('walk codes are 13 to 17, and nothing else', () => {
    const walk = Array.from({ length: 64 }, (_, n) => n).filter(isWalkFsc);
    expect(walk.map((n) => n.toString(16).toUpperCase())).toEqual(data.seaFsc.seaOnWalk);
  });
});

describe('who owns an abort', () => {
  const esr = (ec: number, iss: number): { esr: number } => ({ esr: ((ec << 26) | iss) >>> 0 });
  it('host without FEAT_RAS -> host', () =>
    expect(hostOwns(esr(0x24, 0x10), { ...DEFAULTS, hostRas: '0' }, false)).toBe(true));
  it('VNCR data abort -> host in hypervisor context only', () => {
    expect(hostOwns(esr(0x25, 0x2010), DEFAULTS, true)).toBe(true);
    expect(hostOwns(esr(0x25, 0x2010), DEFAULTS, false)).toBe(false);
    expect(hostOwns(esr(0x20, 0x2010), DEFAULTS, true)).toBe(false);
  });
  it('walk with S1PTW -> host; without -> guest; S1PTW off a walk means nothing', () => {
    for (const n of data.seaFsc.seaOnWalk.map((x) => Number.parseInt(x, 16))) {
      expect(hostOwns(esr(0x24, n | 0x80), DEFAULTS, false)).toBe(true);
      expect(hostOwns(esr(0x24, n), DEFAULTS, false)).toBe(false);
    }
    expect(hostOwns(esr(0x24, 0x90), DEFAULTS, false)).toBe(false);
  });
});

describe('the handler', () => {
  const on = { 'sea.capEnabled': 'on' };
  it('a claim comes first: host owned or not, no SError and no exit', () => {
    const b = bench({ set: { ...on, 'sea.apei': 'claims' } });
    b.vm.poison(I);
    const pc = b.cpu.pc;
    expect(b.cpu.run(10)).toMatchObject({ kind: 'intr', ret: -1, errno: 'EINTR' });
    expect(b.cpu.pc).toBe(pc);
    expect(b.cpu.op('get-vcpu-events', {}).serrorPending).toBe(false);
    expect(b.vm.signals.drain({ vcpu: 0 })).toMatchObject([{ code: 'BUS_MCEERR_AR', lsb: 12 }]);
  });
  it('IPA by AT on FAR: the page, bit 0 of flags; nothing of a host address', () => {
    const b = bench({ set: on });
    b.vm.poison(I);
    expect(b.cpu.run(10)).toMatchObject({ kind: 'arm-sea', gpa: I, gva: V, flags: 1n });
  });
  it('invalid fields of the payload read 0', () => {
    const b = bench({ set: { ...on, 'sea.fnv': '1' } });
    b.vm.poison(I);
    b.cpu.run(10);
    const page = b.cpu.kvmRun;
    expect([32, 48, 56].map((at) => page.getBigUint64(at, true))).toEqual([0n, 0n, 0n]);
    for (let at = 64; at < 288; at += 8) expect(page.getBigUint64(at, true)).toBe(0n);
  });
});
