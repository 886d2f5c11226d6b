/** Holes, read-only slots and broken host memory: memfault.md 6.2 and 6.4, column arm64 (policy L). */
import { drive, HostFile, Prot } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { closeLabs, HOLE, type Lab, lab, RAM } from './support/lab.ts';

afterEach(closeLabs);

const at = (address: bigint, code: string): string => `ldr x1, =${address}\n${code}\nwfi\n.ltorg`;

describe('holes (H)', () => {
  for (const [code, size] of [
    ['ldrb w2, [x1, #3]', 1],
    ['ldrsh x2, [x1, #3]', 2],
    ['ldr w2, [x1, #3]', 4],
    ['ldr x2, [x1, #3]', 8],
    ['ldar x2, [x1]', 8],
    ['ldtr w2, [x1, #3]', 4],
  ] as const)
    test(`H1 ${code} in a hole -> VMM: mmio read of ${size}; answered ones -> register`, () => {
      const l = lab(at(HOLE, code));
      mmu(l);
      const e = l.run();
      const off = code.includes('#3') ? 3n : 0n;
      expect(e).toMatchObject({ kind: 'mmio', gpa: HOLE + off, size, write: false, ret: 0 });
      l.cpu.answer(e, (1n << BigInt(8 * size)) - 1n);
      l.run();
      const ones = code.startsWith('ldrsh') ? 2n ** 64n - 1n : (1n << BigInt(8 * size)) - 1n;
      expect(l.cpu.get('x2')).toBe(ones);
    });
  for (const [code, size] of [
    ['strb w2, [x1]', 1],
    ['strh w2, [x1]', 2],
    ['str w2, [x1]', 4],
    ['stlr x2, [x1]', 8],
  ] as const)
    test(`H2 ${code} in a hole -> VMM: mmio write of ${size}, PC at the instruction until the next run`, () => {
      const l = lab(`ldr x2, =0x1122334455667788\n${at(HOLE, code)}`);
      const e = l.run();
      const value = 0x1122_3344_5566_7788n & ((1n << BigInt(8 * size)) - 1n);
      expect(e).toMatchObject({ kind: 'mmio', gpa: HOLE, size, write: true, value });
      expect(l.cpu.pc).toBe(RAM + 8n);
      l.run();
      expect(l.cpu.pc).toBe(RAM + 16n);
    });
  for (const [code, iss] of [
    ['ldp x2, x3, [x1]', 0x05n],
    ['stp x2, x3, [x1]', 0x45n],
    ['ldr q0, [x1]', 0x05n],
    ['str x2, [x1], #8', 0x45n],
    ['ldxr x2, [x1]', 0x05n],
    ['dc zva, x1', 0x45n],
  ] as const)
    test(`H3 ${code} in a hole -> VMM: ENOSYS, with the capability arm-nisv iss 0x${iss.toString(16)}`, () => {
      const l = lab(at(HOLE, code));
      mmu(l);
      l.cpu.set('cpacr_el1', 3n << 20n);
      expect(l.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'ENOSYS' });
      const pc = l.cpu.pc;
      l.vm.enableCap('arm-nisv-to-user');
      expect(l.run()).toMatchObject({ kind: 'arm-nisv', esrIss: iss, faultIpa: HOLE, ret: 0 });
      expect(l.cpu.pc).toBe(pc);
    });
  test('H4 ldr x across two pages of a hole, Normal memory -> VMM: one mmio of 8', () => {
    const l = lab(at(HOLE + 0xffcn, 'ldr x2, [x1]'));
    mmu(l);
    const e = l.run();
    expect(e).toMatchObject({ kind: 'mmio', gpa: HOLE + 0xffcn, size: 8 });
    l.cpu.answer(e, 0x0102_0304_0506_0708n);
    l.run();
    expect(l.cpu.get('x2')).toBe(0x0102_0304_0506_0708n);
  });
  test('H4 ldr x misaligned, Device memory (MMU off) -> EL1: alignment fault', () => {
    const l = lab(at(HOLE + 0xffcn, 'ldr x2, [x1]'));
    l.run();
    expect(l.vector).toBe(0x200);
    expect(l.cpu.get('esr_el1')).toBe(0x9600_0021n);
  });
  test('H5 ldadd in a hole -> VMM: ENOSYS', () => {
    expect(lab(at(HOLE, 'ldadd w2, w3, [x1]')).run()).toMatchObject({ kind: 'run-error', errno: 'ENOSYS' });
  });
  test('H6 br into a hole -> EL1: IABT, FSC 10, FAR = PC', () => {
    const l = lab(at(HOLE, 'br x1'));
    l.run();
    expect(l.vector).toBe(0x200);
    expect(l.cpu.get('esr_el1')).toBe(0x8600_0010n);
    expect(l.cpu.get('far_el1')).toBe(HOLE);
    expect(l.cpu.get('elr_el1')).toBe(HOLE);
  });
  test('H7 a stage 1 table in a hole -> EL1: DABT, FSC 14 + level', () => {
    const l = lab(at(0x2_0000_0000n, 'ldr x2, [x1]'));
    mmu(l);
    l.vm.poke(TABLE + 8n * 8n, HOLE | 3n);
    l.run();
    expect(l.vector).toBe(0x200);
    expect(l.cpu.get('esr_el1')).toBe(0x9600_0016n);
    expect(l.cpu.get('far_el1')).toBe(0x2_0000_0000n);
  });
  test('H9 dc civac in a hole -> skipped, the next instruction runs', () => {
    const l = lab(at(HOLE, 'dc civac, x1\nmov x3, #7'));
    expect(l.run().kind).toBe('intr');
    expect(l.cpu.get('x3')).toBe(7n);
  });
  test('ldr beyond the IPA size but within the PA range -> EL1: SEA with the IPA in FAR', () => {
    const l = lab(at(1n << 41n, 'ldr x2, [x1]'));
    l.run();
    expect(l.vector).toBe(0x200);
    expect(l.cpu.get('esr_el1')).toBe(0x9600_0010n);
    expect(l.cpu.get('far_el1')).toBe(1n << 41n);
  });
});

