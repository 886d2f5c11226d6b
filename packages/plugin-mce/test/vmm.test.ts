/** The VMM's relay: what of a SIGBUS reaches the guest, what the control socket and the log hear, what a reset leaves. */
import { x86 } from '@faultyard/arch-x86';
import { type AnyPlugin, createVm, drive, type Exit, type Signal, type Vcpu, type Vm } from '@faultyard/core';
import { describe, expect, it, vi } from 'vitest';
import { McaMsr } from '../src/bits.ts';
import {
  FILLER,
  injectMachineCheck,
  type MceRelay,
  mceRelay,
  monitorMce,
  type RelayStep,
  type RememberPages,
  resetVm,
  setupMachineChecks,
  shapeOf,
} from '../src/vmm/index.ts';
import { type Guest, guest, start } from './support/guest.ts';

const STATUS9 = McaMsr.MC0_STATUS + 36;
const PAGE = 0x9000;
const AR = { bank: 9, status: 0xbc00_0800_0000_0000n, mcgStatus: 7n, addr: 0x9000n, misc: 0x8cn };
const CE = { bank: 9, status: 0x9c00_0000_0000_009fn, mcgStatus: 0n, addr: 0x9000n, misc: 0x8cn };
const SRAR = { ...AR, status: 0xbd80_0000_0000_0134n };

/** A guest of one model with QEMU's setup. */
function made(model: 'zen3' | 'skylake', o: { vcpus?: number; lmce?: boolean; serP?: boolean } = {}): Guest {
  const g = guest({ model, cap: undefined, vcpus: o.vcpus ?? 1 });
  setupMachineChecks(g.vm, {
    ...(o.lmce ? { lmce: true } : {}),
    ...(o.serP === false ? { mcgCap: 0x10an } : {}),
  });
  for (const v of g.vm.vcpus as readonly Vcpu[]) if (v.id) start(v);
  g.vm.poke(PAGE, 0x600dn);
  return g;
}
/** The host loses a page of the guest. */
function lose(vm: Vm, to: Signal['to'], gpa: number = PAGE): void {
  drive(vm.memory.memoryFailure(gpa, to, (s) => vm.signals.send(s)));
}
const banks = (v: Vcpu, i = 9): readonly bigint[] =>
  v.op('get-msrs', { indices: [1, 2, 3].map((r) => McaMsr.MC0_CTL + 4 * i + r) });
const mcg = (v: Vcpu): bigint | undefined => v.op('get-msrs', { indices: [McaMsr.MCG_STATUS] })[0];
const set = (v: Vcpu, index: number, data: bigint): number => v.op('set-msrs', { msrs: [{ index, data }] });
const queued = (v: Vcpu): number | undefined => {
  const { exception: e } = v.op('x86-get-vcpu-events', {});
  return e.injected || e.pending ? e.nr : undefined;
};
const monitor = (r: MceRelay): readonly string[] =>
  r.log.filter((l) => l.to === 'monitor').map((l) => l.text);
const cpu = (vm: Vm, n: number): Vcpu => vm.vcpus[n] as Vcpu;

describe('shapes (section 2.6)', () => {
  it.each([
    ['AMD', 'BUS_MCEERR_AR', '10.0', 0xbc00_0800_0000_0000n, 7n],
    ['AMD', 'BUS_MCEERR_AO', '10.0', 0x9c00_1800_0000_0000n, 5n],
    ['Intel', 'BUS_MCEERR_AR', '10.0', 0xbd80_0000_0000_0134n, 7n],
    ['Intel', 'BUS_MCEERR_AO', '10.0', 0xbd00_0000_0000_00c0n, 5n],
    ['AMD', 'BUS_MCEERR_AR', '9.0', 0xbd80_0000_0000_0134n, 7n],
    ['AMD', 'BUS_MCEERR_AO', '9.0', 0xbd00_0000_0000_00c0n, 5n],
  ] as const)('%s %s of QEMU %s', (vendor, code, qemu, status, mcgStatus) => {
    expect(shapeOf(code, 0x1234_5000n, { vendor, qemu })).toEqual({
      bank: 9,
      status,
      mcgStatus,
      addr: 0x1234_5000n,
      misc: 0x8cn,
    });
  });
  it('filler: bank 1, VAL and UC alone', () => {
    expect(FILLER).toEqual({ bank: 1, status: 0xa000_0000_0000_0000n, mcgStatus: 5n, addr: 0n, misc: 0n });
  });
});

