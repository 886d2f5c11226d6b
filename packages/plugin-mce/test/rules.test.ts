/** MSR rules that no KVM at hand could show: VMX's registers, versions of HWCR, user-space exits, filters, ignore_msrs. */
import { answerMsr } from '@faultyard/arch-x86';
import type { Exit } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { CAP, fresh, type Guest } from './support/guest.ts';

const ONES = 0xffff_ffff_ffff_ffffn;
const CMCI_P = 0x400n;
const LMCE_P = 0x0800_0000n;
const LMCE_ENABLED = 0x10_0000n;
const intel = (extra: bigint): Guest => fresh({ model: 'skylake', cap: CAP | extra });

describe('MCi_CTL2 with CMCI_P (VMX)', () => {
  const g = (): Guest => intel(CMCI_P);
  it('CMCI_EN and a threshold -> stored, by both sides', () => {
    const x = g();
    expect(x.wrmsr(0x289, 0x4000_7fffn)).toBe('ok');
    expect(x.rdmsr(0x289)).toBe(0x4000_7fffn);
    expect(x.set(0x289, 1n)).toBe('ok');
    expect(x.get(0x289)).toBe(1n);
  });
  it.each([0x8000n, 0x2000_0000n, 0x8000_0000n, 1n << 32n, 1n << 63n])('bit %o -> refused', (v) => {
    expect(g().wrmsr(0x280, v)).toBe('gp');
    expect(g().set(0x280, v)).toBe('refused');
  });
  it('a bank that is not there -> refused', () => {
    expect(g().rdmsr(0x28a)).toBe('gp');
    expect(g().get(0x29f)).toBe('refused');
    expect(g().set(0x28a, 0n)).toBe('refused');
  });
  it('SETUP again -> 0; without CMCI_P -> as it was, and the guest no longer sees it', () => {
    const x = g();
    x.set(0x280, 5n);
    x.cpu.op('x86-setup-mce', { mcgCap: CAP });
    expect(x.api.view(x.cpu).banks[0]?.ctl2).toBe(5n);
    expect(x.rdmsr(0x280)).toBe('gp');
    x.cpu.op('x86-setup-mce', { mcgCap: CAP | CMCI_P });
    expect(x.rdmsr(0x280)).toBe(0n);
  });
});

describe('FEAT_CTL and MCG_EXT_CTL (VMX)', () => {
  it('LMCE enabled and locked by the guest -> MCG_EXT_CTL takes 0 and 1, FEAT_CTL nothing more', () => {
    const g = intel(LMCE_P);
    expect(g.rdmsr(0x4d0)).toBe('gp');
    expect(g.wrmsr(0x4d0, 0n)).toBe('gp');
    expect(g.wrmsr(0x3a, LMCE_ENABLED | 1n)).toBe('ok');
    expect(g.wrmsr(0x3a, LMCE_ENABLED | 1n)).toBe('gp');
    expect(g.rdmsr(0x3a)).toBe(LMCE_ENABLED | 1n);
    expect(g.wrmsr(0x4d0, 1n)).toBe('ok');
    expect(g.wrmsr(0x4d0, 2n)).toBe('gp');
    expect(g.rdmsr(0x4d0)).toBe(1n);
    expect(g.set(0x3a, 0n)).toBe('ok');
    expect(g.rdmsr(0x4d0)).toBe('gp');
    expect(g.get(0x4d0)).toBe(1n);
  });
  it('enabled and not locked -> KVM looks at bit 20 alone', () => {
    const g = intel(LMCE_P);
    expect(g.wrmsr(0x3a, LMCE_ENABLED)).toBe('ok');
    expect(g.wrmsr(0x4d0, 1n)).toBe('ok');
  });
  it('without LMCE_P -> the guest may only lock; the host sets what KVM supports', () => {
    const g = intel(0n);
    expect(g.wrmsr(0x3a, LMCE_ENABLED)).toBe('gp');
    expect(g.wrmsr(0x3a, 2n)).toBe('gp');
    expect(g.set(0x3a, 0x16_0007n)).toBe('ok');
    expect(g.set(0x3a, 0x16_000fn)).toBe('refused');
    expect(g.set(0x3a, 0n)).toBe('ok');
    expect(g.wrmsr(0x3a, 1n)).toBe('ok');
    expect(g.wrmsr(0x3a, 1n)).toBe('gp');
  });
  it('the host, without FEAT_CTL -> MCG_EXT_CTL takes 0 and 1', () => {
    const g = intel(0n);
    expect(g.set(0x4d0, 1n)).toBe('ok');
    expect(g.set(0x4d0, 2n)).toBe('refused');
    expect(g.get(0x4d0)).toBe(1n);
  });
  it('SETUP with and without LMCE_P -> the bit is legal and is not', () => {
    const g = intel(LMCE_P);
    g.cpu.op('x86-setup-mce', { mcgCap: CAP });
    expect(g.wrmsr(0x3a, LMCE_ENABLED)).toBe('gp');
    g.cpu.op('x86-setup-mce', { mcgCap: CAP | LMCE_P });
    expect(g.wrmsr(0x3a, LMCE_ENABLED)).toBe('ok');
  });
  it.each([
    ['zen3', false, false],
    ['skylake', true, true],
  ] as const)('KVM_GET_MSR_INDEX_LIST of %s -> FEAT_CTL %o, MCG_EXT_CTL %o', (model, feat, ext) => {
    const list = fresh({ model }).vm.op('get-msr-index-list', {});
    expect([list.includes(0x3a), list.includes(0x4d0)]).toEqual([feat, ext]);
    for (const index of [0x17a, 0x17b, 0xc001_0015]) expect(list).toContain(index);
    for (const index of [0x179, 0x280, 0x400, 0x401, 0x47f, 0xc000_2098]) expect(list).not.toContain(index);
  });
});