const RO = 0x5000_0000n;
function readonlySlot(l: Lab, prot = Prot.Read | Prot.Write): number {
  const hva = drive(l.vm.mm.mmap({ size: 0x10000, prot }));
  l.vm.setMemoryRegion({ slot: 9, flags: 2, gpa: RO, size: 0x10000n, hva: BigInt(hva) });
  return hva;
}

describe('read-only slots (R)', () => {
  test('R1 load and fetch -> they run', () => {
    const l = lab(at(RO, 'ldr x2, [x1]\nblr x1'));
    readonlySlot(l);
    l.vm.poke(RO, 0xd65f_03c0n, 4);
    expect(l.run().kind).toBe('intr');
    expect(l.cpu.get('x2')).toBe(0xd65f_03c0n);
  });
  test('R2 str -> VMM: mmio write; stp -> NISV 4F', () => {
    const l = lab(at(RO, 'mov w2, #9\nstr w2, [x1]\nstp x2, x2, [x1]'));
    readonlySlot(l);
    expect(l.run()).toMatchObject({ kind: 'mmio', gpa: RO, size: 4, write: true, value: 9n });
    l.vm.enableCap('arm-nisv-to-user');
    expect(l.run()).toMatchObject({ kind: 'arm-nisv', esrIss: 0x4fn, faultIpa: RO });
  });
  test('R3 ldadd -> NISV 4F', () => {
    const l = lab(at(RO, 'ldadd w2, w3, [x1]'));
    readonlySlot(l);
    l.vm.enableCap('arm-nisv-to-user');
    expect(l.run()).toMatchObject({ kind: 'arm-nisv', esrIss: 0x4fn });
  });
  test('R4, R5 host memory gone: store -> mmio write, load -> EFAULT', () => {
    const l = lab(at(RO, 'str w2, [x1]\nldr w2, [x1]'));
    const hva = readonlySlot(l);
    drive(l.vm.mm.munmap(hva, 0x10000));
    expect(l.run()).toMatchObject({ kind: 'mmio', write: true });
    expect(l.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'EFAULT' });
  });
});

