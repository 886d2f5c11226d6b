/** Descriptor-table registers and instructions that look at descriptors, on flat memory. */
import { beforeEach, describe, expect, test } from 'vitest';
import { FL } from '../src/isa/flags.ts';
import { R, Seg } from '../src/isa/layout.ts';
import { CR4, SR } from '../src/state.ts';
import {
  AT,
  atLevel,
  type FakeMachine,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
} from './support/fake-machine.ts';
import { type SystemMachine, systemMachine } from './support/system-machine.ts';

const GP = 13;
const NP = 11;
const UD = 6;
const FREE = 0x68;

let m: FakeMachine;
let x: SystemMachine;
const use = (machine: FakeMachine): void => {
  m = machine;
  x = systemMachine(machine);
};

/** A descriptor of 8 bytes in the GDT. */
function entry(selector: number, base: number, limit: number, access: number, flags: number): void {
  m.put32(
    AT.gdt + (selector & ~7),
    (limit & 0xffff) | ((base & 0xffff) << 16),
    ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf_0000) | (flags << 20) | (base & 0xff00_0000),
  );
}
/** A call gate or task gate. */
function gateEntry(selector: number, to: number, offset: number, access: number, count = 0): void {
  m.put32(
    AT.gdt + (selector & ~7),
    (offset & 0xffff) | (to << 16),
    (offset & ~0xffff) | (access << 8) | count,
  );
}
describe('descriptor-table registers', () => {
  test('lgdt and sgdt: 24-bit base with a 16-bit operand', () => {
    use(protectedMachine());
    m.put(0x5000, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12);
    expect(x.run(0x66, 0x0f, 0x01, 0x15, 0, 0x50, 0, 0)).toBe('run');
    expect([m.state.sysLo(SR.GDTR_BASE), m.state.sysLo(SR.GDTR_LIMIT)]).toEqual([0x34_5678, 0x1234]);
    expect(x.run(0x0f, 0x01, 0x05, 0, 0x51, 0, 0)).toBe('run');
    expect([m.u16(0x5100), m.u32(0x5102)]).toEqual([0x1234, 0x34_5678]);
  });
  test('lidt of a base that is not canonical -> #GP(0)', () => {
    use(longMachine());
    m.put(0x5000, 0xff, 0xf, 0, 0, 0, 0, 0, 0x80, 0, 0);
    expect(x.run(0x0f, 0x01, 0x1c, 0x25, 0, 0x50, 0, 0)).toEqual([GP, 0]);
  });
  test('CPL 3: lgdt -> #GP(0); sgdt works until CR4.UMIP', () => {
    use(protectedMachine());
    atLevel(m, 3);
    expect(x.run(0x0f, 0x01, 0x15, 0, 0x50, 0, 0)).toEqual([GP, 0]);
    expect(x.run(0x0f, 0x01, 0x05, 0, 0x50, 0, 0)).toBe('run');
    m.state.setSys(SR.CR4, CR4.UMIP, 0);
    for (const bytes of [
      [0x0f, 0x01, 0x05, 0, 0x50, 0, 0],
      [0x0f, 0x01, 0x0d, 0, 0x50, 0, 0],
      [0x0f, 0x00, 0xc0],
      [0x0f, 0x00, 0xc8],
      [0x0f, 0x01, 0xe0],
    ])
      expect(x.run(...bytes)).toEqual([GP, 0]);
  });
  test('ltr -> tr, busy in the table; again -> #GP(selector)', () => {
    use(protectedMachine());
    entry(FREE, 0x1_3400, 0x67, 0x89, 0);
    m.state.set(R.RAX, FREE, 0);
    expect(x.run(0x0f, 0x00, 0xd8)).toBe('run');
    expect(m.state.segment(Seg.TR)).toMatchObject({ selector: FREE, baseLo: 0x1_3400, limit: 0x67 });
    expect(m.bytes[AT.gdt + FREE + 5]).toBe(0x8b);
    expect(x.run(0x0f, 0x00, 0xd8)).toEqual([GP, FREE]);
  });
  test('long mode: ltr takes 16 bytes', () => {
    use(longMachine());
    entry(FREE, 0x3400, 0x67, 0x89, 0);
    m.put32(AT.gdt + FREE + 8, 0x7fff, 0);
    m.state.set(R.RAX, FREE, 0);
    expect(x.run(0x0f, 0x00, 0xd8)).toBe('run');
    expect(m.state.segment(Seg.TR)).toMatchObject({ baseLo: 0x3400, baseHi: 0x7fff });
  });
  test('lldt: null -> unusable; in the LDT -> #GP; absent -> #NP', () => {
    use(protectedMachine());
    entry(FREE, AT.ldt, 0xff, 0x02, 0);
    for (const [selector, expected] of [
      [0, 'run'],
      [4, [GP, 4]],
      [FREE, [NP, FREE]],
      [SEL.data0, [GP, SEL.data0]],
    ] as const) {
      m.state.set(R.RAX, selector, 0);
      expect(x.run(0x0f, 0x00, 0xd0)).toEqual(expected);
    }
  });
  test('real mode: lldt, ltr, sldt, str, lar, verr -> #UD', () => {
    use(realMachine());
    for (const modrm of [0xd0, 0xd8, 0xc0, 0xc8, 0xe0, 0xe8])
      expect(x.run(0x0f, 0x00, modrm)).toEqual([UD, undefined]);
    expect(x.run(0x0f, 0x02, 0xc0)).toEqual([UD, undefined]);
  });
});

