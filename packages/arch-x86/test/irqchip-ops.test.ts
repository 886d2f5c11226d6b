/** Interrupt controllers in the kernel as a VMM meets them: KVM's operations, HLT, INIT and SIPI, lines and MSIs. */
import { createVm, type OpCodec, type OpName, type Vcpu, type Vm } from '@faultyard/core';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { afterEach, describe, expect, it } from 'vitest';
import { Apic, assemble, type X86IrqChip, type X86Vcpu, x86 } from '../src/index.ts';
import { IRQCHIP_CAPS, IRQCHIP_OPS } from '../src/ops/irqchip.ts';
import { closeLabs, type LongLab, longLab } from './support/long-lab.ts';

const unless =
  missingFor('native') ?? (process.arch === 'x64' ? undefined : 'the compiler here is not for x86');
const said = capture({
  record: new URL('recorded/irqchip-abi.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/irqchip-abi.c', import.meta.url) }),
});
const lines = (text: string): string[] => text.split('\n').filter((l) => l);
const kvm = new Map(lines(said.text).map((l) => l.split(' ') as [string, string]));
const codecOf = (name: string): OpCodec<OpName> => IRQCHIP_OPS.find((o) => o.name === name)?.codec as never;

describe(`structures and numbers, ${said.how === 'live' ? 'the installed <linux/kvm.h>' : 'recorded'}`, () => {
  it.skipIf(unless !== undefined)(
    `C on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
    () => expect(lines(said.text)).toEqual(lines(said.recorded ?? '')),
  );
  it.each(IRQCHIP_OPS.map((o) => [o.kvm, o.ioctl] as const))('%s -> ioctl number', (name, ioctl) => {
    expect(ioctl).toBe(Number(kvm.get(name)));
  });
  it.each(IRQCHIP_CAPS.map((c) => [c.kvm, c.number] as const))('%s -> number', (name, n) => {
    expect(n).toBe(Number(kvm.get(name)));
  });
  it.each([
    ['set-irqchip', 520],
    ['get-lapic', Number(kvm.get('sizeof.kvm_lapic_state'))],
    ['set-pit2', Number(kvm.get('sizeof.kvm_pit_state2'))],
    ['create-pit2', Number(kvm.get('sizeof.kvm_pit_config'))],
  ])('%s -> bytes of its structure', (name, size) => {
    expect(codecOf(name).size).toBe(size);
  });
  const io = new Uint8Array(216);
  const dv = new DataView(io.buffer);
  dv.setUint32(0, 0xfec0_0000, true);
  dv.setUint32(8, 0x12, true);
  dv.setUint32(12, 3, true);
  dv.setUint32(16, 0x0081_0203, true);
  for (let i = 0; i < 24; i++)
    dv.setBigUint64(24 + 8 * i, 0x0100_0000_0001_0030n + (BigInt(i) << 56n) + BigInt(i), true);
  const pic = Uint8Array.of(1, 2, 3, 4, 5, 0x70, 1, 0, 1, 0, 1, 0, 1, 1, 0x10, 0xde);
  it.each([
    ['set-irqchip', 'op.set-irqchip', { chip: 2, state: io }],
    ['set-irqchip', 'op.set-irqchip.pic', { chip: 1, state: pic }],
    ['create-pit2', 'op.create-pit2', { flags: 1 }],
    [
      'set-gsi-routing',
      'op.set-gsi-routing',
      {
        flags: 0,
        routes: [
          { gsi: 0, chip: 2, pin: 2 },
          { gsi: 24, address: 0x1_fee0_1000n, data: 0x4051 },
        ],
      },
    ],
  ])('argument of %s -> bytes %s, and back', (name, key, arg) => {
    const bytes = kvm.get(key) ?? '';
    const out = new DataView(new ArrayBuffer(bytes.length / 2));
    codecOf(name).encode(arg as never, out, undefined as never);
    expect(Buffer.from(out.buffer).toString('hex')).toBe(bytes);
    expect(codecOf(name).decode(out, undefined as never)).toEqual(arg);
  });
});

const open: Vm[] = [];
afterEach(() => {
  closeLabs();
  for (const vm of open.splice(0)) vm.dispose();
});
function make(irqchip: 'none' | 'kernel', vcpus = 2): Vm {
  const vm = createVm({
    arch: x86({ irqchip }),
    vcpus,
    memslots: [{ gpa: 0n, size: 0x1_0000n }],
  }) as unknown as Vm;
  open.push(vm);
  return vm;
}
const cpu = (vm: Vm, n = 0): Vcpu => vm.vcpus[n] as Vcpu;
const archOf = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;
const errno = (f: () => unknown): string => {
  try {
    f();
    return 'no error';
  } catch (e) {
    return String((e as { errno?: string }).errno);
  }
};

describe('operations', () => {
  it('without controllers -> KVM’s errno, nothing made', () => {
    const vm = make('none');
    const state = new Uint8Array(1024);
    expect({
      line: errno(() => vm.op('gsi-line', { irq: 4, level: true })),
      status: errno(() => vm.op('gsi-line-status', { irq: 4, level: true })),
      msi: errno(() => vm.op('signal-msi', { address: 0xfee0_0000n, data: 0x41 })),
      get: errno(() => vm.op('get-irqchip', { chip: 0 })),
      set: errno(() => vm.op('set-irqchip', { chip: 0, state })),
      pit: errno(() => vm.op('create-pit2', { flags: 0 })),
      getPit: errno(() => vm.op('get-pit2', {})),
      routes: errno(() => vm.op('set-gsi-routing', { routes: [] })),
      lapic: errno(() => cpu(vm).op('get-lapic', {})),
      setLapic: errno(() => cpu(vm).op('set-lapic', { state })),
      halted: errno(() => cpu(vm).op('set-mp-state', { mpState: 3 })),
    }).toEqual({
      ...{ line: 'ENXIO', status: 'ENXIO', msi: 'EINVAL', get: 'ENXIO', set: 'ENXIO', pit: 'ENOENT' },
      ...{ getPit: 'ENXIO', routes: 'EINVAL', lapic: 'EINVAL', setLapic: 'EINVAL', halted: 'EINVAL' },
    });
    expect(vm.irqchip).toBeUndefined();
    expect(cpu(vm, 1).op('get-mp-state', {})).toBe(0);
  });
  it('KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2 -> as the option makes them; twice EEXIST; after a run EINVAL', () => {
    const vm = make('none');
    vm.ioctl(0xae60);
    vm.op('create-pit2', { flags: 1 });
    expect(vm.stateHash()).toBe(make('kernel').stateHash());
    expect([
      errno(() => vm.op('create-irqchip', {})),
      errno(() => vm.op('create-pit2', { flags: 0 })),
      errno(() => cpu(vm).op('interrupt', { irq: 33 })),
      errno(() => vm.op('get-irqchip', { chip: 3 })),
    ]).toEqual(['EEXIST', 'EEXIST', 'ENXIO', 'EINVAL']);
    const late = make('none');
    late.write(0, Uint8Array.of(0xf4));
    cpu(late).set('cs.base', 0);
    cpu(late).set('rip', 0);
    cpu(late).run();
    expect(errno(() => late.op('create-irqchip', {}))).toBe('EINVAL');
  });
  it('CPUID -> APIC, x2APIC and TSC deadline where they are, and ids', () => {
    const leaf = (vm: Vm, n: number): readonly number[] => {
      const { cpuid } = archOf(cpu(vm, n));
      cpuid.query(1, 0);
      return [cpuid.regs[3] as number, cpuid.regs[2] as number, (cpuid.regs[1] as number) >>> 24];
    };
    const [edx = 0, ecx = 0, id] = leaf(make('kernel'), 1);
    expect([(edx >>> 9) & 1, (ecx >>> 21) & 1, (ecx >>> 24) & 1, id]).toEqual([1, 1, 1, 1]);
    const [none = 0, few = 0] = leaf(make('none'), 1);
    expect([(none >>> 9) & 1, (few >>> 21) & 1, (few >>> 24) & 1]).toEqual([0, 0, 0]);
  });
  it('a snapshot from before KVM_CREATE_IRQCHIP -> they go; one from after -> they come', () => {
    const vm = make('none');
    const before = vm.snapshot();
    const hash = vm.stateHash();
    vm.op('create-irqchip', {});
    vm.op('create-pit2', { flags: 1 });
    const after = vm.snapshot();
    const made = vm.stateHash();
    vm.restore(before);
    expect([vm.stateHash(), vm.irqchip, archOf(cpu(vm)).apic]).toEqual([hash, undefined, undefined]);
    vm.restore(after);
    expect(vm.stateHash()).toBe(made);
    expect(vm.op('gsi-line-status', { irq: 4, level: true })).toBeGreaterThan(0);
    before.dispose();
    after.dispose();
  });
  it('KVM_GET then KVM_SET of every chip into another VM -> the same bytes there', () => {
    const a = make('kernel');
    archOf(cpu(a)).apic?.write(Apic.Spiv, 0x1ff);
    archOf(cpu(a)).apic?.write(Apic.Tpr, 0x30);
    a.op('gsi-line', { irq: 9, level: true });
    const b = make('kernel');
    for (const chip of [0, 1, 2]) b.op('set-irqchip', { chip, state: a.op('get-irqchip', { chip }) });
    b.op('set-pit2', { state: a.op('get-pit2', {}) });
    cpu(b).op('set-lapic', { state: cpu(a).op('get-lapic', {}) });
    for (const chip of [0, 1, 2])
      expect(b.op('get-irqchip', { chip })).toEqual(a.op('get-irqchip', { chip }));
    expect(cpu(b).op('get-lapic', {})).toEqual(cpu(a).op('get-lapic', {}));
    expect(cpu(b).get('cr8')).toBe(3n);
  });
  it('mp_state -> the first runnable, others uninitialized; set as KVM lets it', () => {
    const vm = make('kernel');
    const state = (): number => cpu(vm, 1).op('get-mp-state', {});
    expect([cpu(vm).op('get-mp-state', {}), state()]).toEqual([0, 1]);
    cpu(vm, 1).op('set-mp-state', { mpState: 2 });
    expect(state()).toBe(2);
    archOf(cpu(vm, 1)).apic?.accept({ mode: 6, vector: 0x12, level: false, assert: true });
    expect([state(), cpu(vm, 1).get('cs'), cpu(vm, 1).get('cs.base'), cpu(vm, 1).pc]).toEqual([
      ...[0, 0x1200n, 0x1_2000n, 0n],
    ]);
    cpu(vm, 1).op('set-mp-state', { mpState: 3 });
    expect(state()).toBe(3);
    // SIPI_RECEIVED: the SIPI is pending
    cpu(vm, 1).op('set-mp-state', { mpState: 4 });
    expect(state()).toBe(0);
    expect(errno(() => cpu(vm, 1).op('set-mp-state', { mpState: 7 }))).toBe('EINVAL');
  });
  it('RESET of the machine -> the others wait again, the APIC is as at the start', () => {
    const vm = make('kernel');
    const other = archOf(cpu(vm, 1));
    cpu(vm, 1).op('set-mp-state', { mpState: 0 });
    other.apic?.write(Apic.Spiv, 0x1ff);
    other.reset(false);
    (vm.irqchip as X86IrqChip).reset();
    expect([cpu(vm, 1).op('get-mp-state', {}), other.apic?.read(Apic.Spiv)]).toEqual([1, 0xff]);
    expect(vm.stateHash()).toBe(make('kernel').stateHash());
  });
  it('INIT in SMM -> latched until RSM, shown in vcpu events; a SIPI is lost', () => {
    const vm = make('kernel', 1);
    const arch = archOf(cpu(vm));
    arch.events.smi.smm = true;
    arch.apic?.accept({ mode: 5, vector: 0, level: false, assert: true });
    arch.apic?.accept({ mode: 6, vector: 1, level: false, assert: true });
    cpu(vm).set('rax', 77);
    cpu(vm).op('get-mp-state', {});
    const { smi } = cpu(vm).op('x86-get-vcpu-events', {});
    expect([smi.latchedInit, arch.apic?.pendingSipi, cpu(vm).get('rax')]).toEqual([true, false, 77n]);
    expect(errno(() => cpu(vm).op('set-mp-state', { mpState: 2 }))).toBe('EINVAL');
    arch.events.smi.smm = false;
    cpu(vm).op('get-mp-state', {});
    expect([arch.apic?.pendingInit, cpu(vm).get('rax'), cpu(vm).pc]).toEqual([false, 0n, 0xfff0n]);
  });
  it('TPR, CR8, KVM_SET_SREGS -> one register', () => {
    const vm = make('kernel', 1);
    const { apic } = archOf(cpu(vm));
    apic?.write(Apic.Tpr, 0x75);
    expect(cpu(vm).op('get-sregs', {}).cr8).toBe(7n);
    cpu(vm).op('set-sregs', { ...cpu(vm).op('get-sregs', {}), cr8: 9n });
    expect(apic?.read(Apic.Tpr)).toBe(0x90);
    cpu(vm).set('cr8', 2);
    expect(apic?.read(Apic.Tpr)).toBe(0x20);
  });
});

/** The 8259s masked, the APIC on. */
const APIC = `
  mov al, 0ffh
  out 21h, al
  out 0a1h, al
  mov rbx, 0fee00000h
  mov dword ptr [rbx + 0f0h], 1ffh
`;
/** A guest with handlers that count in RBP and end their interrupt. */
function guest(text: string, vectors: readonly number[] = [0x40, 0x41]): LongLab {
  const lab = longLab(`${APIC}\nxor ebp, ebp\n${text}`, { irqchip: 'kernel' });
  lab.gib(0xc000_0000, 0xc000_0000);
  const handler = assemble('inc ebp\nmov dword ptr [rbx + 0b0h], 0\niretq').bytes;
  for (const v of vectors) lab.vm.write(0x6000 + 16 * v, handler);
  return lab;
}
const taken = (lab: LongLab): bigint => lab.cpu.get('rbp');

describe('a vCPU', () => {
  it('HLT with nothing to come -> intr; then a line, an MSI -> awake', () => {
    const lab = guest('sti\n1: hlt\njmp 1b');
    const chip = lab.vm.irqchip as X86IrqChip;
    chip.ioApic.write(0, 0x18);
    chip.ioApic.write(16, 0x40);
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 0n]);
    expect(lab.cpu.op('get-mp-state', {})).toBe(3);
    expect(lab.vm.op('gsi-line-status', { irq: 4, level: true })).toBeGreaterThan(0);
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 1n]);
    expect(lab.vm.op('gsi-line-status', { irq: 4, level: true })).toBe(0);
    expect(lab.vm.op('signal-msi', { address: 0xfee0_0000n, data: 0x41 })).toBe(1);
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 2n]);
    expect(errno(() => lab.vm.op('signal-msi', { address: 0xfee0_9000n, data: 0x41 }))).toBe('no error');
  });
  it('a level-triggered line held -> again after every EOI, until it is let go', () => {
    const lab = guest('sti\n1: hlt\njmp 1b');
    const chip = lab.vm.irqchip as X86IrqChip;
    chip.ioApic.write(0, 0x1a);
    chip.ioApic.write(16, 0x8041);
    lab.run();
    lab.vm.op('gsi-line', { irq: 5, level: true });
    expect(lab.run(1000).kind).toBe('budget');
    const many = taken(lab);
    expect(many).toBeGreaterThan(100n);
    lab.vm.op('gsi-line', { irq: 5, level: false });
    expect(lab.run().kind).toBe('intr');
    expect(taken(lab) - many).toBeLessThanOrEqual(2n);
  });
  it.each([
    ['periodic timer, IF = 0', 'mov dword ptr [rbx + 320h], 20040h\nmov dword ptr [rbx + 380h], 100000'],
    ['periodic timer, masked', 'mov dword ptr [rbx + 320h], 30040h\nmov dword ptr [rbx + 380h], 100000\nsti'],
    ['8254, masked', 'mov al, 34h\nout 43h, al\nmov al, 0ffh\nout 21h, al\nout 40h, al\nout 40h, al\nsti'],
    ['8254, IF = 0', 'mov al, 34h\nout 43h, al\nout 40h, al\nout 40h, al'],
  ])('HLT with a %s -> the run ends: nothing wakes it', (_, text) => {
    const lab = guest(`${text}\nhlt`);
    expect(lab.run(1_000_000).kind).toBe('intr');
  });
  it('KVM_NMI, KVM_SMI and INIT to a vCPU in HLT -> awake', () => {
    const lab = guest('hlt\nmov ecx, 1234h\nout 80h, al');
    lab.vm.write(0x6000 + 16 * 2, assemble('iretq').bytes);
    expect(lab.run().kind).toBe('intr');
    lab.cpu.op('nmi', {});
    expect([lab.run().kind, lab.cpu.get('rcx')]).toEqual(['io', 0x1234n]);
  });
  it('LVT CMCI -> an interrupt wakes it', () => {
    const lab = guest('sti\n1: hlt\njmp 1b');
    expect(lab.run().kind).toBe('intr');
    const { apic } = lab.arch;
    apic?.setCmci(true);
    apic?.write(Apic.LvtCmci, 0x41);
    apic?.local(Apic.LvtCmci);
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 1n]);
  });
  it('an 8259 line through LINT0 -> its vector; the controller needs its own EOI', () => {
    const lab = guest('sti\n1: hlt\njmp 1b', [0x24]);
    lab.run();
    for (const [port, v] of [
      [0x20, 0x11],
      [0x21, 0x20],
      [0x21, 4],
      [0x21, 1],
      [0x21, 0xef],
    ] as const)
      lab.vm.ports.store(port, 1, 0, v, 0);
    lab.vm.op('gsi-line', { irq: 4, level: true });
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 1n]);
    for (const level of [false, true]) lab.vm.op('gsi-line', { irq: 4, level });
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 1n]);
    lab.vm.ports.store(0x20, 1, 0, 0x20, 0);
    expect([lab.run().kind, taken(lab)]).toEqual(['intr', 2n]);
  });
  it('instructions that KVM emulates on the APIC page -> as plain moves', () => {
    const lab = guest(`
      mov dword ptr [rbx + 80h], 20h
      mov eax, 30h
      xchg dword ptr [rbx + 80h], eax
      add dword ptr [rbx + 80h], 10h
      movzx ecx, byte ptr [rbx + 80h]
      mov rsi, rbx
      lea rdi, [0a800h]
      mov edx, dword ptr [rbx + 30h]
      or edx, dword ptr [rbx + 80h]
      out 80h, al`);
    expect(lab.run().kind).toBe('io');
    expect(['rax', 'rcx', 'rdx'].map((r) => lab.cpu.get(r))).toEqual([0x20n, 0x40n, 0x5_0054n]);
  });
  it('single-stepped by a debugger over the APIC page -> the same registers, a debug exit for each', () => {
    const lab = guest('mov dword ptr [rbx + 80h], 35h\nmov ecx, dword ptr [rbx + 80h]\nout 80h, al');
    lab.cpu.op('set-guest-debug', { control: 3 });
    let steps = 0;
    while (lab.run().kind === 'debug') steps++;
    expect([steps, lab.cpu.get('rcx'), lab.cpu.get('cr8')]).toEqual([8, 0x35n, 3n]);
  });
  it('a self-IPI with IF = 1 -> taken before the next instruction', () => {
    const lab = guest(`
      sti
      nop
      mov dword ptr [rbx + 300h], 40040h
      mov ecx, ebp
      out 80h, al`);
    expect([lab.run().kind, lab.cpu.get('rcx')]).toEqual(['io', 1n]);
  });
  it('the APIC off, or moved -> ones and silence; an exit where it was', () => {
    const lab = guest(`
      mov ecx, 1bh
      mov edx, 0
      mov eax, 0fee00100h
      wrmsr
      mov esi, dword ptr [rbx + 20h]
      mov dword ptr [rbx + 80h], 20h
      mov eax, 0fed00900h
      wrmsr
      mov edi, dword ptr [rbx + 20h]`);
    const e = lab.run();
    expect([e.kind, lab.cpu.get('rsi'), lab.cpu.get('cr8')]).toEqual(['mmio', 0xffff_ffffn, 0n]);
  });
});
