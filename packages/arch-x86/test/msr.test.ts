import { createVm, definePlugin } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { answerMsr, MsrExitReason, msr, x86 } from '../src/index.ts';
import { gp, real, run } from './support/real.ts';

const RDMSR = 'rdmsr; hlt';
const WRMSR = 'wrmsr; hlt';

/** RDMSR in a guest: its value, or `#GP`. */
function guestRead(index: number, options = {}): bigint | '#GP' {
  const { vm, core } = real(RDMSR, options);
  core.set('rcx', index);
  expect(run(core).kind).toBe('hlt');
  const value = gp(core) ? '#GP' : (core.get('rdx') << 32n) | core.get('rax');
  vm.dispose();
  return value;
}
/** WRMSR in a guest: whether it was taken, and what the host reads afterwards. */
function guestWrite(index: number, value: bigint, options = {}): string {
  const { vm, core, v } = real(WRMSR, options);
  core.set('rcx', index);
  core.set('rax', value & 0xffff_ffffn);
  core.set('rdx', value >> 32n);
  expect(run(core).kind).toBe('hlt');
  const [now] = core.op('get-msrs', { indices: [index] });
  const out = gp(core) ? '#GP' : `0x${(now ?? -1n).toString(16)}`;
  expect(v.msrs.table.find(index)).toBeDefined();
  vm.dispose();
  return out;
}

describe('guest accesses -> value or #GP', () => {
  test.each([
    ['EFER', 0xc000_0080, 0n],
    ['PAT', 0x277, 0x0007_0406_0007_0406n],
    ['APIC_BASE', 0x1b, 0xfee0_0900n],
    ['MISC_ENABLE', 0x1a0, 0x1800n],
    ['MTRRCAP', 0xfe, 0x508n],
    ['UCODE_REV', 0x8b, 0x0100_0065n],
    ['PLATFORM_ID', 0x17, 0n],
    ['BBL_CR_CTL3', 0x11e, 0xbe70_2111n],
    ['SMBASE', 0x9e, '#GP'],
    ['KVM_SYSTEM_TIME', 0x12, '#GP'],
    ['of SMCA', 0xc000_2000, '#GP'],
    ['MCG_EXT_CTL', 0x4d0, '#GP'],
  ] as const)('RDMSR %s (%i) -> %s', (_, index, value) => {
    expect(guestRead(index)).toBe(value);
  });
  test.each([
    ['EFER.SCE and NXE', 0xc000_0080, 0x801n, '0x801'],
    ['EFER.SVME without SVM', 0xc000_0080, 0x1000n, '#GP'],
    ['EFER.LMA', 0xc000_0080, 0x500n, '0x100'],
    ['EFER bit 32', 0xc000_0080, 1n << 32n, '#GP'],
    ['LSTAR canonical', 0xc000_0082, 0xffff_8000_0000_0000n, '0xffff800000000000'],
    ['LSTAR not canonical', 0xc000_0082, 0x0000_8000_0000_0000n, '#GP'],
    ['PAT all types', 0x277, 0x0706_0504_0100_0706n, '0x706050401000706'],
    ['PAT type 2', 0x277, 2n, '#GP'],
    ['SYSENTER_EIP, upper half (AMD)', 0x176, 0xffff_8000_0000_1234n, '0x1234'],
    ['EVNTSEL0 takes anything', 0xc001_0000, 0x5_1234n, '0x0'],
    ['SMI_COUNT is the host’s', 0x34, 1n, '#GP'],
    ['CPUID faulting', 0x140, 1n, '0x1'],
    ['XSS without XSAVES', 0xda0, 0n, '#GP'],
    ['TSC_AUX, upper half (AMD)', 0xc000_0103, 0x5_0000_0007n, '0x7'],
    ['MTRRdefType', 0x2ff, 0xc06n, '0xc06'],
    ['MTRRdefType reserved', 0x2ff, 0x106n, '#GP'],
    ['MTRRcap', 0xfe, 0x508n, '#GP'],
    ['HWCR bits KVM drops', 0xc001_0015, 0x148n, '0x0'],
    ['HWCR McStatusWrEn', 0xc001_0015, 0x4_0000n, '0x40000'],
    ['HWCR another', 0xc001_0015, 0x10n, '#GP'],
    ['APIC_BASE to x2APIC without it', 0x1b, 0xfee0_0c00n, '#GP'],
    ['DEBUGCTL BTF reads back 0 (AMD)', 0x1d9, 3n, '0x1'],
    ['DEBUGCTL reserved', 0x1d9, 0x40n, '#GP'],
    ['UCODE_REV is dropped', 0x8b, 0x77n, '0x1000065'],
  ] as const)('WRMSR %s (%i) <- %s -> %s', (_, index, value, outcome) => {
    expect(guestWrite(index, value)).toBe(outcome);
  });
  test.each([
    ['SYSENTER_EIP not canonical', 0x176, 0x1234_0000_0000_1234n, '#GP'],
    ['TSC_AUX, upper half', 0xc000_0103, 0x5_0000_0007n, '#GP'],
    ['FEAT_CTL locked', 0x3a, 1n, '0x1'],
  ] as const)('Intel: WRMSR %s (%i) <- %s -> %s', (_, index, value, outcome) => {
    expect(guestWrite(index, value, { model: 'skylake' })).toBe(outcome);
  });
});