const SLOT = 0x6000_0000n;
function slot(l: Lab, request: Parameters<Lab['vm']['mm']['mmap']>[0]): number {
  const hva = drive(l.vm.mm.mmap(request));
  l.vm.setMemoryRegion({ slot: 10, gpa: SLOT, size: 0x4000n, hva: BigInt(hva) });
  return hva;
}
const EF = { kind: 'run-error', ret: -1, errno: 'EFAULT' };

describe('host memory behind a slot (M)', () => {
  for (const code of [
    'ldr x2, [x1]',
    'str x2, [x1]',
    'br x1',
    'ldp x2, x3, [x1]',
    'ldadd x2, x3, [x1]',
    'dc civac, x1',
  ])
    test(`M1 PROT_NONE: ${code} -> EFAULT, PC at the access`, () => {
      const l = lab(at(SLOT, code));
      slot(l, { size: 0x4000, prot: Prot.None });
      expect(l.run()).toMatchObject(EF);
      expect(l.cpu.pc).toBe(code.startsWith('br') ? SLOT : RAM + 4n);
      expect(l.run()).toMatchObject(EF);
    });
  test('M3 PROT_READ: load runs, store -> EFAULT', () => {
    const l = lab(at(SLOT, 'ldr x2, [x1]\nmov x3, #1\nstr x2, [x1]'));
    slot(l, { size: 0x4000, prot: Prot.Read });
    expect(l.run()).toMatchObject(EF);
    expect(l.cpu.get('x3')).toBe(1n);
  });
  test('M5 munmapped -> EFAULT; M14 mapped again -> the load completes', () => {
    const l = lab(at(SLOT, 'ldr x2, [x1]'));
    const hva = slot(l, { size: 0x4000 });
    drive(l.vm.mm.munmap(hva, 0x4000));
    expect(l.run()).toMatchObject(EF);
    drive(l.vm.mm.mmap({ at: hva, size: 0x4000 }));
    l.vm.poke(SLOT, 77n);
    expect(l.run().kind).toBe('intr');
    expect(l.cpu.get('x2')).toBe(77n);
  });
  test('M6 a file beyond its end -> EFAULT, no sleep', () => {
    const l = lab(at(SLOT + 0x2000n, 'ldr x2, [x1]'));
    slot(l, { size: 0x4000, backing: new HostFile(l.vm.host, 'f', 0x1000) });
    expect(l.run()).toMatchObject(EF);
  });
  test('M11 stage 1 table in a PROT_NONE page -> EFAULT', () => {
    const l = lab(at(0x2_0000_0000n, 'ldr x2, [x1]'));
    slot(l, { size: 0x4000, prot: Prot.None });
    mmu(l);
    l.vm.poke(TABLE + 8n * 8n, SLOT | 3n);
    expect(l.run()).toMatchObject(EF);
  });
  test('M15 hwpoison -> SIGBUS AR with hva and lsb, EINTR; again on the next run', () => {
    const l = lab(at(SLOT + 0x1008n, 'ldr x2, [x1]'));
    const hva = slot(l, { size: 0x4000 });
    l.vm.poke(SLOT + 0x1000n, 1n);
    drive(l.vm.memory.memoryFailure(SLOT + 0x1000n, 'main', () => {}));
    for (let n = 0; n < 2; n++) {
      expect(l.run()).toMatchObject({ kind: 'intr', ret: -1, errno: 'EINTR' });
      expect(l.vm.signals.drain()).toMatchObject([
        { signal: 'SIGBUS', code: 'BUS_MCEERR_AR', addr: BigInt(hva) + 0x1000n, lsb: 12, to: { vcpu: 0 } },
      ]);
      expect(l.cpu.pc).toBe(RAM + 4n);
    }
  });
});

/** L1 table of 1 GiB blocks, in RAM. */
const TABLE = RAM + 0x20000n;
/** MMU on with 39 bits: the first 8 GiB mapped flat as Normal memory. */
function mmu(l: Lab): void {
  for (let n = 0n; n < 8n; n++) l.vm.poke(TABLE + 8n * n, (n << 30n) | (n ? 0x705n : 0x745n));
  l.cpu.set('mair_el1', 0xff00n);
  l.cpu.set('tcr_el1', 25n | (1n << 23n) | (5n << 32n));
  l.cpu.set('ttbr0_el1', TABLE);
  l.cpu.set('sctlr_el1', 0x30d0_1805n);
}
