/** Devices the engine remembers as such: whatever makes them something else is seen by the very next access. */
import { createVm } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { type Arm64Vcpu, arm64, assemble } from '../src/index.ts';

const RAM = 0x4000_0000n;
const HOLE = 0x0900_0000n;
const TABLE = 0x4001_0000n;
/** Level 1 entries of 1 GiB: a block, accessed, of Device (0) or Normal (1) memory. */
const block = (base: bigint, index: number, bits = 0n): bigint =>
  base | 0x401n | (index ? 0x304n : 0n) | bits;
const open: { dispose(): void }[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/** A VM whose vCPU runs `text`; x2 points to a hole, x3 to its translation table, where the MMU is to be on. */
function lab(text: string, mmu: boolean) {
  const vm = createVm({ arch: arm64({ pan: true }), memslots: [{ gpa: RAM, size: 1n << 20n }] });
  open.push(vm);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  const on = `
    msr ttbr0_el1, x3
    ldr x4, =0x80001f19
    msr tcr_el1, x4
    mov x4, #0xff00
    msr mair_el1, x4
    isb
    mrs x4, sctlr_el1
    orr x4, x4, #1
    msr sctlr_el1, x4
    isb`;
  const code = assemble(
    `ldr x2, =${HOLE}
    ldr x3, =${TABLE}
    adr x4, vectors
    msr vbar_el1, x4
    ${mmu ? on : ''}
    b start
    .balign 2048
    vectors:
    .space 0x200
    mrs x20, esr_el1
    mrs x21, far_el1
    hvc #1
    wfi
    .balign 128
    .space 0x180
    mrs x20, esr_el1
    mrs x21, far_el1
    wfi
    .balign 128
    start: ${text}`,
    { origin: RAM },
  );
  vm.write(RAM, code.bytes);
  vm.poke(TABLE, block(0n, 0));
  vm.poke(TABLE + 8n, block(RAM, 1));
  cpu.pc = RAM;
  return { vm, cpu, arch: cpu.arch as Arm64Vcpu };
}
const LOOP = `
    mov w1, #0x55
    1: str w1, [x2, #8]
    ldr w5, [x2, #16]
    add x6, x6, #1
    b 1b`;

describe.each([false, true])('a loop of accesses to a hole, MMU on: %s', (mmu) => {
  test('a memslot appears there -> memory from the next access on; it goes -> exits again', () => {
    const { vm, cpu } = lab(LOOP, mmu);
    for (let i = 0; i < 6; i++) {
      const e = cpu.run(1000);
      expect(e).toMatchObject({ kind: 'mmio', write: i % 2 === 0, gpa: HOLE + (i % 2 ? 16n : 8n), size: 4 });
      if (i % 2) cpu.answer(e, i);
    }
    vm.addMemory({ gpa: HOLE, size: 4096n, slot: 7 });
    expect(cpu.run(1000).kind).toBe('budget');
    expect(vm.peek(HOLE + 8n, 4)).toBe(0x55n);
    expect(cpu.get('x5')).toBe(0n);
    vm.setMemoryRegion({ slot: 7, gpa: HOLE, size: 0n, hva: 0n });
    expect(cpu.run(1000).kind).toBe('mmio');
  });
  test('an in-kernel device comes and goes -> serves meanwhile', () => {
    const { vm, cpu } = lab(LOOP, mmu);
    const run = (): string => {
      const e = cpu.run(1000);
      if (e.kind === 'mmio' && !e.write) cpu.answer(e, 1);
      return e.kind;
    };
    expect([run(), run(), run()]).toEqual(['mmio', 'mmio', 'mmio']);
    const seen: number[] = [];
    const remove = vm.bus.add({
      name: 'test',
      gpa: Number(HOLE),
      size: 4096,
      load: (at, size, _, out) => {
        seen.push(at, size);
        out.lo = 9;
        return true;
      },
      store: (at, size, _, lo) => seen.push(at, size, lo) > 0,
    });
    expect(run()).toBe('budget');
    expect(seen.slice(-5)).toEqual(seen.at(-1) === 0x55 ? [16, 4, 8, 4, 0x55] : [8, 4, 0x55, 16, 4]);
    expect(cpu.get('x5')).toBe(9n);
    remove();
    expect(run()).toBe('mmio');
  });
  test('first and later exits -> the same fault record for whoever injects an abort', () => {
    const { cpu, arch } = lab(LOOP, mmu);
    const faults = Array.from({ length: 6 }, () => {
      const e = cpu.run();
      if (e.kind === 'mmio' && !e.write) cpu.answer(e, 1);
      return arch.fault;
    });
    const store = { esr: expect.any(Number), far: HOLE + 8n, hpfar: (HOLE >> 12n) << 4n };
    const load = { ...store, far: HOLE + 16n };
    expect(faults).toEqual([store, load, store, load, store, load]);
    expect(new Set(faults.map((f) => f.esr)).size).toBe(2);
  });
});

describe('values and addresses of exits', () => {
  test('64-bit store with the top bit, gpa beyond 4 GiB -> unsigned bigints', () => {
    const { cpu } = lab(
      `mov x9, #0x9000000000
      mov x8, #-2
      str x8, [x9, #8]
      mov x9, #0xf0000000
      lsr x8, x8, #1
      str x8, [x9]
      strh w8, [x9, #2]`,
      false,
    );
    const run = (): object => {
      const { gpa, size, value } = cpu.run() as { gpa: bigint; size: number; value: bigint };
      return { gpa, size, value };
    };
    expect(run()).toEqual({ gpa: 0x90_0000_0008n, size: 8, value: 0xffff_ffff_ffff_fffen });
    expect(run()).toEqual({ gpa: 0xf000_0000n, size: 8, value: 0x7fff_ffff_ffff_ffffn });
    expect(run()).toEqual({ gpa: 0xf000_0002n, size: 2, value: 0xffffn });
  });
  test.each([
    [0, 0n],
    [0x8000_0001, 0x8000_0001n],
    [2 ** 53 - 1, 0x1f_ffff_ffff_ffffn],
    [-1, 0xffff_ffff_ffff_ffffn],
    [-(2 ** 40), 0xffff_ff00_0000_0000n],
    [0xfedc_ba98_7654_3210n, 0xfedc_ba98_7654_3210n],
    [-5n, 0xffff_ffff_ffff_fffbn],
    [(1n << 64n) + 3n, 3n],
  ] as const)('64-bit load answered %s -> register holds the low 64 bits', (value, wanted) => {
    const { cpu } = lab('1: ldr x5, [x2]\n b 1b', false);
    cpu.answer(cpu.run(), value);
    cpu.run();
    expect(cpu.get('x5')).toBe(wanted);
  });
});

describe('a device page behind stage 1', () => {
  test('unmapped without TLBI -> still the device; with TLBI -> translation fault', () => {
    const { vm, cpu } = lab(
      `cbz x6, 1f
      tlbi vmalle1
      dsb sy
      isb
      1: str w1, [x2]
      b start`,
      true,
    );
    expect(cpu.run().kind).toBe('mmio');
    vm.poke(TABLE, 0n);
    expect(cpu.run().kind).toBe('mmio');
    cpu.set('x6', 1);
    expect(cpu.run().kind).not.toBe('mmio');
    expect(cpu.get('x20')).toBe(0x9600_0045n);
    expect(cpu.get('x21')).toBe(HOLE);
  });
  test('mapped elsewhere, TLBI by address -> the new gpa', () => {
    const { vm, cpu } = lab(
      `1: str w1, [x2]
      lsr x7, x2, #12
      tlbi vae1, x7
      dsb sy
      isb
      b 1b`,
      true,
    );
    expect(cpu.run()).toMatchObject({ kind: 'mmio', gpa: HOLE });
    vm.poke(TABLE, block(0x8000_0000n, 0));
    expect(cpu.run()).toMatchObject({ kind: 'mmio', gpa: 0x8000_0000n + HOLE });
  });
  test('EL1 may, EL0 may not -> permission fault at EL0 although the page is remembered', () => {
    const { vm, cpu } = lab(
      `adr x8, 1f
      msr elr_el1, x8
      msr spsr_el1, xzr
      str w1, [x2]
      str w1, [x2]
      eret
      1: str w1, [x2]
      wfi`,
      true,
    );
    // code for EL0: user access, not writable
    vm.poke(TABLE + 8n, block(RAM, 1, 0xc0n));
    expect(cpu.run().kind).toBe('mmio');
    expect(cpu.run().kind).toBe('mmio');
    expect(cpu.run().kind).not.toBe('mmio');
    expect(cpu.get('x20')).toBe(0x9200_004dn);
  });
  test('PAN set after the first access -> permission fault', () => {
    const { vm, cpu } = lab(
      `str w1, [x2]
      msr pan, #1
      str w1, [x2]
      wfi`,
      true,
    );
    vm.poke(TABLE, block(0n, 0, 0x40n));
    expect(cpu.run().kind).toBe('mmio');
    expect(cpu.run().kind).not.toBe('mmio');
    expect(cpu.get('x20')).toBe(0x9600_004dn);
  });
});
