/** What a real KVM 6.18 answered, replayed: registers from both sides, KVM_X86_SETUP_MCE, KVM_X86_SET_MCE step by step. */
import { CR4 } from '@faultyard/arch-x86';
import { describe, expect, it } from 'vitest';
import observed from '../data/observed.json' with { type: 'json' };
import { CAP, fresh, type Guest, type GuestOptions } from './support/guest.ts';

interface Access {
  readonly msr: string;
  readonly cap?: string;
  readonly write?: string;
  readonly read?: string | null;
  readonly hwcr?: string;
  readonly vendor?: 'AMD' | 'Intel';
  readonly host?: 'ok' | 'refused';
  readonly guest?: 'ok' | 'gp';
  readonly after?: string;
}
interface Step {
  readonly set?: { bank: number; status: string; mcg?: number; addr?: string; misc?: string };
  readonly rc?: number;
  readonly run?: 'halt' | 'shutdown';
  readonly delivered?: number;
  readonly cr4mce?: boolean;
  readonly hostWrite?: { msr: string; value: string };
  readonly event?: { nr: number; pending?: boolean; injected?: boolean; errorCode?: number };
}
interface Injection {
  readonly id: string;
  readonly do: readonly Step[];
  readonly after: { status?: string; addr?: string; mcg?: string; event?: number | null };
}
const ACCESSES = observed.accesses as unknown as readonly Access[];
const INJECTIONS = observed.injections as unknown as readonly Injection[];

/** CPUIDs that answered alike. The observed backend has neither CMCI nor LMCE, as AMD's. */
const CPUIDS: readonly { readonly name: string; readonly vendor: string; readonly o: GuestOptions }[] = [
  { name: 'AMD', vendor: 'AMD', o: {} },
  { name: 'AMD with SMCA', vendor: 'AMD', o: { cpuid: 'AMD+SMCA' } },
  { name: 'Intel', vendor: 'Intel', o: { cpuid: 'Intel' } },
];
const capOf = (a: Access): bigint => (a.cap === undefined ? CAP : BigInt(a.cap));
const what = (a: Access): string =>
  `${a.msr}${a.write === undefined ? '' : ` <- ${a.write}`}${a.hwcr ? `, HWCR ${a.hwcr}` : ''}`;

it('capabilities and what is supported -> as observed', () => {
  const { vm, api } = fresh();
  expect(vm.caps.check(observed.capability.name === 'KVM_CAP_MCE' ? 31 : 0)).toBe(observed.capability.value);
  expect(vm.op('x86-get-mce-cap-supported', {})).toBe(BigInt(observed.supported));
  expect(api.supported).toBe(BigInt(observed.supported));
});

describe('KVM_X86_SETUP_MCE', () => {
  it.each(observed.setup.map((s) => [s.cap, s.rc] as const))('%s -> %i', (cap, rc) => {
    const { cpu, api } = fresh({ cap: undefined });
    const before = api.view(cpu);
    const arg = new Uint8Array(8);
    new DataView(arg.buffer).setBigUint64(0, BigInt(cap), true);
    const r = cpu.ioctl(0x4008_ae9c, arg);
    expect(r.ret < 0 ? (r.errno === 'EINVAL' ? -22 : r.errno) : r.ret).toBe(rc);
    if (rc) expect(api.view(cpu)).toEqual(before);
    else expect(api.view(cpu).banks.every((b) => b.ctl === 0xffff_ffff_ffff_ffffn)).toBe(true);
  });
});

describe.each(CPUIDS)('MSRs, CPUID of $name', ({ vendor, o }) => {
  const cases = ACCESSES.filter((a) => a.vendor === undefined || a.vendor === vendor).map(
    (a) => [what(a), a] as const,
  );
  const make = (a: Access): Guest => {
    const g = fresh({ ...o, cap: capOf(a) });
    if (a.hwcr !== undefined) expect(g.set(0xc001_0015, BigInt(a.hwcr))).toBe('ok');
    return g;
  };
  const readBack = (a: Access): bigint => BigInt(a.after ?? a.write ?? 0);
  it.each(cases.filter(([, a]) => a.host))('host %s -> as observed', (_, a) => {
    const g = make(a);
    const index = Number(a.msr);
    if (a.write === undefined) expect(g.get(index)).toBe(a.host === 'ok' ? BigInt(a.read ?? 0) : 'refused');
    else {
      const before = g.get(index);
      expect(g.set(index, BigInt(a.write))).toBe(a.host);
      expect(g.get(index)).toBe(a.host === 'ok' ? readBack(a) : before);
    }
  });
  it.each(cases.filter(([, a]) => a.guest))('guest %s -> as observed', (_, a) => {
    const g = make(a);
    const index = Number(a.msr);
    if (a.write === undefined) expect(g.rdmsr(index)).toBe(a.guest === 'ok' ? BigInt(a.read ?? 0) : 'gp');
    else {
      const before = g.get(index);
      expect(g.wrmsr(index, BigInt(a.write))).toBe(a.guest);
      expect(g.get(index)).toBe(a.guest === 'ok' ? readBack(a) : before);
    }
  });
});