describe('an error by hand', () => {
  const flags = { actionRequired: false, recursive: false };
  it('UC -> banks, MCG_STATUS and #MC as KVM_X86_SET_MCE leaves them', () => {
    const [a, b] = [made('zen3'), made('zen3')];
    expect(injectMachineCheck(a.cpu, AR).event).toEqual({
      recipient: 'guest',
      action: 'inject',
      flags,
      vcpu: 0,
      bank: 9,
    });
    b.cpu.op('x86-set-mce', AR);
    for (const g of [a, b]) g.run('nop');
    expect([a.mcs, banks(a.cpu), mcg(a.cpu)]).toEqual([1, [AR.status, 0x9000n, 0x8cn], 7n]);
    expect([b.mcs, banks(b.cpu), mcg(b.cpu)]).toEqual([a.mcs, banks(a.cpu), mcg(a.cpu)]);
  });
  it.each([
    ['CE on nothing', 0n, CE, CE.status],
    ['CE on CE', CE.status, CE, CE.status | (1n << 62n)],
    ['CE on UC', AR.status, CE, AR.status | (1n << 62n)],
    ['UC on CE', CE.status, AR, AR.status | (1n << 62n)],
  ] as const)('%s -> STATUS', (_, old, mce, status) => {
    const { cpu: v } = made('zen3');
    set(v, STATUS9, old);
    expect(injectMachineCheck(v, mce).action).toBe('inject');
    expect(banks(v)[0]).toBe(status);
    expect(queued(v)).toBe(mce === AR ? 18 : undefined);
    expect(mcg(v)).toBe(mce === AR ? 7n : 0n);
  });
  it('rule a: MCIP set, bit 55 clear -> ignored, CE too; forced -> not', () => {
    for (const mce of [AR, CE]) {
      const { cpu: v } = made('zen3');
      set(v, McaMsr.MCG_STATUS, 4n);
      const r = injectMachineCheck(v, mce);
      expect([r.action, r.event?.flags]).toEqual(['ignore', { actionRequired: false, recursive: true }]);
      expect([banks(v)[0], queued(v)]).toEqual([0n, undefined]);
    }
    const { cpu: v } = made('zen3');
    set(v, McaMsr.MCG_STATUS, 4n);
    expect(injectMachineCheck(v, CE, true).action).toBe('inject');
    expect(injectMachineCheck(v, AR, true).action).toBe('reset');
  });
  it('rule b: MCIP with bit 55, or CR4.MCE clear -> a reset is asked for; nothing is stored', () => {
    const a = made('skylake').cpu;
    set(a, McaMsr.MCG_STATUS, 5n);
    const r = injectMachineCheck(a, SRAR);
    expect(r.event?.flags).toEqual({ actionRequired: true, recursive: true });
    expect([r.action, r.said?.text]).toEqual([
      'reset',
      'CPU 0: Previous MCE still in progress, raising triple fault',
    ]);
    const b = made('zen3').cpu;
    b.set('cr4', 0x620);
    const s = injectMachineCheck(b, AR);
    expect([s.action, s.said?.text]).toEqual([
      'reset',
      'CPU 0: MCE capability is not enabled, raising triple fault',
    ]);
    for (const v of [a, b]) expect([banks(v)[0], queued(v)]).toEqual([0n, undefined]);
  });
  it('rule c: #DF is on its way -> reset', () => {
    const { cpu: v } = made('zen3');
    const e = v.op('x86-get-vcpu-events', {});
    v.op('x86-set-vcpu-events', {
      ...e,
      exception: { ...e.exception, injected: true, nr: 8, hasErrorCode: true },
    });
    expect(injectMachineCheck(v, AR).action).toBe('reset');
    expect(queued(v)).toBe(8);
  });
  it.each([
    ['MCG_CTL 0', McaMsr.MCG_CTL, 0n, 'CPU 0: Uncorrected error reporting disabled'],
    ['MC9_CTL 0', McaMsr.MC0_CTL + 36, 0n, 'CPU 0: Uncorrected error reporting disabled for bank 9'],
  ])('%s -> UC is dropped without an event, CE is stored', (_, index, value, text) => {
    const { cpu: v } = made('zen3');
    set(v, index, value);
    const r = injectMachineCheck(v, AR);
    expect([r.action, r.event, r.said?.text, banks(v)[0]]).toEqual(['disabled', undefined, text, 0n]);
    expect(injectMachineCheck(v, CE).action).toBe('inject');
  });
  it('UCNA form -> no UCNA here: #MC with MCG_STATUS 0', () => {
    const { cpu: v } = made('skylake');
    expect(injectMachineCheck(v, { ...CE, status: 0xbc00_0000_0000_009fn }).action).toBe('inject');
    expect([queued(v), mcg(v)]).toEqual([18, 0n]);
  });
  it('a vCPU halted behind an interrupt controller in the kernel -> runs', () => {
    const g = guest({ model: 'skylake', cap: undefined });
    g.vm.op('create-irqchip', {});
    setupMachineChecks(g.vm);
    expect(g.run('nop').kind).toBe('intr'); // HLT stays in the kernel, and nothing wakes it
    expect(g.cpu.op('get-mp-state', {})).toBe(3);
    injectMachineCheck(g.cpu, SRAR);
    expect(g.cpu.op('get-mp-state', {})).toBe(0);
    g.cpu.run(100);
    expect(g.mcs).toBe(1);
  });
});