test('FS_BASE and GS_BASE -> hidden part of the segment', () => {
  const { vm, core } = real(WRMSR);
  core.set('rcx', 0xc000_0100);
  core.set('rdx', 0);
  core.set('rax', 0x1234_5678);
  run(core);
  expect(core.get('fs.base')).toBe(0x1234_5678n);
  vm.dispose();
});

test('CPUID with CPUID faulting -> #GP outside CPL 0', () => {
  const { vm, core, v } = real('cpuid; hlt');
  core.op('set-msrs', { msrs: [{ index: 0x140, data: 1n }] });
  run(core);
  expect(gp(core)).toBe(false);
  core.pc = 0x8000n;
  v.state.cpl = 3;
  run(core);
  expect(gp(core)).toBe(true);
  vm.dispose();
});

test('a guest moves its TSC -> TSC_ADJUST moves by as much; the host does not move it', () => {
  const { vm, core, v } = real(WRMSR);
  core.set('rcx', 0x10);
  core.set('rdx', 1);
  run(core);
  const [tsc = 0n, adjust = 0n] = core.op('get-msrs', { indices: [0x10, 0x3b] });
  expect(tsc >> 32n).toBe(1n);
  expect(adjust).toBeGreaterThan(0xffff_0000n);
  expect(core.op('set-msrs', { msrs: [{ index: 0x10, data: 5n }] })).toBe(1);
  expect(core.op('get-msrs', { indices: [0x10, 0x3b] })).toEqual([5n, adjust]);
  expect(v.tsc.own().lo).toBe(5);
  vm.dispose();
});

test('KVM_SET_MSRS and KVM_GET_MSRS -> the count before the first that fails; the others are done', () => {
  const { vm, core } = real('hlt');
  const msrs = [
    { index: 0xc000_0081, data: 7n },
    { index: 0x277, data: 2n },
    { index: 0xc000_0084, data: 9n },
  ];
  expect(core.op('set-msrs', { msrs })).toBe(1);
  expect(core.op('get-msrs', { indices: [0xc000_0081, 0xc000_0084, 0xdead, 0x277] })).toEqual([7n, 0n]);
  vm.dispose();
});

