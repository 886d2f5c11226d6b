/** What nobody may do: KVM's errno or a typed error, and nothing changed. */
import { arm64 } from '@faultyard/arch-arm64';
import { x86 } from '@faultyard/arch-x86';
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { mce } from '../src/index.ts';
import { fresh, type Guest } from './support/guest.ts';

const AR = 0xbc00_0800_0000_0000n;
const ARG = { bank: 9, status: AR, addr: 0x5000n, misc: 0x8cn, mcgStatus: 7n };
const VAL = 1n << 63n;

/** Does something that must be refused, and holds that nothing of the VM changed. */
function refused(g: Guest, message: RegExp, f: () => unknown): void {
  const before = g.vm.stateHash();
  expect(f).toThrow(message);
  expect(g.vm.stateHash()).toBe(before);
}

describe('KVM_X86_SET_MCE', () => {
  it.each([
    ['bank 10 of 10', { bank: 10 }, /KVM_X86_SET_MCE.*EINVAL.*bank 10; MCG_CAP has 10/],
    ['bank 255', { bank: 255 }, /EINVAL/],
    ['bank -1', { bank: -1 }, /EINVAL/],
    ['bank 1.5', { bank: 1.5 }, /EINVAL/],
    ['STATUS.VAL = 0', { status: AR & ~VAL }, /KVM_X86_SET_MCE.*EINVAL.*VAL/],
  ] as const)('%s -> EINVAL', (_, change, message) => {
    const g = fresh();
    refused(g, message, () => g.cpu.op('x86-set-mce', { ...ARG, ...change }));
    refused(g, message, () => g.api.set(g.cpu, { ...ARG, ...change }));
  });
  it('without KVM_X86_SETUP_MCE -> 32 banks; an uncorrected error is dropped, as no bank reports', () => {
    const g = fresh({ cap: undefined });
    refused(g, /bank 32; MCG_CAP has 32/, () => g.cpu.op('x86-set-mce', { ...ARG, bank: 32 }));
    expect(g.api.set(g.cpu, ARG)).toBe('disabled');
    expect(g.api.view(g.cpu).banks[9]?.status).toBe(0n);
    expect(g.api.set(g.cpu, { bank: 31, status: VAL })).toBe('logged');
  });
  it('values beyond 64 bits and negative ones -> their low 64 bits, as the structure has them', () => {
    const g = fresh();
    g.api.set(g.cpu, {
      bank: 9,
      status: (1n << 64n) | AR,
      addr: -1n,
      misc: 1n << 70n,
      mcgStatus: (1n << 64n) | 7n,
    });
    const v = g.api.view(g.cpu);
    expect(v.banks[9]).toMatchObject({ status: AR, addr: 0xffff_ffff_ffff_ffffn, misc: 0n });
    expect(v.mcgStatus).toBe(7n);
  });
  it('a structure that is too short -> EFAULT', () => {
    const g = fresh();
    expect(g.cpu.ioctl(0x4040_ae9e, new Uint8Array(63))).toMatchObject({ ret: -1, errno: 'EFAULT' });
    expect(g.cpu.ioctl(0x4008_ae9c, new Uint8Array(7))).toMatchObject({ ret: -1, errno: 'EFAULT' });
    expect(g.vm.ioctl(0x8008_ae9d, new Uint8Array(7))).toMatchObject({ ret: -1, errno: 'EFAULT' });
  });
});

describe('KVM_X86_SETUP_MCE', () => {
  it.each([
    ['no bank', 0x0100_0100n, /0 banks/],
    ['33 banks', 0x21n, /33 banks/],
    ['EXT_P', 0x20an, /0x200 /],
    ['CMCI_P of an AMD backend', 0x40an, /0x400 .* AMD backend/],
    ['ELOG_P', 0x400_000an, /0x4000000 /],
    ['LMCE_P of an AMD backend', 0x800_000an, /0x8000000 .* AMD backend/],
    ['bit 63', VAL | 10n, /0x8000000000000000 /],
  ] as const)('%s -> EINVAL', (_, mcgCap, message) => {
    const g = fresh();
    refused(g, message, () => g.cpu.op('x86-setup-mce', { mcgCap }));
    expect(() => g.cpu.op('x86-setup-mce', { mcgCap })).toThrow(/KVM_X86_SETUP_MCE.*EINVAL/);
  });
});

describe('a VM without the plugin', () => {
  it('operation and API -> typed errors that say what is missing; by ioctl EINVAL', () => {
    const vm = createVm({ arch: x86() }) as unknown as Vm;
    const cpu = vm.vcpus[0] as Vcpu;
    const before = vm.stateHash();
    expect(() => cpu.op('x86-set-mce', ARG)).toThrow(/FY_OP_UNKNOWN.*x86-set-mce/);
    expect(() => cpu.op('x86-setup-mce', { mcgCap: 1n })).toThrow(/FY_OP_UNKNOWN/);
    expect(() => vm.api(mce())).toThrow(/FY_PLUGIN_UNKNOWN.*mce/);
    expect(cpu.ioctl(0x4040_ae9e, new Uint8Array(64))).toMatchObject({ ret: -1, errno: 'EINVAL' });
    expect(vm.stateHash()).toBe(before);
    vm.dispose();
  });
});

describe('a VM of arm64', () => {
  it('with the plugin -> refused, x86 is needed', () => {
    expect(() => createVm({ arch: arm64(), plugins: [mce()] })).toThrow(/FY_PLUGIN_NEEDS.*mce.*x86/);
  });
  it('without it -> the operation is not known', () => {
    const vm = createVm({ arch: arm64() }) as unknown as Vm;
    expect(() => (vm.vcpus[0] as Vcpu).op('x86-set-mce', ARG)).toThrow(/FY_OP_UNKNOWN/);
    vm.dispose();
  });
});

describe('mce()', () => {
  it('knobs given to it -> refused, with the place where they belong', () => {
    const untyped = mce as (knobs: object) => unknown;
    expect(() => untyped({ smcaDestat: 'full' })).toThrow(/FY_ARGUMENT: .*"smcaDestat".*createVm\(\{ set: /);
  });
  it.each([
    [{ 'mce.smcaDestat': 'drop' }, /FY_KNOB_VALUE: knob mce\.smcaDestat .*reject, ignore, validate, full/],
    [{ 'mce.destat': 'full' }, /FY_KNOB_UNKNOWN: unknown knob mce\.destat/],
  ])('a VM with %o -> refused with what would be taken', (set, message) => {
    expect(() => createVm({ arch: x86(), plugins: [mce()], set })).toThrow(message);
  });
});
