import { createVm, drive, type Vcpu, type Vm } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { asm16, SR, type X86Vcpu, x86 } from '../src/index.ts';
import { load, real, run } from './support/real.ts';

const TOP = { gpa: 0xfff0_0000n, size: 1n << 20n };
const values = (core: Vcpu, names: readonly string[]): Record<string, bigint> =>
  Object.fromEntries(names.map((n) => [n, core.get(n)]));

describe('RESET and INIT', () => {
  test('a new vCPU -> the state of AMD64 APM volume 2, table 14-1', () => {
    const vm = createVm({ arch: x86(), vcpus: 2 });
    const [core, other] = vm.vcpus as unknown as [Vcpu, Vcpu];
    expect(values(core, ['rip', 'rflags', 'rax', 'rbx', 'rdx', 'cr0', 'cr2', 'cr3', 'cr4', 'efer'])).toEqual({
      rip: 0xfff0n,
      rflags: 2n,
      rax: 0n,
      rbx: 0n,
      rdx: 0x00a0_0f11n,
      cr0: 0x6000_0010n,
      cr2: 0n,
      cr3: 0n,
      cr4: 0n,
      efer: 0n,
    });
    expect(
      values(core, ['cs', 'cs.base', 'cs.limit', 'cs.attr', 'ds', 'ds.base', 'ds.limit', 'ds.attr']),
    ).toEqual({
      cs: 0xf000n,
      'cs.base': 0xffff_0000n,
      'cs.limit': 0xffffn,
      'cs.attr': 0x9bn,
      ds: 0n,
      'ds.base': 0n,
      'ds.limit': 0xffffn,
      'ds.attr': 0x93n,
    });
    expect(values(core, ['ldtr.attr', 'tr.attr', 'gdtr.limit', 'idtr.limit', 'dr6', 'dr7', 'xcr0'])).toEqual({
      'ldtr.attr': 0x82n,
      'tr.attr': 0x83n,
      'gdtr.limit': 0xffffn,
      'idtr.limit': 0xffffn,
      dr6: 0xffff_0ff0n,
      dr7: 0x400n,
      xcr0: 1n,
    });
    expect([core.get('apic_base'), other.get('apic_base')]).toEqual([0xfee0_0900n, 0xfee0_0800n]);
    vm.dispose();
  });
  test('INIT -> registers as after RESET; MSRs, XMM, PKRU, TSC, CR0.CD and NW stay', () => {
    const { vm, core, v } = real('jmp $');
    core.run(1000);
    core.set('rax', 5);
    core.set('xmm3', 7n);
    core.set('pkru', 0x55);
    core.set('lstar', 0x1234);
    core.set('pat', 0x0606_0606_0606_0606n);
    core.set('cr0', 0x10);
    core.set('cr3', 0x5000);
    core.set('xcr0', 3);
    const tsc = core.get('tsc');
    v.reset(true);
    expect(values(core, ['rax', 'rip', 'cr0', 'cr3', 'cs.base'])).toEqual({
      rax: 0n,
      rip: 0xfff0n,
      cr0: 0x10n,
      cr3: 0n,
      'cs.base': 0xffff_0000n,
    });
    expect(values(core, ['xmm3', 'pkru', 'lstar', 'pat', 'xcr0', 'tsc'])).toEqual({
      xmm3: 7n,
      pkru: 0x55n,
      lstar: 0x1234n,
      pat: 0x0606_0606_0606_0606n,
      xcr0: 3n,
      tsc,
    });
    v.reset(false);
    expect(values(core, ['xmm3', 'pkru', 'lstar', 'pat', 'xcr0'])).toEqual({
      xmm3: 0n,
      pkru: 0n,
      lstar: 0n,
      pat: 0x0007_0406_0007_0406n,
      xcr0: 1n,
    });
    vm.dispose();
  });
});

test('a fork in SMM -> it goes on in memory of SMM, and leaves it as the original does', () => {
  const { vm, core } = real('mov bx, 1; again: jmp again');
  // memory of SMM alone at SMBASE: in the guest's own there is 'ud2'
  const hva = drive(vm.mm.mmap({ size: 0x1_0000n }));
  vm.setMemoryRegion({ slot: 0, asId: 1, gpa: 0x3_0000n, size: 0x1_0000n, hva });
  vm.write(0x3_8000, asm16`ud2`.bytes);
  vm.mm.write(Number(hva) + 0x8000, asm16`inc di; hlt; inc di; rsm`.bytes);
  core.set('rdi', 0);
  core.op('smi', {});
  expect(run(core).kind).toBe('hlt');
  expect(core.get('rdi')).toBe(1n);
  const twin = vm.fork();
  const other = twin.vcpus[0] as Vcpu;
  for (const c of [core, other]) expect(run(c).kind).toBe('budget');
  expect(values(other, ['rbx', 'rip'])).toEqual({ rbx: 1n, rip: 0x8003n });
  expect(twin.stateHash()).toBe(vm.stateHash());
  twin.dispose();
  vm.dispose();
});