test('an unknown index of the list -> the host reads 0 and may write 0; others fail', () => {
  const { vm, core, v } = real('hlt');
  // Intel's alone
  expect(v.msrs.table.find(0x3a)?.listed).toBe(true);
  expect(core.op('get-msrs', { indices: [0x3a] })).toEqual([0n]);
  expect(core.op('set-msrs', { msrs: [{ index: 0x3a, data: 0n }] })).toBe(1);
  expect(core.op('set-msrs', { msrs: [{ index: 0x3a, data: 1n }] })).toBe(0);
  expect(core.op('get-msrs', { indices: [0x12345] })).toEqual([]);
  vm.dispose();
});

describe('KVM_CAP_X86_USER_SPACE_MSR', () => {
  test('off: an unknown MSR -> guest: #GP', () => {
    expect(guestRead(0x12345)).toBe('#GP');
  });
  test('args[0] beyond the reasons -> EINVAL', () => {
    const { vm } = real('hlt');
    expect(() => vm.op('enable-cap', { cap: 188, args: [8n] })).toThrow(/EINVAL/);
    vm.dispose();
  });
  test.each([
    ['unknown', 0x12345, MsrExitReason.Unknown],
    ['refused', 0x9e, MsrExitReason.Inval],
  ] as const)('RDMSR of an %s MSR -> exit x86-rdmsr: reason; the answer -> EDX:EAX', (_, index, reason) => {
    const { vm, core } = real(RDMSR);
    vm.op('enable-cap', { cap: 188, args: [7n] });
    core.set('rcx', index);
    const at = core.pc;
    expect(run(core)).toEqual({ kind: 'x86-rdmsr', vcpu: 0, ret: 0, reason, index });
    expect(core.pc).toBe(at);
    expect([core.kvmRun.getUint32(8, true), core.kvmRun.getUint32(44, true)]).toEqual([29, index]);
    answerMsr(core, 0x11_2233_4455n);
    expect(run(core).kind).toBe('hlt');
    expect([core.get('rdx'), core.get('rax'), gp(core)]).toEqual([0x11n, 0x2233_4455n, false]);
    vm.dispose();
  });
  test('answerMsr where no MSR exit waits, or with half a number -> FY_EXIT_ANSWER, FY_ARGUMENT', () => {
    const { vm, core } = real(RDMSR);
    vm.op('enable-cap', { cap: 188, args: [7n] });
    expect(() => answerMsr(core, 1n)).toThrow(/FY_EXIT_ANSWER/);
    core.set('rcx', 0x12345);
    run(core);
    expect(() => answerMsr(core, 1.5)).toThrow(/FY_ARGUMENT/);
    answerMsr(core, 1n);
    expect(run(core).kind).toBe('hlt');
    expect(() => answerMsr(core, 1n)).toThrow(/FY_EXIT_ANSWER.*hlt/);
    vm.dispose();
  });
  test.each(['before', 'after'])(
    'a fork %s the answer -> it goes on behind RDMSR, with the answer',
    (when) => {
      const { vm, core } = real(RDMSR);
      vm.op('enable-cap', { cap: 188, args: [7n] });
      core.set('rcx', 0x12345);
      run(core);
      const open = vm.stateHash();
      if (when === 'after') {
        answerMsr(core, 0x1234n);
        expect(vm.stateHash()).not.toBe(open);
      }
      const other = vm.fork();
      expect(other.stateHash()).toBe(vm.stateHash());
      const [cpu] = other.vcpus;
      if (!cpu) throw new Error('no vCPU');
      if (when === 'before') answerMsr(cpu, 0x1234n);
      expect(cpu.run().kind).toBe('hlt');
      expect(cpu.get('rax')).toBe(0x1234n);
      other.dispose();
      vm.dispose();
    },
  );
  test('WRMSR of an unknown MSR -> exit x86-wrmsr: data; refused -> guest: #GP', () => {
    const { vm, core } = real(WRMSR);
    vm.op('enable-cap', { cap: 188, args: [BigInt(MsrExitReason.Unknown)] });
    core.set('rcx', 0x12345);
    core.set('rax', 0x55);
    core.set('rdx', 0);
    expect(run(core)).toMatchObject({ kind: 'x86-wrmsr', reason: 2, index: 0x12345, data: 0x55n });
    answerMsr(core, 'refuse');
    expect(run(core).kind).toBe('hlt');
    expect(gp(core)).toBe(true);
    vm.dispose();
  });
  test('only filtered ones wanted: an unknown MSR -> guest: #GP', () => {
    const { vm, core } = real(RDMSR);
    vm.op('enable-cap', { cap: 188, args: [BigInt(MsrExitReason.Filter)] });
    core.set('rcx', 0x12345);
    expect(run(core).kind).toBe('hlt');
    expect(gp(core)).toBe(true);
    vm.dispose();
  });
});

