import { createVm, definePlugin, type Vcpu, type Vm } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { type CpuidEntry, cpuid, type ModelName, type X86Vcpu, x86 } from '../src/index.ts';
import { real, run } from './support/real.ts';

/** CPUID in a guest: EAX, EBX, ECX, EDX. */
function guest(leaf: number, subleaf = 0, options = {}): readonly number[] {
  const { vm, core } = real('cpuid; hlt', options);
  core.set('rax', leaf);
  core.set('rcx', subleaf);
  expect(run(core).kind).toBe('hlt');
  const out = ['rax', 'rbx', 'rcx', 'rdx'].map((r) => Number(core.get(r)));
  vm.dispose();
  return out;
}
const text = (...words: readonly number[]): string =>
  words.flatMap((w) => [0, 8, 16, 24].map((s) => String.fromCharCode((w >>> s) & 255))).join('');
const bit = (word: number | undefined, n: number): number => ((word ?? 0) >>> n) & 1;

describe('models -> CPUID', () => {
  test.each([
    ['zen1-legacy-mca', 'AuthenticAMD', 0x0080_0f12, 'AMD EPYC 7281', 0, 48],
    ['zen3', 'AuthenticAMD', 0x00a0_0f11, 'AMD EPYC 7313', 1, 48],
    ['skylake', 'GenuineIntel', 0x0005_0654, 'Intel(R) Xeon(R) Gold 6130', 0, 46],
  ] as const)(
    '%s -> vendor, signature, name, SMCA, address size',
    (model, vendor, signature, name, smca, bits) => {
      const [, b = 0, c = 0, d = 0] = guest(0, 0, { model });
      expect(text(b, d, c)).toBe(vendor);
      expect(guest(1, 0, { model })[0]).toBe(signature);
      const brand = [2, 3, 4].map((n) => text(...guest(0x8000_0000 + n, 0, { model }))).join('');
      expect(brand.startsWith(name)).toBe(true);
      expect(bit(guest(0x8000_0007, 0, { model })[1], 3)).toBe(smca);
      expect((guest(0x8000_0008, 0, { model })[0] ?? 0) & 0xff).toBe(bits);
    },
  );
  test.each(['zen1-legacy-mca', 'zen3', 'skylake'] as const)(
    '%s -> all of x86-64-v2, BMI, MOVBE, ADX',
    (model) => {
      const one = guest(1, 0, { model });
      const seven = guest(7, 0, { model });
      const extended = guest(0x8000_0001, 0, { model });
      for (const n of [0, 9, 13, 19, 20, 22, 23]) expect(bit(one[2], n)).toBe(1);
      for (const n of [3, 8, 19]) expect(bit(seven[1], n)).toBe(1);
      for (const n of [0, 5]) expect(bit(extended[2], n)).toBe(1);
      for (const n of [20, 26, 29]) expect(bit(extended[3], n)).toBe(1);
      // no AVX, no FMA
      expect([bit(one[2], 28), bit(one[2], 12)]).toEqual([0, 0]);
    },
  );
  test('an option -> CPUID and linear address size', () => {
    expect(bit(guest(7, 0, { features: { la57: true } })[2], 16)).toBe(1);
    expect((guest(0x8000_0008, 0, { features: { la57: true } })[0] ?? 0) >>> 8).toBe(57);
    expect(bit(guest(7)[1], 20)).toBe(1);
    expect(bit(guest(7, 0, { features: { smap: false } })[1], 20)).toBe(0);
  });
  test('an unknown model, feature, size -> FY_ARGUMENT', () => {
    expect(() => x86({ model: 'i486' as ModelName })).toThrow(/FY_ARGUMENT.*zen3/);
    expect(() => x86({ model: '__proto__' as ModelName })).toThrow(/FY_ARGUMENT.*zen3/);
    expect(() => x86({ irqchip: 'kernal' as 'kernel' })).toThrow(/FY_ARGUMENT.*take none or kernel/);
    expect(() => x86({ features: { avx10: true } })).toThrow(/FY_ARGUMENT.*avx10/);
    expect(() => x86({ physicalBits: 60 })).toThrow(/FY_ARGUMENT/);
    expect(() => x86({ tscKhz: 0 })).toThrow(/FY_ARGUMENT/);
  });
  test('hypervisor leaves -> KVMKVMKVM', () => {
    const [a, b = 0, c = 0, d = 0] = guest(0x4000_0000);
    expect([a, text(b, c, d)]).toEqual([0x4000_0001, 'KVMKVMKVM\0\0\0']);
  });
});

test('a leaf beyond the highest -> zeros on AMD, the highest basic leaf on Intel', () => {
  expect(guest(0x1234_5678)).toEqual([0, 0, 0, 0]);
  expect(guest(0x8000_1234)).toEqual([0, 0, 0, 0]);
  expect(guest(0x1234_5678, 0, { model: 'skylake' })).toEqual(guest(0x16, 0, { model: 'skylake' }));
});