describe('HWCR by version', () => {
  const EN = 0x4_0000n;
  const FREQ = 0x100_0000n;
  const USER_DIS = 1n << 35n;
  it('6.1: McStatusWrEn alone is taken, 0 does not clear it', () => {
    const g = fresh({ set: { hwcrRule: '6.1' } });
    expect(g.wrmsr(0xc001_0015, FREQ)).toBe('gp');
    expect(g.wrmsr(0xc001_0015, EN | FREQ)).toBe('gp');
    expect(g.wrmsr(0xc001_0015, EN | 0x148n)).toBe('ok');
    expect(g.wrmsr(0xc001_0015, 0n)).toBe('ok');
    expect(g.rdmsr(0xc001_0015)).toBe(EN);
  });
  it.each(['6.12', 'new'])('%s: both bits, 0 clears them', (hwcrRule) => {
    const g = fresh({ set: { hwcrRule } });
    expect(g.wrmsr(0xc001_0015, EN | FREQ | 0x148n)).toBe('ok');
    expect(g.rdmsr(0xc001_0015)).toBe(EN | FREQ);
    expect(g.wrmsr(0xc001_0015, 0n)).toBe('ok');
    expect(g.rdmsr(0xc001_0015)).toBe(0n);
    expect(g.wrmsr(0xc001_0015, USER_DIS)).toBe('gp');
  });
  it('new, CpuidUserDis in CPUID -> taken: CPUID is #GP at CPL 3, not at CPL 0', () => {
    const g = fresh({ cpuid: 'AMD' });
    const entries = g.vm
      .op('get-supported-cpuid', {})
      .map((e) => (e.function === 0x8000_0021 ? { ...e, eax: e.eax | 0x2_0000 } : e));
    g.cpu.op('set-cpuid2', { entries });
    expect(g.wrmsr(0xc001_0015, USER_DIS)).toBe('ok');
    g.run('cpuid');
    expect(g.gps).toBe(0);
    g.user('cpuid; here: jmp here');
    expect(g.gps).toBe(1);
    g.set(0xc001_0015, 0n);
    g.user('cpuid; here: jmp here');
    expect(g.gps).toBe(1);
  });
});

