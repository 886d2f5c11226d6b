/** Machine-check state: what survives resets, and that snapshots, forks and hashes have all of it. */
import type { X86Vcpu } from '@faultyard/arch-x86';
import type { Vcpu } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { CAP, type Guest, guest } from './support/guest.ts';

const ONES = 0xffff_ffff_ffff_ffffn;

/** A vCPU with something in every register, of which `full` keeps DESTAT too. */
function filled(): Guest {
  const g = guest({
    model: 'skylake',
    set: { smcaDestat: 'full', deferredFillsDestat: 'on' },
    cap: CAP | 0x0800_0400n,
  });
  for (const [index, value] of [
    [0x3a, 0x10_0001n],
    [0x4d0, 1n],
    [0x17b, 0n],
    [0x289, 0x4000_0005n],
    [0x17a, 5n],
    [0xc001_0015, 0x104_0000n],
    [0x404, 0n],
  ] as const)
    expect(g.set(index, value)).toBe('ok');
  g.api.set(g.cpu, { bank: 9, status: 0x9c00_1800_0000_0000n, addr: 0x5000n, misc: 0x8cn });
  return g;
}
const made = (): ReturnType<Guest['api']['view']> => {
  const g = guest({ cap: undefined });
  return g.api.view(g.cpu);
};

it('a new vCPU -> 32 banks, nothing enabled', () => {
  const v = made();
  expect(v).toMatchObject({ mcgCap: 0x20n, mcgStatus: 0n, mcgCtl: 0n, mcgExtCtl: 0n, hwcr: 0n, featCtl: 0n });
  const none = { ctl: 0n, status: 0n, addr: 0n, misc: 0n, ctl2: 0n, destat: 0n, deaddr: 0n };
  expect(v.banks).toEqual(Array(32).fill(none));
});

it.each([true, false])('reset, INIT %o -> nothing of it changes', (init) => {
  const g = filled();
  const before = g.api.view(g.cpu);
  (g.cpu.arch as X86Vcpu).reset(init);
  expect(g.api.view(g.cpu)).toEqual(before);
  expect(before.banks[9]).toMatchObject({
    destat: 0x9c00_1800_0000_0000n,
    deaddr: 0x5000n,
    ctl2: 0x4000_0005n,
  });
  expect(before).toMatchObject({ hwcr: 0x104_0000n, featCtl: 0x10_0001n, mcgExtCtl: 1n, mcgCtl: 0n });
});

describe('snapshots', () => {
  it('taken, state changed, restored -> as it was, with a pending machine check', () => {
    const g = filled();
    g.set(0x17b, ONES);
    g.set(0x17a, 0n);
    expect(g.api.set(g.cpu, { bank: 3, status: 0xbc00_0800_0000_0000n, mcgStatus: 7n })).toBe(
      'machine-check',
    );
    const at = g.vm.snapshot();
    const before = g.api.view(g.cpu);
    g.cpu.op('x86-setup-mce', { mcgCap: 1n });
    g.set(0xc001_0015, 0n);
    g.set(0x3a, 0n);
    expect(g.run('nop').kind).toBe('hlt');
    expect(g.mcs).toBe(1);
    g.vm.restore(at);
    expect(g.api.view(g.cpu)).toEqual(before);
    expect(g.mcs).toBe(0);
    // which bits of FEAT_CTL are legal belongs to it
    g.set(0x3a, 0n);
    g.run('nop');
    expect(g.mcs).toBe(1);
    expect(g.wrmsr(0x3a, 0x10_0000n)).toBe('ok');
  });
  it('fork -> the same there, and apart from then on', () => {
    const g = filled();
    const fork = g.vm.fork();
    const cpu = fork.vcpus[0] as Vcpu;
    const api = fork.api<never, Guest['api']>('mce');
    expect(api.view(cpu)).toEqual(g.api.view(g.cpu));
    api.set(cpu, { bank: 2, status: 1n << 63n });
    expect(g.api.view(g.cpu).banks[2]?.status).toBe(0n);
    fork.dispose();
  });
});

describe('the state hash', () => {
  it.each([
    ['MCG_STATUS', 0x17a, 1n],
    ['MCG_CTL', 0x17b, ONES],
    ['MCG_EXT_CTL', 0x4d0, 0n],
    ['FEAT_CTL', 0x3a, 1n],
    ['HWCR', 0xc001_0015, 0x4_0000n],
    ['MC9_STATUS', 0x425, 1n],
    ['MC9_CTL2', 0x289, 1n],
    ['DESTAT', 0xc000_2098, 1n],
    ['DEADDR', 0xc000_2099, 1n],
  ] as const)('%s written -> another hash', (_, index, value) => {
    const g = filled();
    const before = g.vm.stateHash();
    expect(g.set(index, value)).toBe('ok');
    expect(g.vm.stateHash()).not.toBe(before);
  });
});

it('names for people -> banks and globals by their MSR names', () => {
  const g = filled();
  expect(g.cpu.get('mc9_status')).toBe(0x9c00_1800_0000_0000n);
  expect(g.cpu.get('mc9_addr')).toBe(0x5000n);
  expect(g.cpu.get('mcg_cap')).toBe(CAP | 0x0800_0400n);
  expect(g.cpu.get('hwcr')).toBe(0x104_0000n);
});

it('SETUP again -> STATUS, ADDR, MISC, MCG_STATUS stay; fewer banks hide the others; more show them again', () => {
  const g = filled();
  g.cpu.op('x86-setup-mce', { mcgCap: 0x0100_0105n });
  expect(g.get(0x425)).toBe('refused');
  expect(g.api.view(g.cpu)).toMatchObject({ mcgStatus: 5n, mcgCtl: ONES });
  expect(g.api.view(g.cpu).banks).toHaveLength(5);
  expect(g.get(0x404)).toBe(ONES);
  g.cpu.op('x86-setup-mce', { mcgCap: CAP });
  expect([g.get(0x425), g.get(0x426), g.get(0x427)]).toEqual([0x9c00_1800_0000_0000n, 0x5000n, 0x8cn]);
});