describe('KVM_X86_SET_MSR_FILTER', () => {
  const deny = (flags: number) => ({
    flags: 0,
    ranges: [{ flags, base: 0xc000_0080, count: 8, bitmap: Uint8Array.of(0xfd) }],
  });
  test('a read that the bitmap denies -> guest: #GP, or exit with reason 4; writes and hosts pass', () => {
    const { vm, core } = real(RDMSR);
    vm.op('x86-set-msr-filter', deny(1));
    core.set('rcx', 0xc000_0081);
    run(core);
    expect(gp(core)).toBe(true);
    expect(core.op('get-msrs', { indices: [0xc000_0081] })).toEqual([0n]);
    vm.dispose();
    const other = real(RDMSR);
    other.vm.op('enable-cap', { cap: 188, args: [4n] });
    other.vm.op('x86-set-msr-filter', deny(1));
    other.core.set('rcx', 0xc000_0081);
    expect(run(other.core)).toMatchObject({ kind: 'x86-rdmsr', reason: 4 });
    other.vm.dispose();
  });
  test('default deny without a range, unknown flags, too long a bitmap -> EINVAL', () => {
    const { vm } = real('hlt');
    for (const s of [
      { flags: 1, ranges: [] },
      { flags: 2, ranges: [] },
      { flags: 0, ranges: [{ flags: 4, base: 0, count: 8, bitmap: Uint8Array.of(0) }] },
      { flags: 0, ranges: [{ flags: 1, base: 0, count: 0x3008, bitmap: new Uint8Array(0x608) }] },
    ])
      expect(() => vm.op('x86-set-msr-filter', s)).toThrow(/EINVAL/);
    vm.dispose();
  });
});

describe('MSRs of plugins', () => {
  const own = (name: string, index: number) =>
    definePlugin({
      name,
      core: '^1.0.0',
      needs: ['x86'],
      setup: (ctx) => {
        ctx.contribute(msr, () => [{ index, name: `${name.toUpperCase()}_CTL`, doc: 'test' }]);
        return {};
      },
    });
  test('a row without read and write -> it is stored, named, in a fork', () => {
    const vm = createVm({ arch: x86(), plugins: [own('acme', 0x4000_0200)] });
    const v = vm.vcpus[0];
    expect(v?.op('set-msrs', { msrs: [{ index: 0x4000_0200, data: 0x77n }] })).toBe(1);
    expect(v?.get('acme_ctl')).toBe(0x77n);
    const twin = vm.fork();
    expect(twin.vcpus[0]?.get('acme_ctl')).toBe(0x77n);
    twin.dispose();
    vm.dispose();
  });
  test("the architecture's index -> the plugin's row in its place; two plugins -> FY_PLUGIN_CLASH", () => {
    const vm = createVm({ arch: x86(), plugins: [own('acme', 0x179)] });
    expect(vm.vcpus[0]?.op('set-msrs', { msrs: [{ index: 0x179, data: 5n }] })).toBe(1);
    vm.dispose();
    const both = [own('acme', 0x179), own('other', 0x179)];
    expect(() => createVm({ arch: x86(), plugins: both })).toThrow(/FY_PLUGIN_CLASH.*0x179/);
  });
});