describe('running', () => {
  test('mov, add and hlt from the reset vector -> exit hlt: registers', () => {
    const vm = createVm({ arch: x86(), memslots: [TOP] });
    // mov ax, 1234h; add ax, 1111h; hlt
    vm.write(0xffff_fff0, Uint8Array.of(0xb8, 0x34, 0x12, 0x05, 0x11, 0x11, 0xf4));
    const v = vm.vcpus[0];
    expect(v?.run().kind).toBe('hlt');
    expect(v?.get('rax')).toBe(0x2345n);
    expect(v?.pc).toBe(0xfff7n);
    expect(v?.retired).toBe(2);
    vm.dispose();
  });
  test('HLT and KVM_RUN again -> the instruction behind it', () => {
    const { vm, core } = real('hlt; mov bx, 7; hlt');
    expect(run(core)).toEqual({ kind: 'hlt', vcpu: 0, ret: 0 });
    expect(core.pc).toBe(0x8001n);
    expect(run(core).kind).toBe('hlt');
    expect(core.get('rbx')).toBe(7n);
    vm.dispose();
  });
  test('HLT at CPL 3 -> guest: #GP', () => {
    const { vm, core, v } = real('hlt');
    v.state.cpl = 3;
    run(core);
    expect(core.get('rsi')).toBe(0xdeadn);
    vm.dispose();
  });
  test.each(['zen3', 'skylake'] as const)('a triple fault of %s -> exit shutdown, and again', (model) => {
    const { vm, core } = real('lidt [0x9000]; ud2', { model });
    const e = run(core);
    expect(e).toEqual({ kind: 'shutdown', vcpu: 0, ret: 0, why: 'triple fault' });
    // the VMCB of an AMD CPU is undefined after it: KVM does INIT
    expect(core.get('cs')).toBe(model === 'zen3' ? 0xf000n : 0n);
    vm.dispose();
  });
  test('code that leads nowhere -> exit internal-error, suberror 1; pc stays', () => {
    const vm = createVm({ arch: x86() });
    const core = vm.vcpus[0] as unknown as Vcpu;
    expect(core.run()).toMatchObject({ kind: 'internal-error', ret: 0, suberror: 1 });
    expect(core.pc).toBe(0xfff0n);
    vm.dispose();
  });
  test('a guest that only faults -> budget: it ends', () => {
    const { vm, core } = real('ud2');
    vm.poke(6 * 4, 0x8000, 4);
    expect(core.run(5000)).toMatchObject({ kind: 'budget', retired: 5000 });
    vm.dispose();
  });
  test('a guest that pushes on and on, in budgets of 1, 7, 120, 840 -> the same state', () => {
    const hash = (step: number): string => {
      const { vm, core } = real('ud2');
      vm.poke(6 * 4, 0x8000, 4);
      for (let n = 0; n < 840; n += step) core.run(step);
      const h = vm.stateHash();
      vm.dispose();
      return h;
    };
    expect([1, 7, 120].map(hash)).toEqual([hash(840), hash(840), hash(840)]);
  });
});

test('registers of every width -> read and written as an instruction would', () => {
  const { vm, core } = real('hlt');
  core.set('rax', 0x1122_3344_5566_7788n);
  expect(values(core, ['eax', 'ax', 'al', 'ah'])).toEqual({
    eax: 0x5566_7788n,
    ax: 0x7788n,
    al: 0x88n,
    ah: 0x77n,
  });
  core.set('ah', 0xee);
  core.set('al', 0xdd);
  expect(core.get('rax')).toBe(0x1122_3344_5566_eeddn);
  core.set('ax', 0x1234);
  expect(core.get('rax')).toBe(0x1122_3344_5566_1234n);
  core.set('eax', 5);
  expect(core.get('rax')).toBe(5n);
  core.set('r9d', 9);
  core.set('r10b', 10);
  expect(values(core, ['r9', 'r10w', 'eip', 'eflags'])).toEqual({
    r9: 9n,
    r10w: 10n,
    eip: 0x8000n,
    eflags: 2n,
  });
  vm.dispose();
});

test('segment bases of people -> RIP keeps its value', () => {
  const { vm, core } = real('hlt');
  core.set('cs.base', 0x4000);
  core.pc = 0x4000n;
  run(core);
  expect(core.pc).toBe(0x4001n);
  vm.dispose();
});

test('code stored over while it runs -> the new code, at once', () => {
  const { vm, core } = real('mov byte ptr [target], 0x43; target: inc ax; inc cx; hlt');
  core.set('rcx', 0);
  core.set('rax', 0);
  core.set('rbx', 0);
  run(core);
  // inc ax (40h) became inc bx (43h)
  expect(values(core, ['rax', 'rbx', 'rcx'])).toEqual({ rax: 0n, rbx: 1n, rcx: 1n });
  vm.dispose();
});

test('two VMs of different models -> instructions of each its own', () => {
  const one = real('popcnt ax, bx; hlt');
  const other = real('hlt', { features: { popcnt: false } });
  load(other.vm as Vm, 'popcnt ax, bx; hlt');
  for (const { core } of [one, other]) {
    core.set('rbx', 0xff);
    run(core);
  }
  expect([one.core.get('rax'), other.core.get('rsi')]).toEqual([8n, 0xbeefn]);
  expect((one.core.arch as X86Vcpu).state.sysLo(SR.APIC_BASE)).not.toBe(0);
  one.vm.dispose();
  other.vm.dispose();
});