describe('the relay', () => {
  it('AO to the main thread, AMD guest -> vCPU 0, bank 9, no exception; a warning; KVM_X86_SET_MCE is not used', () => {
    const { vm, cpu: v, api } = made('zen3', { vcpus: 2 });
    const kvm = vi.spyOn(api, 'set');
    const relay = mceRelay(vm);
    lose(vm, 'main');
    expect(relay.main()).toEqual({ verdict: 'run' });
    expect(banks(v)).toEqual([0x9c00_1800_0000_0000n, BigInt(PAGE), 0x8cn]);
    expect([queued(v), mcg(v), banks(cpu(vm, 1), 1)[0]]).toEqual([undefined, 0n, 0n]);
    const hva = vm.memory.hvaOf(PAGE)?.toString(16);
    const text = `Guest MCE Memory Error at QEMU addr 0x${hva} and GUEST addr 0x9000 of type BUS_MCEERR_AO injected`;
    expect(relay.log).toEqual([{ to: 'warning', text }]);
    expect(relay.main()).toBeUndefined();
    expect(kvm).not.toHaveBeenCalled();
  });
  it('the guest loads from a bad page -> AR to its vCPU, #MC at the load', () => {
    const g = made('zen3');
    const relay = mceRelay(g.vm);
    g.vm.poison(PAGE);
    const e = g.run('mov rax, [9000h]');
    expect(relay.handle(e)).toEqual({ verdict: 'run' });
    expect(g.cpu.run(30).kind).toBe('intr'); // the handler changed nothing: the same load again
    expect([g.mcs, g.mcRip]).toEqual([1, 0x1000n]);
    expect(banks(g.cpu)[0]).toBe(AR.status);
    expect(relay.log[0]?.to).toBe('error');
  });
  it.each(['hlt', 'io', 'budget'] as const)('%s -> left to other handlers', (kind) => {
    const relay = mceRelay(made('zen3').vm);
    expect(relay.handle({ kind, vcpu: 0, ret: 0 } as unknown as Exit)).toBeUndefined();
  });
  it('EINTR without a signal -> left to other handlers', () => {
    const { vm } = made('zen3');
    expect(mceRelay(vm).handle({ kind: 'intr', vcpu: 0, ret: -1, errno: 'EINTR' })).toBeUndefined();
  });
  const intr: Exit = { kind: 'intr', vcpu: 0, ret: -1, errno: 'EINTR' };
  it('a second SIGBUS before the first is dealt with, or one of another code -> the process dies of it', () => {
    const { vm } = made('zen3');
    const relay = mceRelay(vm);
    lose(vm, { vcpu: 0 });
    lose(vm, { vcpu: 0 });
    expect(relay.handle(intr)).toEqual({ verdict: 'stop', why: 'killed by SIGBUS' });
    vm.signals.send({ signal: 'SIGBUS', code: 'BUS_ADRERR', to: { vcpu: 0 } });
    expect(relay.handle(intr)).toEqual({ verdict: 'stop', why: 'killed by SIGBUS' });
  });
  it('AR in the main thread -> abort', () => {
    const { vm } = made('zen3');
    vm.signals.send({ signal: 'SIGBUS', code: 'BUS_MCEERR_AR', to: 'main' });
    expect(mceRelay(vm).main()).toMatchObject({ verdict: 'stop', why: /^abort/ });
  });
  it('memory of the VMM, or no address -> AO warns or not, AR ends with status 1', () => {
    const { vm } = made('zen3');
    const relay = mceRelay(vm);
    const own = drive(vm.mm.mmap({ size: 4096 }));
    const send = (code: Signal['code'], to: Signal['to'], addr?: number): void =>
      vm.signals.send({
        signal: 'SIGBUS',
        code,
        to,
        ...(addr === undefined ? {} : { addr: addr as never, lsb: 12 }),
      });
    send('BUS_MCEERR_AO', 'main', own);
    send('BUS_MCEERR_AO', 'main');
    expect(relay.main()).toEqual({ verdict: 'run' });
    const flags = { actionRequired: false, recursive: false };
    const ignored = { recipient: 'hypervisor', action: 'ignore', flags };
    expect(relay.events).toEqual([ignored, ignored]);
    const at = `0x${own.toString(16)}`;
    const of = `Hardware memory error at addr ${at}`;
    expect(relay.log).toEqual([
      {
        to: 'warning',
        text: `${of} of type BUS_MCEERR_AO for memory used by QEMU itself instead of guest system!`,
      },
    ]);
    send('BUS_MCEERR_AR', { vcpu: 0 }, own);
    expect(relay.handle(intr)).toEqual({ verdict: 'stop', why: 'exit 1' });
    expect(relay.events.at(-1)).toEqual({ recipient: 'hypervisor', action: 'fatal', flags });
    expect(relay.log.at(-1)?.text).toBe(`QEMU got ${of}`);
  });
  it('MCG_CAP without SER_P -> not relayed, unless the VMM does not require it', () => {
    const strict = made('zen3', { serP: false });
    lose(strict.vm, { vcpu: 0 });
    expect(mceRelay(strict.vm).handle(intr)).toMatchObject({ verdict: 'stop', why: 'exit 1' });
    const lax = made('zen3', { serP: false });
    lose(lax.vm, { vcpu: 0 });
    expect(mceRelay(lax.vm, { requireSerP: false }).handle(intr)).toEqual({ verdict: 'run' });
    expect(queued(lax.cpu)).toBe(18);
  });
  it.each([
    ['skylake', '10.0', 'cpu', 18],
    ['skylake', '10.0', 'never', undefined],
    ['zen3', '10.0', 'cpu', undefined],
    ['zen3', '9.0', 'cpu', 18],
  ] as const)('%s, QEMU %s, broadcast %s -> the other vCPU: %s', (model, qemu, broadcast, other) => {
    const { vm } = made(model, { vcpus: 2 });
    const relay = mceRelay(vm, { qemu, broadcast });
    lose(vm, { vcpu: 0 });
    relay.handle(intr);
    expect(queued(cpu(vm, 0))).toBe(18);
    expect(queued(cpu(vm, 1))).toBe(other);
    expect(banks(cpu(vm, 1), 1)[0]).toBe(other ? FILLER.status : 0n);
    expect(relay.events.map((e) => [e.vcpu, e.bank])).toEqual(
      other
        ? [
            [0, 9],
            [1, 1],
          ]
        : [[0, 9]],
    );
  });
  it('LMCE enabled by the guest -> LMCE_S, no filler', () => {
    const { vm } = made('skylake', { vcpus: 2, lmce: true });
    expect(set(cpu(vm, 0), McaMsr.MCG_EXT_CTL, 1n)).toBe(1);
    lose(vm, 'main');
    mceRelay(vm).main();
    expect([mcg(cpu(vm, 0)), queued(cpu(vm, 1))]).toEqual([0xdn, undefined]);
  });
  it('a reset asked for -> verdict, and remembered until it is done', () => {
    const { vm, cpu: v } = made('zen3');
    v.set('cr4', 0x620);
    const relay = mceRelay(vm);
    lose(vm, { vcpu: 0 });
    expect(relay.handle(intr)).toEqual({ verdict: 'stop', why: 'system reset' });
    expect(relay.resetRequested).toBe(true);
    expect(relay.events).toMatchObject([{ recipient: 'guest', action: 'reset' }]);
    resetVm(relay, start);
    expect(relay.resetRequested).toBe(false);
  });
  it('steps of your own see everything first; two of one name are refused', () => {
    const { vm } = made('zen3');
    const seen: bigint[] = [];
    const look: RelayStep = {
      name: 'look',
      on: (e) => {
        seen.push(e.gpa ?? -1n);
        return 'next';
      },
    };
    const relay = mceRelay(vm, {}, look);
    lose(vm, 'main');
    relay.main();
    expect(seen).toEqual([BigInt(PAGE)]);
    expect(() => mceRelay(made('zen3').vm, {}, { name: 'own', on: () => 'next' })).toThrow(/FY_POLICY.*own/);
  });
  it('snapshot, restored into another VM -> events, log and list of pages', () => {
    const a = made('zen3');
    const relay = mceRelay(a.vm);
    lose(a.vm, 'main');
    relay.main();
    const b = made('zen3');
    const other = mceRelay(b.vm);
    b.vm.restore(a.vm.snapshot());
    expect(other.events).toEqual(relay.events);
    expect(other.log).toEqual(relay.log);
    expect((other.step('remember') as RememberPages).pages).toHaveLength(1);
  });
});