describe('MSRs that leave to userspace', () => {
  const INVAL = 1;
  const UNKNOWN = 2;
  const cases: readonly (readonly [what: string, index: number, value: bigint, reason: number])[] = [
    ['DESTAT', 0xc000_2098, 0n, UNKNOWN],
    ['MC0_STATUS <- 1', 0x401, 1n, INVAL],
    ['a bank that is not there', 0x428, 0n, INVAL],
    ['MCG_CAP', 0x179, 0n, UNKNOWN],
    ['HWCR <- 10h', 0xc001_0015, 0x10n, INVAL],
    ['MCG_EXT_CTL', 0x4d0, 0n, UNKNOWN],
    ['MCA_INTR_CFG', 0xc000_0410, 0n, UNKNOWN],
  ];
  const write = (g: Guest, index: number, value: bigint): Exit => {
    for (const [name, v] of Object.entries({
      rcx: BigInt(index),
      rax: value & 0xffff_ffffn,
      rdx: value >> 32n,
    }))
      g.cpu.set(name, v);
    return g.run('wrmsr');
  };
  it.each(cases)('WRMSR of %s -> exit 30 with its reason; done, or #GP', (_, index, value, reason) => {
    const g = fresh({ set: { userExit: 'on' } });
    expect(write(g, index, value)).toMatchObject({ kind: 'x86-wrmsr', index, data: value, reason });
    expect((g.cpu.run() as Exit).kind).toBe('hlt');
    expect(g.gps).toBe(0);
    write(g, index, value);
    answerMsr(g.cpu, 'refuse');
    expect((g.cpu.run() as Exit).kind).toBe('hlt');
    expect(g.gps).toBe(1);
  });
  it('RDMSR of CTL2 without CMCI_P -> exit 29, INVAL; the guest gets what the VMM says', () => {
    const g = fresh({ set: { userExit: 'on' } });
    g.cpu.set('rcx', 0x280);
    expect(g.run('rdmsr')).toMatchObject({ kind: 'x86-rdmsr', index: 0x280, reason: INVAL });
    answerMsr(g.cpu, 0x1234_5678_9abcn);
    expect((g.cpu.run() as Exit).kind).toBe('hlt');
    expect([g.cpu.get('rdx'), g.cpu.get('rax')]).toEqual([0x1234n, 0x5678_9abcn]);
  });
  it('a filter on DESTAT, as QEMU enables alone -> exit with reason FILTER; SMCA accesses without one -> #GP', () => {
    const g = fresh();
    g.vm.enableCap('x86-user-space-msr', { args: [4n] });
    expect(g.wrmsr(0xc000_2098, 0n)).toBe('gp');
    const bitmap = new Uint8Array(8);
    g.vm.op('x86-set-msr-filter', { flags: 0, ranges: [{ flags: 3, base: 0xc000_2098, count: 1, bitmap }] });
    expect(write(g, 0xc000_2098, 0n)).toMatchObject({ kind: 'x86-wrmsr', index: 0xc000_2098, reason: 4 });
    expect((g.cpu.run() as Exit).kind).toBe('hlt');
    expect(g.gps).toBe(1);
  });
});

describe('ignore_msrs', () => {
  const g = (): Guest => fresh({ set: { ignoreMsrs: 'on' } });
  it.each([0xc000_2098, 0xc000_2094, 0xc000_0410, 0x4d0, 0x3a, 0x180, 0x1234_5678])(
    'MSR %o, which KVM does not know -> reads 0, drops writes, from both sides',
    (index) => {
      const x = g();
      expect(x.wrmsr(index, ONES)).toBe('ok');
      expect(x.rdmsr(index)).toBe(0n);
      expect(x.set(index, ONES)).toBe('ok');
      expect(x.get(index)).toBe(0n);
    },
  );
  it('what KVM refuses -> refused all the same', () => {
    const x = g();
    expect(x.rdmsr(0x428)).toBe('gp');
    expect(x.wrmsr(0x400, 5n)).toBe('gp');
    expect(x.wrmsr(0x401, 1n)).toBe('gp');
    expect(x.wrmsr(0xc001_0015, 0x10n)).toBe('gp');
    expect(x.set(0x428, 0n)).toBe('refused');
  });
  it('WRMSR of MCG_CAP -> vanishes', () => {
    const x = g();
    expect(x.wrmsr(0x179, 5n)).toBe('ok');
    expect(x.rdmsr(0x179)).toBe(CAP);
  });
});
