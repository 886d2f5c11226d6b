import { createVm } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { arm64, asm } from '../src/index.ts';

const RAM = 0x4000_0000n;
type Lab = ReturnType<typeof lab>;
const open: { dispose(): void }[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/** A VM with 1 MiB of RAM and `code` at its start, pc there. */
function lab(code: { readonly bytes: Uint8Array }, options = {}, vcpus = 1) {
  const vm = createVm({ arch: arm64(options), vcpus, memslots: [{ gpa: RAM, size: 1n << 20n }] });
  open.push(vm);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  vm.memory.write(RAM, code.bytes);
  cpu.pc = RAM;
  return { vm, cpu };
}

describe('first instructions', () => {
  test('mov, add, wfi -> registers hold the sum, KVM_RUN says intr', () => {
    const { cpu }: Lab = lab(asm`mov x0, #40
      add x1, x0, #2
      wfi`);
    const exit = cpu.run();
    expect(exit.kind).toBe('intr');
    expect(cpu.get('x1')).toBe(42n);
    expect(cpu.pc).toBe(RAM + 12n);
  });
});

describe('devices', () => {
  test('str to a hole -> exit mmio with gpa, size and value; pc moves on with the next run', () => {
    const { cpu }: Lab = lab(asm`mov x0, #0x9000000
      mov w1, #0x1234
      strh w1, [x0, #2]
      wfi`);
    const e = cpu.run();
    expect(e).toMatchObject({ kind: 'mmio', gpa: 0x900_0002n, size: 2, write: true, value: 0x1234n, ret: 0 });
    expect(cpu.pc).toBe(RAM + 8n);
    expect(cpu.run().kind).toBe('intr');
    expect(cpu.pc).toBe(RAM + 16n);
  });
  test('ldrsb from a hole, answered 0x80 -> register holds the sign-extended byte', () => {
    const { cpu }: Lab = lab(asm`mov x0, #0x9000000
      ldrsb x1, [x0]
      wfi`);
    const e = cpu.run();
    expect(e).toMatchObject({ kind: 'mmio', gpa: 0x900_0000n, size: 1, write: false });
    cpu.answer(e, 0x80);
    cpu.run();
    expect(cpu.get('x1')).toBe(0xffff_ffff_ffff_ff80n);
  });
  test('ldp from a hole -> run-error ENOSYS, with the capability arm-nisv', () => {
    const { vm, cpu }: Lab = lab(asm`mov x0, #0x9000000
      ldp x1, x2, [x0]
      wfi`);
    expect(cpu.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'ENOSYS' });
    vm.enableCap('arm-nisv-to-user');
    expect(cpu.run()).toMatchObject({ kind: 'arm-nisv', esrIss: 5n, faultIpa: 0x900_0000n });
  });
});

describe('poison', () => {
  test('ldr from a poisoned page, no fault plugin, A clear -> SError vector, IDS syndrome', () => {
    const { vm, cpu }: Lab = lab(asm`adr x0, vectors
      msr vbar_el1, x0
      isb
      msr daifclr, #4
      ldr x2, =0x40002000
      ldr x1, [x2]
      wfi
      .balign 2048
      vectors:
      .space 0x380
      mrs x3, esr_el1
      mrs x4, elr_el1
      wfi`);
    vm.poison(0x4000_2000n);
    cpu.run();
    expect(cpu.get('x3')).toBe(0xbf00_0000n);
    expect(cpu.get('x4')).toBe(RAM + 20n);
  });
});

describe('state', () => {
  test('snapshot at an exit, run on, restore, run again -> same state hash', () => {
    const { vm, cpu }: Lab = lab(asm`mov x0, #0x9000000
      mov x5, #0
      again: add x5, x5, #1
      str x5, [x0]
      b again`);
    for (let i = 0; i < 5; i++) cpu.run();
    const s = vm.snapshot();
    const run = (): string => {
      for (let i = 0; i < 7; i++) cpu.run();
      return vm.stateHash();
    };
    const first = run();
    expect(run()).not.toBe(first);
    vm.restore(s);
    expect(run()).toBe(first);
    s.dispose();
  });
});