/** The pending exception as KVM_GET_VCPU_EVENTS shows it. */
const pending = (g: Guest): number | null => {
  const { injected, pending: waits, nr } = g.cpu.op('x86-get-vcpu-events', {}).exception;
  return injected || waits ? nr : null;
};

function step(g: Guest, s: Step): void {
  const { cpu, vm } = g;
  if (s.set) {
    const { bank, status, mcg = 0, addr = '0', misc = '0x8C' } = s.set;
    const arg = new Uint8Array(64);
    const v = new DataView(arg.buffer);
    for (const [i, x] of [status, addr, misc, mcg].entries()) v.setBigUint64(8 * i, BigInt(x), true);
    v.setUint8(32, bank);
    const r = cpu.ioctl(0x4040_ae9e, arg);
    expect(r.ret < 0 && r.errno === 'EINVAL' ? -22 : r.ret).toBe(s.rc);
  } else if (s.run) {
    const at = cpu.pc;
    const before = g.mcs;
    const e = cpu.run();
    expect(e.kind).toBe(s.run === 'halt' ? 'hlt' : 'shutdown');
    if (s.run === 'shutdown') expect(cpu.kvmRun.getUint32(8, true)).toBe(8);
    if (s.delivered !== undefined) expect(g.mcs).toBe(s.delivered);
    // no error code: the saved RIP stands where it stands without one
    if (g.mcs > before) expect(g.mcRip).toBe(at);
    cpu.set('rip', at);
  } else if (s.cr4mce !== undefined) {
    const cr4 = cpu.get('cr4') & ~BigInt(CR4.MCE);
    cpu.set('cr4', s.cr4mce ? cr4 | BigInt(CR4.MCE) : cr4);
  } else if (s.hostWrite) expect(g.set(Number(s.hostWrite.msr), BigInt(s.hostWrite.value))).toBe('ok');
  else if (s.event) {
    const e = cpu.op('x86-get-vcpu-events', {});
    const { nr, pending: waits = false, injected = false, errorCode } = s.event;
    if (waits) vm.enableCap('exception-payload');
    const hasErrorCode = errorCode !== undefined;
    const exception = {
      ...e.exception,
      nr,
      pending: waits,
      injected,
      hasErrorCode,
      errorCode: errorCode ?? 0,
    };
    cpu.op('x86-set-vcpu-events', { ...e, flags: waits ? 0x10 : 0, exception });
  } else throw new Error(`no step: ${JSON.stringify(s)}`);
}

describe('KVM_X86_SET_MCE', () => {
  it.each(INJECTIONS.map((i) => [i.id, i] as const))('%s -> as observed', (_, i) => {
    const g = fresh();
    for (const s of i.do) step(g, s);
    const { status, addr, mcg, event } = i.after;
    if (status !== undefined) expect(g.get(0x425)).toBe(BigInt(status));
    if (addr !== undefined) expect(g.get(0x426)).toBe(BigInt(addr));
    if (mcg !== undefined) expect(g.get(0x17a)).toBe(BigInt(mcg));
    if (event !== undefined) expect(pending(g)).toBe(event);
  });
});

it(`KVM_GET_MSRS of ${observed.getMsrs.count} bank registers with ${observed.getMsrs.banks} banks -> ${observed.getMsrs.returns}`, () => {
  const { cpu } = fresh();
  const { from, count, returns } = observed.getMsrs;
  const indices = Array.from({ length: count }, (_, i) => Number(from) + i);
  expect(cpu.op('get-msrs', { indices })).toHaveLength(returns);
});
