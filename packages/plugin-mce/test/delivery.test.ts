/** What an injected machine check looks like to the guest: when vector 18 comes, with what, and what it costs. */
import { assemble, CR4, Vector } from '@faultyard/arch-x86';
import type { Exit, Vcpu } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { CAP, fresh, type Guest, guest, start } from './support/guest.ts';

const AR = 0xbc00_0800_0000_0000n;
const UCNA = 0xbc00_0000_0000_009fn;
const inject = (g: Guest, status: bigint = AR, mcgStatus = 7n, bank = 9): string =>
  g.api.set(g.cpu, { bank, status, mcgStatus, addr: 0x5000n, misc: 0x8cn });

describe('vector 18', () => {
  it('IF clear -> delivered; saved RIP is the next instruction, RF clear, no error code', () => {
    const g = fresh();
    expect(inject(g)).toBe('machine-check');
    expect(g.run('nop').kind).toBe('hlt');
    expect([g.mcs, g.mcRip, g.mcFlags & 0x1_0200n, g.mcCpl]).toEqual([1, 0x1000n, 0n, 0]);
  });
  it('at CPL 3 -> the handler sees CPL 3, and goes back there', () => {
    const g = fresh();
    inject(g);
    expect(g.user('here: jmp here').kind).toBe('budget');
    expect([g.mcs, g.mcCpl, g.cpu.get('cpl')]).toEqual([1, 3, 3n]);
  });
  it('in HLT -> the vCPU runs on; saved RIP is behind HLT', () => {
    const g = fresh();
    expect(g.run('nop; hlt').kind).toBe('hlt');
    inject(g);
    expect((g.cpu.run() as Exit).kind).toBe('hlt');
    expect([g.mcs, g.mcRip]).toEqual([1, 0x1002n]);
  });
  it('in the shadow of STI and MOV SS, and while NMIs are blocked -> at once', () => {
    for (const shadow of [1, 2]) {
      const g = fresh();
      const e = g.cpu.op('x86-get-vcpu-events', {});
      g.cpu.op('x86-set-vcpu-events', {
        ...e,
        flags: 5,
        interrupt: { ...e.interrupt, shadow },
        nmi: { injected: false, pending: 0, masked: true },
      });
      inject(g);
      g.run('nop');
      expect([g.mcs, g.mcRip]).toEqual([1, 0x1000n]);
    }
  });
  it('with an NMI waiting -> the machine check is pushed first', () => {
    const g = fresh();
    inject(g);
    g.cpu.op('nmi', {});
    g.run('nop');
    expect([g.mcRip, g.nmiRip]).toEqual([0x1000n, 0x2100n]);
  });
  it('over a pending #GP -> #GP is lost', () => {
    const g = fresh();
    (
      g.cpu.arch as unknown as { events: { queueException(v: number, e: number): void } }
    ).events.queueException(Vector.GP, 0);
    inject(g);
    g.run('nop');
    expect([g.mcs, g.gps]).toEqual([1, 0]);
  });
  it('no gate for 18, 11, 13 and 8 -> exit 8', () => {
    const g = fresh();
    g.cpu.set('idtr.limit', 0);
    inject(g);
    expect(g.run('nop').kind).toBe('shutdown');
    expect(g.cpu.kvmRun.getUint32(8, true)).toBe(8);
  });
});

describe('KVM_GET_VCPU_EVENTS of a pending machine check', () => {
  it('without KVM_CAP_EXCEPTION_PAYLOAD -> pending and injected; with it pending alone', () => {
    const g = fresh();
    inject(g);
    const seen = (): unknown => g.cpu.op('x86-get-vcpu-events', {}).exception;
    expect(seen()).toMatchObject({ nr: 18, hasErrorCode: false, pending: true, injected: true });
    g.vm.enableCap('exception-payload');
    expect(seen()).toMatchObject({ nr: 18, hasErrorCode: false, pending: true, injected: false });
  });
  it('a triple fault that waits -> shown with KVM_CAP_X86_TRIPLE_FAULT_EVENT', () => {
    const g = fresh();
    g.cpu.set('cr4', g.cpu.get('cr4') & ~BigInt(CR4.MCE));
    expect(inject(g)).toBe('triple-fault');
    expect(g.cpu.op('x86-get-vcpu-events', {}).tripleFaultPending).toBe(false);
    g.vm.enableCap('x86-triple-fault-event');
    expect(g.cpu.op('x86-get-vcpu-events', {})).toMatchObject({ tripleFaultPending: true, flags: 0x2d });
    expect(g.run('nop').kind).toBe('shutdown');
  });
});

it('two vCPUs, one is told -> only its banks and only its handler', () => {
  const g = guest({ vcpus: 2 });
  const other = g.vm.vcpus[1] as Vcpu;
  start(other);
  other.op('x86-setup-mce', { mcgCap: CAP });
  expect(g.api.set(other, { bank: 9, status: AR, mcgStatus: 7n })).toBe('machine-check');
  g.cpu.run();
  expect(g.mcs).toBe(0);
  other.run();
  expect(g.mcs).toBe(1);
  expect([g.api.view(g.cpu).banks[9]?.status, g.api.view(other).banks[9]?.status]).toEqual([0n, AR]);
  expect([g.api.view(g.cpu).mcgStatus, g.api.view(other).mcgStatus]).toEqual([0n, 7n]);
  g.vm.dispose();
});