test('CR4.OSXSAVE and PKE, XCR0 -> leaf 1, 7 and D', () => {
  const { vm, core, v } = real('hlt');
  const regs = (leaf: number, subleaf = 0): readonly number[] => {
    v.cpuid.query(leaf, subleaf);
    return [...v.cpuid.regs];
  };
  expect([bit(regs(1)[2], 27), bit(regs(7)[2], 4), regs(0xd)[1]]).toEqual([0, 0, 576]);
  core.set('cr4', 0x44_0000);
  core.set('xcr0', 0x203);
  expect([bit(regs(1)[2], 27), bit(regs(7)[2], 4), regs(0xd)[1]]).toEqual([1, 1, 0x988]);
  expect(regs(0xd)[2]).toBe(0x988);
  vm.dispose();
});

test('vCPUs -> APIC ids and counts', () => {
  const vm = createVm({ arch: x86(), vcpus: 3 });
  const ids = vm.vcpus.map((c) => {
    const { cpuid: of } = c.arch as X86Vcpu;
    of.query(1, 0);
    return of.regs[1];
  });
  expect(ids.map((b) => (b ?? 0) >>> 24)).toEqual([0, 1, 2]);
  vm.dispose();
});

describe('operations', () => {
  const entry = (leaf: number, eax: number, edx = 0): CpuidEntry => ({
    function: leaf,
    index: 0,
    flags: 0,
    eax,
    ebx: 0,
    ecx: 0,
    edx,
  });
  const first = (vm: unknown): Vcpu => (vm as Vm).vcpus[0] as Vcpu;
  test('KVM_SET_CPUID2 -> the guest sees it; CR4 follows', () => {
    const { vm, core, v } = real('mov eax, cr4; or eax, 0x100000; mov cr4, eax; mov eax, 1; cpuid; hlt');
    core.op('set-cpuid2', { entries: [entry(0, 1), entry(1, 0x1234)] });
    expect(v.cpuid.has('smep')).toBe(false);
    run(core);
    expect(core.get('rsi')).toBe(0xdeadn);
    vm.dispose();
    const other = real('mov eax, 1; cpuid; hlt');
    other.core.op('set-cpuid2', { entries: [entry(0, 1), entry(1, 0x1234)] });
    run(other.core);
    expect(other.core.get('rax')).toBe(0x1234n);
    expect(other.core.op('get-cpuid2', {})).toHaveLength(2);
    expect(() => other.core.op('set-cpuid2', { entries: [entry(0, 7)] })).toThrow(/EINVAL/);
    expect(other.core.op('set-cpuid2', { entries: [entry(0, 1), entry(1, 0x1234)] })).toBe(0);
    other.vm.dispose();
  });
  test('too little room -> E2BIG; linear addresses of 49 bits -> EINVAL; 257 entries -> E2BIG', () => {
    const { vm, core } = real('hlt');
    const all = vm.op('get-supported-cpuid', {});
    expect(vm.op('get-supported-cpuid', { room: 256 })).toEqual(all);
    expect(() => vm.op('get-supported-cpuid', { room: 3 })).toThrow(/E2BIG/);
    expect(() => core.op('get-cpuid2', { room: 1 })).toThrow(/E2BIG/);
    expect(() => core.op('set-cpuid2', { entries: [entry(0x8000_0008, 49 << 8)] })).toThrow(/EINVAL/);
    const many = Array.from({ length: 257 }, (_, n) => entry(n, 0));
    expect(() => core.op('set-cpuid2', { entries: many })).toThrow(/E2BIG/);
    vm.dispose();
  });
  test('bytes of KVM_GET_SUPPORTED_CPUID -> nent and entries', () => {
    const { vm } = real('hlt');
    const bytes = new Uint8Array(8 + 40 * 256);
    new DataView(bytes.buffer).setUint32(0, 256, true);
    const r = vm.ioctl(0xc008_ae05, bytes);
    const all = vm.op('get-supported-cpuid', {});
    expect([r.ret, new DataView(r.bytes.buffer).getUint32(0, true)]).toEqual([0, all.length]);
    const small = vm.ioctl(0xc004_ae02, new Uint8Array(4));
    expect([small.ret, small.errno]).toEqual([-1, 'E2BIG']);
    expect(new DataView(small.bytes.buffer).getUint32(0, true)).toBe(vm.op('get-msr-index-list', {}).length);
    vm.dispose();
  });
  test("a plugin's bits and leaf -> supported, shown, the highest leaf moves", () => {
    const acme = definePlugin({
      name: 'acme',
      core: '^1.0.0',
      needs: ['x86'],
      setup: (ctx) => {
        ctx.contribute(cpuid, () => [
          { leaf: 0x8000_0001, set: [0, 0, 1 << 2, 0], clear: [0, 0, 1, 0] },
          { leaf: 0x8000_0022, set: [1, 8, 0, 3], now: (v, regs) => regs.set([v.id + 5]) },
        ]);
        return {};
      },
    });
    const vm = createVm({ arch: x86(), plugins: [acme] });
    const v = first(vm).arch as X86Vcpu;
    const plain = guest(0x8000_0001)[2] ?? 0;
    v.cpuid.query(0x8000_0001, 0);
    expect(v.cpuid.regs[2]).toBe((plain & ~1) | 4);
    expect(v.cpuid.has('svm')).toBe(true);
    v.cpuid.query(0x8000_0022, 0);
    expect([...v.cpuid.regs]).toEqual([5, 8, 0, 3]);
    v.cpuid.query(0x8000_0000, 0);
    expect(v.cpuid.regs[0]).toBe(0x8000_0022);
    vm.dispose();
  });
});