describe('reset', () => {
  it('MCG_STATUS goes; banks, MCG_CTL and MCG_EXT_CTL stay; the page has new memory', () => {
    const g = made('skylake', { lmce: true });
    const { vm, cpu: v } = g;
    const relay = mceRelay(vm);
    set(v, McaMsr.MCG_EXT_CTL, 1n);
    lose(vm, 'main');
    relay.main();
    const pages = relay.step('remember') as RememberPages;
    expect([pages.pages.length, pages.migratable]).toEqual([1, false]);
    set(v, McaMsr.MCG_CTL, 0n);
    resetVm(relay, start);
    const { MCG_STATUS, MCG_CTL, MCG_EXT_CTL } = McaMsr;
    expect(v.op('get-msrs', { indices: [MCG_STATUS, MCG_CTL, MCG_EXT_CTL] })).toEqual([0n, 0n, 1n]);
    expect(banks(v)[0]).toBe(0xbd00_0000_0000_00c0n);
    expect(queued(v)).toBeUndefined();
    expect(pages.migratable).toBe(true);
    expect(g.run('mov rax, [9000h]').kind).toBe('hlt');
    expect(v.get('rax')).toBe(0n);
  });
  it('what cannot be replaced -> exit 1, with its address', () => {
    const { vm } = made('zen3');
    const relay = mceRelay(vm);
    lose(vm, 'main');
    relay.main();
    const hva = vm.memory.hvaOf(PAGE) as number;
    vm.op('set-user-memory-region', { slot: 0, flags: 0, gpa: 0n, size: 0n, hva: 0n } as never);
    drive(vm.mm.munmap(hva, 4096));
    expect(resetVm(relay, start)).toEqual({ verdict: 'stop', why: 'exit 1' });
    expect(relay.log.at(-1)?.text).toBe(`Could not remap RAM 0x${hva.toString(16)}`);
  });
});

