/** Every value of every knob shows in something that a guest, a VMM or an observer sees; one that shows nowhere is a bug. */
import { describe, expect, it } from 'vitest';
import switches from '../data/switches.json' with { type: 'json' };
import { MCE_KNOBS } from '../src/index.ts';
import { type Guest, type GuestOptions, guest } from './support/guest.ts';

const AO = 0x9c00_1800_0000_0000n;
const DESTAT = 0xc000_2098;
const CONFIG = 0xc000_2094;
const text = (...v: readonly unknown[]): string => v.map(String).join(' ');
const touched = (g: Guest): string => {
  g.vm.poison(0x9000);
  return g.run('mov eax, [9008h]').kind;
};

interface Probe {
  readonly o?: GuestOptions;
  readonly see: (g: Guest) => string;
  /** What is seen, by value. */
  readonly want: Readonly<Record<string, string>>;
}
/** For each knob, what tells its values apart. */
const PROBES: Readonly<Record<keyof typeof MCE_KNOBS, readonly Probe[]>> = {
  smcaDestat: [
    {
      see: (g) => {
        g.set(0xc001_0015, 0x4_0000n);
        return text(g.wrmsr(DESTAT, 0n), g.wrmsr(DESTAT, 5n), g.rdmsr(DESTAT));
      },
      want: { reject: 'gp gp gp', ignore: 'ok ok 0', validate: 'ok gp 0', full: 'ok ok 5' },
    },
  ],
  deferredFillsDestat: [
    {
      o: { set: { smcaDestat: 'full' } },
      see: (g) => {
        g.api.set(g.cpu, { bank: 9, status: AO, addr: 0x5000n });
        return text(g.rdmsr(DESTAT), g.rdmsr(DESTAT + 1));
      },
      want: { off: '0 gp', on: text(AO, 0x5000n) },
    },
  ],
  razwi: [
    {
      see: (g) => {
        g.api.set(g.cpu, { bank: 9, status: AO });
        return text(g.wrmsr(CONFIG, 1n), g.rdmsr(CONFIG), g.rdmsr(0xc000_2091));
      },
      want: { off: 'gp gp gp', on: 'ok 0 0', aliased: text('ok 0', AO) },
    },
  ],
  gated: [
    {
      o: { set: { smcaDestat: 'ignore' }, cpuid: 'AMD' },
      see: (g) => g.wrmsr(DESTAT, 0n),
      want: { off: 'ok', on: 'gp' },
    },
    {
      o: { set: { smcaDestat: 'ignore' }, cpuid: 'AMD+SMCA' },
      see: (g) => g.wrmsr(DESTAT, 0n),
      want: { off: 'ok', on: 'ok' },
    },
  ],
  ignoreMsrs: [{ see: (g) => text(g.rdmsr(CONFIG), g.rdmsr(0x428)), want: { off: 'gp gp', on: '0 gp' } }],
  userExit: [
    {
      see: (g) => {
        g.cpu.set('rcx', DESTAT);
        return g.run('wrmsr').kind;
      },
      want: { off: 'hlt', on: 'x86-wrmsr' },
    },
  ],
  hwcrRule: [
    {
      o: { cpuid: 'AMD' },
      see: (g) => {
        const entries = g.vm
          .op('get-supported-cpuid', {})
          .map((e) => (e.function === 0x8000_0021 ? { ...e, eax: e.eax | 0x2_0000 } : e));
        g.cpu.op('set-cpuid2', { entries });
        const one = (v: bigint): string => g.wrmsr(0xc001_0015, v);
        return text(one(0x100_0000n), one(1n << 35n), one(0x4_0000n), one(0n), g.rdmsr(0xc001_0015));
      },
      want: { new: 'ok ok ok ok 0', '6.12': 'ok gp ok ok 0', '6.1': 'gp gp ok ok 262144' },
    },
  ],
  backend: [
    {
      see: (g) => text(g.api.supported.toString(16), g.get(0x3a)),
      want: { cpu: '1000100 refused', AMD: '1000100 refused', Intel: '9000500 0' },
    },
    {
      o: { model: 'skylake' },
      see: (g) => text(g.api.supported.toString(16), g.rdmsr(0x3a)),
      want: { cpu: '9000500 0', AMD: '1000100 gp', Intel: '9000500 0' },
    },
  ],
  rasCpuid: [
    {
      see: (g) => {
        g.cpu.set('rax', 0x8000_0007n);
        g.run('cpuid');
        return g.cpu.get('rbx').toString();
      },
      want: { kvm: '0', qemu: '3', cpu: '8' },
    },
    {
      o: { model: 'skylake' },
      see: (g) => {
        g.cpu.set('rax', 0x8000_0007n);
        g.run('cpuid');
        return g.cpu.get('rbx').toString();
      },
      want: { kvm: '0', qemu: '0', cpu: '0' },
    },
  ],
  hostMc: [{ see: touched, want: { sigbus: 'intr', erratum383: 'shutdown' } }],
};

describe.each(Object.entries(PROBES))('%s', (id, probes) => {
  const values = MCE_KNOBS[id as keyof typeof MCE_KNOBS].values as readonly string[];
  const seen = (p: Probe, value: string): string => {
    const g = guest({ ...p.o, set: { ...p.o?.set, [id]: value } });
    const out = p.see(g);
    g.vm.dispose();
    return out;
  };
  it.each(probes.map((p, n) => [n, p] as const))('probe %i -> what each value gives', (_, p) => {
    expect(Object.keys(p.want).sort()).toEqual([...values].sort());
    for (const v of values) expect([v, seen(p, v)]).toEqual([v, p.want[v]]);
  });
  it('every value differs from every other in some probe', () => {
    const alike = values.flatMap((a, i) =>
      values
        .slice(i + 1)
        .filter((b) => probes.every((p) => p.want[a] === p.want[b]))
        .map((b) => `${a} ${b}`),
    );
    expect(alike).toEqual([]);
  });
});

it("the data's switches -> knobs of the plugin, with the same default and values", () => {
  const ours: Readonly<Record<string, { values?: readonly string[]; default: string }>> = MCE_KNOBS;
  for (const [id, s] of Object.entries(switches.knobs)) {
    const knob = ours[id];
    expect(knob, id).toBeDefined();
    for (const value of Object.keys(s.values)) expect(knob?.values, id).toContain(value);
    expect(knob?.default, id).toBe(s.default === 'the model vendor' ? 'cpu' : s.default);
  }
});