describe('lar, lsl, verr, verw, arpl', () => {
  beforeEach(() => use(protectedMachine()));
  const zf = (): boolean => (m.state.flags & FL.ZF) !== 0;
  const ask = (opcode: number, selector: number): number => {
    m.state.set(R.RCX, selector, 0);
    m.state.set(R.RAX, 0x55, 0);
    expect(x.run(0x0f, opcode, 0xc1)).toBe('run');
    return m.state.lo(R.RAX) >>> 0;
  };
  test('lar and lsl of a page-granular code segment', () => {
    expect(ask(0x02, SEL.code0)).toBe(0xcf_9b00);
    expect(zf()).toBe(true);
    expect(ask(0x03, SEL.code0)).toBe(0xffff_ffff);
  });
  test('null, beyond the table, invisible -> ZF = 0, register kept', () => {
    atLevel(m, 3);
    for (const selector of [0, 0x300, SEL.data0]) {
      expect(ask(0x02, selector)).toBe(0x55);
      expect(zf()).toBe(false);
    }
  });
  test('a call gate: lar knows it, lsl does not', () => {
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    ask(0x02, FREE);
    expect(zf()).toBe(true);
    ask(0x03, FREE);
    expect(zf()).toBe(false);
  });
  test.each([
    ['data', SEL.data0, true, true],
    ['read-only data', SEL.data0ro, true, false],
    ['code', SEL.code0, true, false],
    ['a TSS', SEL.tss, false, false],
  ])('verr and verw of %s', (_, selector, r, w) => {
    m.state.set(R.RAX, selector, 0);
    x.run(0x0f, 0x00, 0xe0);
    expect(zf()).toBe(r);
    x.run(0x0f, 0x00, 0xe8);
    expect(zf()).toBe(w);
  });
  test('arpl raises the RPL and says so', () => {
    m.state.set(R.RAX, 0x10, 0);
    m.state.set(R.RCX, 3, 0);
    expect(x.run(0x63, 0xc8)).toBe('run');
    expect([m.state.lo(R.RAX), zf()]).toEqual([0x13, true]);
    x.run(0x63, 0xc8);
    expect([m.state.lo(R.RAX), zf()]).toEqual([0x13, false]);
  });
});