describe('the monitor', () => {
  const say = (g: Guest, words: string): readonly string[] => monitorMce(mceRelay(g.vm), words.split(' '));
  it.each([
    ['0 10 0xbc00080000000000 7 0x9000 0x8c', 'Invalid MCE bank number'],
    ['0 9 0x3c00080000000000 7 0x9000 0x8c', 'Invalid MCE status code'],
    ['1 9 0xbc00080000000000 7 0x9000 0x8c', 'CPU 1: there is none'],
    ['0 9 0xbc00080000000000 7 0x9000', 'usage: mce [-b] cpu bank status mcgstatus addr misc'],
    [
      '0 9 bc00 7 0x9000 0x8c',
      'mce: bc00 is not a number of 64 bits; usage: mce [-b] cpu bank status mcgstatus addr misc',
    ],
  ])('mce %s -> %s; nothing changes', (words, text) => {
    const g = made('zen3');
    const before = g.vm.stateHash();
    expect(say(g, words)).toEqual([text]);
    expect(g.vm.stateHash()).toBe(before);
  });
  it('a VM without the plugin -> not supported', () => {
    const vm = createVm({ arch: x86() as AnyPlugin, memslots: [] }) as unknown as Vm;
    expect(say({ vm } as Guest, '0 9 0xbc00080000000000 7 0 0')).toEqual(['MCE injection not supported']);
  });
  it('a VM without a relay -> injected all the same', () => {
    const { vm, cpu: v } = made('zen3');
    expect(monitorMce(vm, '0 9 0xbc00080000000000 7 0x9000 0x8c'.split(' '))).toEqual([]);
    expect([queued(v), mcg(v), vm.cells.has('mce.vmm')]).toEqual([18, 7n, false]);
    v.set('cr4', 0x620);
    expect(monitorMce(vm, '0 8 0xbc00080000000000 7 0x9000 0x8c'.split(' '))).toEqual([
      'CPU 0: MCE capability is not enabled, raising triple fault',
    ]);
  });
  it('UC with MCIP -> bit 55 is not asked for: a reset', () => {
    const g = made('zen3');
    set(g.cpu, McaMsr.MCG_STATUS, 4n);
    const relay = mceRelay(g.vm);
    expect(monitorMce(relay, '0 9 0xbc00080000000000 7 0x9000 0x8c'.split(' '))).toEqual([
      'CPU 0: Previous MCE still in progress, raising triple fault',
    ]);
    expect([relay.resetRequested, monitor(relay).length]).toEqual([true, 1]);
  });
  it('-b -> the filler for the others, where the CPU broadcasts', () => {
    const g = made('skylake', { vcpus: 2 });
    expect(say(g, '-b 1 9 0xbd80000000000134 7 0x9000 0x8c')).toEqual([]);
    expect([queued(cpu(g.vm, 1)), banks(cpu(g.vm, 0), 1)[0]]).toEqual([18, FILLER.status]);
    const old = made('skylake');
    const entries = old.cpu.op('get-cpuid2', {}).map((e) => (e.function === 1 ? { ...e, eax: 0x6d8 } : e));
    old.cpu.op('set-cpuid2', { entries });
    expect(say(old, '-b 0 9 0xbd80000000000134 7 0x9000 0x8c')).toEqual([
      'Guest CPU does not support MCA broadcast',
    ]);
  });
});

describe('setup', () => {
  it('QEMU gives both vendors CTL_P, SER_P, 10 banks; AMD is told of recovery', () => {
    for (const [model, ebx] of [
      ['zen3', 3],
      ['skylake', 0],
    ] as const) {
      const { cpu: v } = made(model);
      expect(v.op('get-msrs', { indices: [McaMsr.MCG_CAP] })).toEqual([0x0100_010an]);
      expect(v.op('get-cpuid2', {}).find((e) => e.function === 0x8000_0007)?.ebx).toBe(ebx);
    }
  });
  it('LMCE where KVM has none -> FY_POLICY, nothing changed', () => {
    const g = guest({ cap: undefined });
    const before = g.vm.stateHash();
    expect(() => setupMachineChecks(g.vm, { lmce: true })).toThrow(/FY_POLICY.*LMCE/);
    expect(g.vm.stateHash()).toBe(before);
  });
  it('LMCE -> firmware locks FEAT_CTL with bit 20', () => {
    const { cpu: v } = made('skylake', { lmce: true });
    expect(v.op('get-msrs', { indices: [McaMsr.FEAT_CTL, McaMsr.MCG_CAP] })).toEqual([
      0x10_0001n,
      0x0900_010an,
    ]);
  });
});
