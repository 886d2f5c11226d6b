/** Section 7 of the fact sheet: numbers and structures as userspace has them. */
import type { OpName } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import abi from '../data/abi.json' with { type: 'json' };
import { fresh } from './support/guest.ts';

const op = (name: OpName): { ioctl: number; codec?: { size: number } } => {
  const found = fresh().vm.ops.all.find((d) => d.name === name);
  if (!found) throw new Error(`no operation ${name}`);
  return found;
};

it.each(Object.entries(abi.ioctls))('%s -> %s', (kvm, number) => {
  const d = fresh().vm.ops.all.find((x) => x.ioctl >>> 0 === Number(number));
  expect(d?.kvm).toBe(kvm);
});

it.each(Object.entries(abi.caps))('%s -> %i', (kvm, number) => {
  const { caps } = fresh().vm;
  const d = caps.all.find((c) => c.kvm === kvm);
  expect(d && caps.number(d)).toBe(number);
});

describe('struct kvm_x86_mce', () => {
  const s = abi.kvm_x86_mce;
  it(`is ${s.size} bytes long`, () => expect(op('x86-set-mce').codec?.size).toBe(s.size));
  it('bytes at their offsets -> in the bank; the rest is not looked at', () => {
    const g = fresh();
    const bytes = new Uint8Array(s.size).fill(0xee);
    const v = new DataView(bytes.buffer);
    v.setBigUint64(s.status, 0x9c00_0000_0000_009fn, true);
    v.setBigUint64(s.addr, 0x1234_5678_9abc_def0n, true);
    v.setBigUint64(s.misc, 0x8cn, true);
    v.setBigUint64(s.mcg_status, 0n, true);
    v.setUint8(s.bank, 3);
    expect(g.cpu.ioctl(Number(abi.ioctls.KVM_X86_SET_MCE), bytes)).toMatchObject({ ret: 0, bytes });
    expect(g.api.view(g.cpu).banks[3]).toMatchObject({
      status: 0x9c00_0000_0000_009fn,
      addr: 0x1234_5678_9abc_def0n,
      misc: 0x8cn,
    });
  });
  it('an argument -> encoded and decoded: the same', () => {
    const codec = op('x86-set-mce').codec as unknown as {
      encode(v: object, out: DataView): void;
      decode(a: DataView): object;
    };
    const arg = { status: 1n << 63n, addr: 2n, misc: 3n, mcgStatus: 7n, bank: 31 };
    const view = new DataView(new ArrayBuffer(s.size));
    codec.encode(arg, view);
    expect(codec.decode(view)).toEqual(arg);
    expect(view.getUint8(s.bank)).toBe(31);
    expect(view.getBigUint64(s.mcg_status, true)).toBe(7n);
  });
});

it('KVM_X86_GET_MCE_CAP_SUPPORTED by ioctl -> the mask in the structure', () => {
  const g = fresh({ model: 'skylake' });
  const r = g.vm.ioctl(Number(abi.ioctls.KVM_X86_GET_MCE_CAP_SUPPORTED), new Uint8Array(8));
  expect(r.ret).toBe(0);
  expect(new DataView(r.bytes.buffer).getBigUint64(0, true)).toBe(0x0900_0500n);
});

it('exits of MSRs and of a triple fault -> their numbers in kvm_run', () => {
  const g = fresh({ set: { userExit: 'on' } });
  const reason = (): number => g.cpu.kvmRun.getUint32(8, true);
  g.cpu.set('rcx', 0xc000_2098);
  g.run('rdmsr');
  expect(reason()).toBe(abi.exits.KVM_EXIT_X86_RDMSR);
  g.cpu.run();
  g.cpu.set('rcx', 0xc000_2098);
  g.run('wrmsr');
  expect(reason()).toBe(abi.exits.KVM_EXIT_X86_WRMSR);
  g.cpu.run();
  g.set(0x17a, 4n);
  g.api.set(g.cpu, { bank: 9, status: 0xbc00_0800_0000_0000n, mcgStatus: 7n });
  g.run('nop');
  expect(reason()).toBe(abi.exits.KVM_EXIT_SHUTDOWN);
});