describe('outcomes that the API tells beside the return of 0', () => {
  it.each([
    ['nothing there, corrected', 'logged', [], 0x9c00_0000_0000_009fn, 0n],
    ['a corrected one there', 'overflow', [0x9c00_0000_0000_009fn], 0x9c00_0000_0000_009fn, 0n],
    ['an uncorrected one there', 'marked', [UCNA], 0x9c00_0000_0000_009fn, 0n],
    ['UCNA', 'ucna', [], UCNA, 0n],
    ['uncorrected with MCG_STATUS 7', 'machine-check', [], UCNA, 7n],
    ['AR with MCG_STATUS 0', 'ucna', [], AR, 0n],
  ] as const)('%s -> %s', (_, outcome, before, status, mcgStatus) => {
    const g = fresh();
    for (const s of before) inject(g, s, 0n);
    expect(inject(g, status, mcgStatus)).toBe(outcome);
  });
  it.each([0x17b, 0x424])('MSR %o cleared -> disabled', (index) => {
    const g = fresh();
    g.set(index, 0n);
    expect(inject(g)).toBe('disabled');
    expect(g.api.view(g.cpu).banks[9]?.status).toBe(0n);
  });
});

describe('UCNA and CMCI', () => {
  /** A guest that spins with interrupts enabled, LVT CMCI at vector 40h; its APIC's version register. */
  const cmci = (o: { ctl2: bigint; masked?: boolean; cap?: bigint }): { g: Guest; version: number } => {
    const g = guest({ model: 'skylake', irqchip: true, cap: o.cap ?? CAP | 0x400n });
    if (o.ctl2) expect(g.set(0x289, o.ctl2)).toBe('ok');
    const state = g.cpu.op('get-lapic', {}).slice();
    const v = new DataView(state.buffer);
    v.setUint32(0xf0, 0x1ff, true);
    if (!o.masked) v.setUint32(0x2f0, 0x40, true);
    g.cpu.op('set-lapic', { state });
    return { g, version: v.getUint32(0x30, true) };
  };
  const spin = (g: Guest): { irqs: number; mcs: number } => {
    g.vm.write(0x1000, assemble('sti; here: jmp here', { origin: 0x1000n }).bytes);
    g.cpu.set('rip', 0x1000);
    expect(g.cpu.run(100).kind).toBe('budget');
    const { irqs, mcs } = g;
    g.vm.dispose();
    return { irqs, mcs };
  };
  it('CMCI_EN set, LVT CMCI open -> interrupt with its vector, no machine check', () => {
    const { g, version } = cmci({ ctl2: 0x4000_0001n });
    expect(version).toBe(0x6_0014);
    expect(inject(g, UCNA, 0n)).toBe('cmci');
    const before = g.api.view(g.cpu);
    expect([before.banks[9]?.status, before.mcgStatus]).toEqual([UCNA, 0n]);
    expect(spin(g)).toEqual({ irqs: 1, mcs: 0 });
  });
  it.each([
    ['CMCI_EN clear', { ctl2: 1n }],
    ['LVT CMCI masked, as SETUP leaves it', { ctl2: 0x4000_0001n, masked: true }],
  ])('%s -> stored without a word', (_, o) => {
    const { g } = cmci(o);
    expect(inject(g, UCNA, 0n)).toBe('ucna');
    expect(g.api.view(g.cpu).banks[9]?.status).toBe(UCNA);
    expect(spin(g)).toEqual({ irqs: 0, mcs: 0 });
  });
  it('without CMCI_P -> there is no LVT entry', () => {
    const { g, version } = cmci({ ctl2: 0n, cap: CAP });
    expect(version).toBe(0x5_0014);
    expect(inject(g, UCNA, 0n)).toBe('ucna');
    expect(spin(g).irqs).toBe(0);
  });
  it('a corrected error -> no interrupt: KVM raises CMCI for UCNA alone', () => {
    const { g } = cmci({ ctl2: 0x4000_0001n });
    expect(inject(g, 0x9c00_0000_0000_009fn, 0n)).toBe('logged');
    expect(spin(g).irqs).toBe(0);
  });
  it('a machine check for a vCPU that sleeps in HLT in the kernel -> it wakes', () => {
    const g = guest({ irqchip: true });
    g.vm.write(0x1000, assemble('hlt; here: jmp here', { origin: 0x1000n }).bytes);
    g.cpu.set('rip', 0x1000);
    g.cpu.run(10);
    expect(g.cpu.op('get-mp-state', {})).toBe(3);
    inject(g);
    expect(g.cpu.run(100).kind).toBe('budget');
    expect([g.mcs, g.mcRip]).toEqual([1, 0x1001n]);
    g.vm.dispose();
  });
  it('no interrupt controller in the kernel -> stored without a word', () => {
    const g = fresh({ model: 'skylake', cap: CAP | 0x400n });
    g.set(0x289, 0x4000_0000n);
    expect(inject(g, UCNA, 0n)).toBe('ucna');
    expect(g.api.view(g.cpu).banks[9]).toMatchObject({ status: UCNA, addr: 0x5000n, misc: 0x8cn });
  });
});

describe('a real machine check while the guest runs', () => {
  const touch = (set: Readonly<Record<string, string>>): { e: Exit; signals: readonly unknown[] } => {
    const g = guest({ set });
    g.vm.poison(0x9000);
    const e = g.run('mov eax, [9008h]');
    const signals = g.vm.signals.drain({ vcpu: 0 });
    g.vm.dispose();
    return { e, signals };
  };
  it('-> SIGBUS, action required, for the thread of the vCPU; KVM_RUN returns EINTR', () => {
    const { e, signals } = touch({});
    expect(e).toMatchObject({ kind: 'intr', errno: 'EINTR' });
    expect(signals).toMatchObject([{ signal: 'SIGBUS', code: 'BUS_MCEERR_AR', lsb: 12 }]);
  });
  it("with the signature of erratum 383 -> the guest's triple fault, no signal", () => {
    const { e, signals } = touch({ hostMc: 'erratum383' });
    expect([e.kind, signals]).toEqual(['shutdown', []]);
  });
});
