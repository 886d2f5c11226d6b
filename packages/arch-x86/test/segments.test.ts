/** Segment loads, far transfers, gates and tasks on flat memory, without the vCPU around them. */
import { beforeEach, describe, expect, test } from 'vitest';
import { FL } from '../src/isa/flags.ts';
import { R, Seg } from '../src/isa/layout.ts';
import { Attr, CR0 } from '../src/state.ts';
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
const SS = 12;
const TS = 10;
const _UD = 6;

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
const FREE = 0x68;
const FREE2 = 0x70;

/** MOV Sreg, ax with a value. */
const mov = (n: number, selector: number): ReturnType<SystemMachine['run']> => {
  m.state.set(R.RAX, selector, 0);
  return x.run(0x8e, 0xc0 | (n << 3));
};

describe('mov sreg in protected mode', () => {
  beforeEach(() => use(protectedMachine()));

  test('ds <- data segment with base and byte limit -> hidden part, accessed bit in the table', () => {
    entry(FREE, 0x1234_5000, 0x8fff, 0x92, 4);
    expect(mov(Seg.DS, FREE)).toBe('run');
    expect(x.hidden(Seg.DS)).toEqual({ attr: 0x493, limit: 0x8fff, baseLo: 0x1234_5000 });
    expect(m.bytes[AT.gdt + FREE + 5]).toBe(0x93);
    expect(m.state.pcLo).toBe(AT.code + 2);
  });
  test('es <- null selector -> loaded, unusable', () => {
    expect(mov(Seg.ES, 3)).toBe('run');
    expect(m.state.segment(Seg.ES).selector).toBe(3);
    expect(x.hidden(Seg.ES).attr & Attr.Unusable).toBe(Attr.Unusable);
  });
  test.each([
    ['beyond the GDT', 0x200, GP, 0x200],
    ['in an LDT that is not there', 0x0c, GP, 0x0c],
    ['execute-only code', FREE, GP, FREE],
    ['a TSS', SEL.tss, GP, SEL.tss],
  ])('ds <- %s -> #GP(selector)', (_, selector, vector, code) => {
    entry(FREE, 0, 0xffff, 0x99, 4);
    expect(mov(Seg.DS, selector)).toEqual([vector, code]);
  });
  test('ds <- not present -> #NP(selector), checked after type', () => {
    entry(FREE, 0, 0xffff, 0x12, 4);
    expect(mov(Seg.DS, FREE)).toEqual([NP, FREE]);
  });
  test('CPL 3: ds <- DPL 0 data -> #GP; conforming code -> loaded', () => {
    atLevel(m, 3);
    expect(mov(Seg.DS, SEL.data0)).toEqual([GP, SEL.data0]);
    expect(mov(Seg.DS, SEL.conforming)).toBe('run');
  });
  test('ds <- DPL 0 data with RPL 3 at CPL 0 -> #GP', () => {
    expect(mov(Seg.DS, SEL.data0 | 3)).toEqual([GP, SEL.data0]);
  });
  test.each([
    ['null', 0, GP, 0],
    ['read-only data', SEL.data0ro, GP, SEL.data0ro],
    ['RPL other than CPL', SEL.data0 | 1, GP, SEL.data0],
    ['DPL other than CPL', SEL.data3 & ~3, GP, SEL.data3 & ~3],
    ['not present', FREE, SS, FREE],
  ])('ss <- %s -> exception', (_, selector, vector, code) => {
    entry(FREE, 0, 0xffff, 0x12, 4);
    expect(mov(Seg.SS, selector)).toEqual([vector, code]);
  });
  test('ss <- writable data -> loaded, interrupts held for one instruction', () => {
    expect(mov(Seg.SS, SEL.data0)).toBe('run');
    expect(m.events.shadow).toBe(1);
  });
  test('table page missing in stage 2 -> nothing changed, runs again', () => {
    m.missing.add(AT.gdt >>> 12);
    const before = x.hidden(Seg.DS);
    expect(mov(Seg.DS, SEL.data0ro)).toBe('memory');
    expect(x.hidden(Seg.DS)).toEqual(before);
    expect(m.state.pcLo).toBe(AT.code);
    m.missing.clear();
    expect(mov(Seg.DS, SEL.data0ro)).toBe('run');
  });
  test('les eax, [mem] -> offset and segment', () => {
    m.put32(0x5000, 0xdead_beef, SEL.data0ro);
    expect(x.run(0xc4, 0x05, 0, 0x50, 0, 0)).toBe('run');
    expect(m.state.lo(R.RAX) >>> 0).toBe(0xdead_beef);
    expect(m.state.segment(Seg.ES).selector).toBe(SEL.data0ro);
  });
  test('push ds, 32 bits: AMD zero-extends, Intel leaves the upper half', () => {
    for (const [vendor, expected] of [
      ['AMD', 0x10],
      ['Intel', 0xffff_0010],
    ] as const) {
      use(protectedMachine({ vendor }));
      m.put32(AT.stack0 - 4, -1);
      expect(x.run(0x1e)).toBe('run');
      expect(m.sp).toBe(AT.stack0 - 4);
      expect(m.u32(AT.stack0 - 4)).toBe(expected);
    }
  });
  test('pop es -> value and stack pointer; a bad one leaves both', () => {
    m.put32(AT.stack0 - 4, SEL.data0ro);
    m.sp = AT.stack0 - 4;
    expect(x.run(0x07)).toBe('run');
    expect(m.sp).toBe(AT.stack0);
    m.put32(AT.stack0 - 4, 0x200);
    m.sp = AT.stack0 - 4;
    expect(x.run(0x07)).toEqual([GP, 0x200]);
    expect(m.sp).toBe(AT.stack0 - 4);
  });
  test('mov [mem], ds -> 16 bits; mov eax, ds -> zero-extended', () => {
    m.put32(0x5000, -1);
    expect(x.run(0x8c, 0x1d, 0, 0x50, 0, 0)).toBe('run');
    expect(m.u32(0x5000)).toBe(0xffff_0010);
    m.state.set(R.RAX, -1, 0);
    expect(x.run(0x8c, 0xd8)).toBe('run');
    expect(m.state.lo(R.RAX)).toBe(0x10);
  });
});

describe('mov sreg elsewhere', () => {
  test('real mode: base is 16 times the selector, limit and attributes stay', () => {
    use(realMachine());
    Object.assign(m.state.segment(Seg.DS), { limit: -1, attr: 0xc93 });
    expect(mov(Seg.DS, 0x1234)).toBe('run');
    expect(x.hidden(Seg.DS)).toEqual({ attr: 0xc93, limit: -1, baseLo: 0x1_2340 });
  });
  test('64-bit mode: null ss at CPL 0 -> loaded; Intel wants RPL 0', () => {
    use(longMachine());
    expect(mov(Seg.SS, 3)).toBe('run');
    use(longMachine({ vendor: 'Intel' }));
    expect(mov(Seg.SS, 3)).toEqual([GP, 0]);
    expect(mov(Seg.SS, 0)).toBe('run');
  });
  test('64-bit mode, CPL 3: null ss -> #GP(0)', () => {
    use(longMachine());
    atLevel(m, 3);
    expect(mov(Seg.SS, 0)).toEqual([GP, 0]);
  });
  test('null fs in 64-bit mode: early Zen keeps the base, later CPUs clear it', () => {
    for (const keeps of [true, false]) {
      use(longMachine());
      if (!keeps) m.features.add('null_sel_clr_base');
      Object.assign(m.state.segment(Seg.FS), { baseLo: 0x1234, baseHi: 1 });
      expect(mov(Seg.FS, 0)).toBe('run');
      expect(m.state.segment(Seg.FS)).toMatchObject(
        keeps ? { baseLo: 0x1234, baseHi: 1 } : { baseLo: 0, baseHi: 0 },
      );
    }
  });
});

const jmp32 = (selector: number, offset: number): readonly number[] => [
  0xea,
  offset & 255,
  (offset >>> 8) & 255,
  (offset >>> 16) & 255,
  offset >>> 24,
  selector & 255,
  selector >>> 8,
];
const call32 = (selector: number, offset: number): readonly number[] => [
  0x9a,
  ...jmp32(selector, offset).slice(1),
];

describe('far jmp and call in protected mode', () => {
  beforeEach(() => use(protectedMachine()));

  test('jmp to a code segment -> cs, eip', () => {
    expect(x.run(...jmp32(SEL.code0, 0x4321))).toBe('run');
    expect(m.state.pcLo).toBe(0x4321);
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.code0);
  });
  test.each([
    ['null', 0, GP, 0],
    ['beyond the table', 0x300, GP, 0x300],
    ['data', SEL.data0, GP, SEL.data0],
    ['code of DPL 3', SEL.code3 & ~3, GP, SEL.code3 & ~3],
    ['RPL above CPL', SEL.code0 | 2, GP, SEL.code0],
    ['not present', SEL.absent, NP, SEL.absent],
    ['offset beyond the limit', FREE, GP, 0],
  ])('jmp to %s -> exception', (_, selector, vector, code) => {
    entry(FREE, 0, 0xfff, 0x9a, 4);
    expect(x.run(...jmp32(selector, 0x4321))).toEqual([vector, code]);
    expect(m.state.pcLo).toBe(AT.code);
  });
  test('CPL 3: conforming code of DPL 0 -> entered at CPL 3', () => {
    atLevel(m, 3);
    expect(x.run(...jmp32(SEL.conforming, 0x100))).toBe('run');
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.conforming | 3);
    expect(m.state.cpl).toBe(3);
  });
  test('call, then retf with 8 bytes of parameters -> back, stack released', () => {
    expect(x.run(...call32(SEL.code0, 0x9000))).toBe('run');
    expect([m.u32(AT.stack0 - 8), m.u32(AT.stack0 - 4)]).toEqual([AT.code + 7, SEL.code0]);
    expect(x.run(0xca, 8, 0)).toBe('run');
    expect(m.state.pcLo).toBe(AT.code + 7);
    expect(m.sp).toBe(AT.stack0 + 8);
  });
  test('16-bit call through m16:16 -> 2-byte pushes', () => {
    m.put32(0x5000, 0x1234 | (SEL.code0 << 16));
    expect(x.run(0x66, 0xff, 0x1d, 0, 0x50, 0, 0)).toBe('run');
    expect(m.state.pcLo).toBe(0x1234);
    expect(m.u32(AT.stack0 - 4)).toBe(((AT.code + 7) & 0xffff) | (SEL.code0 << 16));
  });
  test('call gate to CPL 0 with two parameters -> inner stack: ss, esp, parameters, cs, eip', () => {
    gateEntry(FREE, SEL.code0, 0x9000, 0xec, 2);
    atLevel(m, 3);
    m.put32(AT.stack3, 0x1111_1111, 0x2222_2222);
    expect(x.run(...call32(FREE, 0))).toBe('run');
    expect(m.state.cpl).toBe(0);
    expect(m.state.pcLo).toBe(0x9000);
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.code0);
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data0);
    const frame = [1, 2, 3, 4, 5, 6].map((n) => m.u32(AT.stack0 - 4 * n));
    expect(frame).toEqual([SEL.data3, AT.stack3, 0x2222_2222, 0x1111_1111, SEL.code3, AT.code + 7]);
    // and back: parameters go on both stacks
    expect(x.run(0xca, 8, 0)).toBe('run');
    expect(m.state.cpl).toBe(3);
    expect(m.sp).toBe(AT.stack3 + 8);
    expect(m.state.pcLo).toBe(AT.code + 7);
  });
  test.each([
    ['gate of DPL 0 from CPL 3', 0x8c, SEL.code0, GP, FREE],
    ['absent gate', 0x6c, SEL.code0, NP, FREE],
    ['gate to data', 0xec, SEL.data0, GP, SEL.data0],
    ['gate to nothing', 0xec, 0, GP, 0],
    ['gate to absent code', 0xec, SEL.absent, NP, SEL.absent],
  ])('call: %s -> exception', (_, access, to, vector, code) => {
    gateEntry(FREE, to, 0x9000, access);
    atLevel(m, 3);
    expect(x.run(...call32(FREE, 0))).toEqual([vector, code]);
    expect(m.sp).toBe(AT.stack3);
  });
  test('jmp through a gate to inner code -> #GP(code selector)', () => {
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    atLevel(m, 3);
    expect(x.run(...jmp32(FREE, 0))).toEqual([GP, SEL.code0]);
  });
  test.each([
    ['null', 0, TS, 0],
    ['read-only', SEL.data0ro, TS, SEL.data0ro],
    ['of another level', SEL.data1, TS, SEL.data1 & ~3],
  ])('call gate: inner stack segment %s -> #TS', (_, ss0, vector, code) => {
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    m.put32(AT.tss + 4, AT.stack0, ss0);
    atLevel(m, 3);
    expect(x.run(...call32(FREE, 0))).toEqual([vector, code]);
  });
  test('call gate to conforming code of DPL 0 -> entered at CPL 3, stack kept', () => {
    gateEntry(FREE, SEL.conforming, 0x9000, 0xec);
    atLevel(m, 3);
    expect(x.run(...call32(FREE, 0))).toBe('run');
    expect([m.state.cpl, m.state.segment(Seg.CS).selector, m.sp]).toEqual([
      3,
      SEL.conforming | 3,
      AT.stack3 - 8,
    ]);
  });
  test('jmp through a gate to absent code -> #NP; accessed bits of code are set', () => {
    gateEntry(FREE, SEL.absent, 0x9000, 0xec);
    expect(x.run(...jmp32(FREE, 0))).toEqual([NP, SEL.absent]);
    entry(FREE2, 0, 0xf_ffff, 0x98, 0xc);
    expect(x.run(...jmp32(FREE2, 0x9000))).toBe('run');
    expect(m.bytes[AT.gdt + FREE2 + 5]).toBe(0x99);
  });
  test('retf to an outer level with an absent stack segment -> #SS(selector)', () => {
    entry(FREE, 0, 0xf_ffff, 0x72, 0xc);
    m.sp = AT.stack0 - 16;
    m.put32(AT.stack0 - 16, 0x4000, SEL.code3);
    m.put32(AT.stack0 - 8, AT.stack3, FREE | 3);
    expect(x.run(0xcb)).toEqual([SS, FREE]);
  });
  test('call gate: TSS too short for the stack -> #TS(TR)', () => {
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    m.state.segment(Seg.TR).limit = 8;
    atLevel(m, 3);
    expect(x.run(...call32(FREE, 0))).toEqual([TS, SEL.tss]);
  });
  test('call gate: inner stack leaves its segment -> #SS(selector)', () => {
    entry(FREE2, 0, 0xfff, 0x92, 4);
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    m.put32(AT.tss + 4, 0x2000, FREE2);
    atLevel(m, 3);
    expect(x.run(...call32(FREE, 0))).toEqual([SS, FREE2]);
  });
  test('retf to CPL 3 -> ss:esp, data segments of CPL 0 become null', () => {
    m.sp = AT.stack0 - 16;
    m.put32(AT.stack0 - 16, 0x4000, SEL.code3);
    m.put32(AT.stack0 - 8, AT.stack3, SEL.data3);
    m.segment(Seg.FS, SEL.data3, 0xcf3, 0, -1);
    expect(x.run(0xcb)).toBe('run');
    expect(m.state.cpl).toBe(3);
    expect(m.sp).toBe(AT.stack3);
    expect(m.state.segment(Seg.DS).selector).toBe(0);
    expect(m.state.segment(Seg.FS).selector).toBe(SEL.data3);
  });
  test('CPL 3: retf to CPL 0 -> #GP(selector)', () => {
    atLevel(m, 3);
    m.put32(AT.stack3, 0x4000, SEL.code0);
    expect(x.run(0xcb)).toEqual([GP, SEL.code0]);
  });
});

describe('far transfers elsewhere', () => {
  test('real mode: call and retf with 16-bit pushes', () => {
    use(realMachine());
    expect(x.run(0x9a, 0x10, 0, 0, 9)).toBe('run');
    expect(m.state.pcLo).toBe(0x9010);
    expect(m.u32(AT.stack0 - 4)).toBe((0x800 << 16) | 5);
    expect(x.run(0xcb)).toBe('run');
    expect(m.state.pcLo).toBe(AT.code + 5);
  });
  test('real mode: 32-bit offset above the limit -> #GP(0)', () => {
    use(realMachine());
    expect(x.run(0x66, 0xea, 0, 0, 1, 0, 0, 9)).toEqual([GP, 0]);
  });
  test('64-bit mode: jmp m16:32 to a 32-bit segment -> compatibility mode', () => {
    use(longMachine());
    m.put32(0x5000, 0x4000, SEL.code32);
    expect(x.run(0xff, 0x2c, 0x25, 0, 0x50, 0, 0)).toBe('run');
    expect(m.state.mode).toBe('compatibility');
    expect(m.state.pcLo).toBe(0x4000);
  });
  test('64-bit mode: REX.W far jmp is m16:64 on Intel, m16:32 on AMD', () => {
    for (const vendor of ['AMD', 'Intel'] as const) {
      use(longMachine({ vendor }));
      m.put32(0x5000, 0x4000, vendor === 'AMD' ? SEL.code0 : 0x8000_0000);
      m.put32(0x5008, SEL.code0);
      const r = x.run(0x48, 0xff, 0x2c, 0x25, 0, 0x50, 0, 0);
      expect(r).toEqual(vendor === 'AMD' ? 'run' : [GP, 0]);
    }
  });
  test('64-bit call gate to CPL 0 -> null ss, RSP0, four 8-byte pushes', () => {
    use(longMachine());
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    m.put32(AT.gdt + FREE + 8, 0, 0);
    atLevel(m, 3);
    m.put32(0x5000, 0, FREE);
    expect(x.run(0xff, 0x1c, 0x25, 0, 0x50, 0, 0)).toBe('run');
    expect(m.state.cpl).toBe(0);
    expect(m.state.segment(Seg.SS).selector).toBe(0);
    expect(m.sp).toBe(AT.stack0 - 32);
    const frame = [1, 2, 3, 4].map((n) => Number(m.u64(AT.stack0 - 8 * n)));
    expect(frame).toEqual([SEL.data3, AT.stack3, SEL.code3, AT.code + 7]);
    // REX.W retf goes back to CPL 3
    expect(x.run(0x48, 0xcb)).toBe('run');
    expect([m.state.cpl, m.sp]).toEqual([3, AT.stack3]);
  });
  test('64-bit call gate whose upper half has a type -> #GP(gate)', () => {
    use(longMachine());
    gateEntry(FREE, SEL.code0, 0x9000, 0xec);
    m.put32(AT.gdt + FREE + 8, 0, 0x1f00);
    m.put32(0x5000, 0, FREE);
    expect(x.run(0xff, 0x1c, 0x25, 0, 0x50, 0, 0)).toEqual([GP, FREE]);
  });
  test('long mode: jmp to a TSS -> #GP(selector)', () => {
    use(longMachine());
    entry(FREE, 0x3400, 0x67, 0x89, 0);
    m.put32(0x5000, 0, FREE);
    expect(x.run(0xff, 0x2c, 0x25, 0, 0x50, 0, 0)).toEqual([GP, FREE]);
  });
});

describe('task switch', () => {
  const NEW = 0x3400;
  /** A 32-bit TSS at NEW whose task runs at 9000h. */
  function task(change: Readonly<Record<number, number>> = {}, access = 0x89): void {
    entry(FREE, NEW, 0x67, access, 0);
    entry(SEL.tss, AT.tss, 0x67, 0x8b, 0);
    m.bytes.fill(0, NEW, NEW + 0x68);
    m.put32(NEW + 0x20, 0x9000, FL.One | FL.CF);
    for (let n = 0; n < 8; n++) m.put32(NEW + 0x28 + 4 * n, 0x100 + n);
    m.put32(NEW + 0x38, AT.stack0 - 0x100);
    const data = SEL.data0;
    for (const [n, v] of [data, SEL.code0, data, data, 0, 0].entries()) m.put32(NEW + 0x48 + 4 * n, v);
    for (const [at, v] of Object.entries(change)) m.put32(NEW + Number(at), v);
  }
  const busy = (selector: number): boolean => ((m.bytes[AT.gdt + selector + 5] as number) & 2) !== 0;
  beforeEach(() => use(protectedMachine()));

  test('jmp -> old state saved, new one loaded, busy bits moved, TS set', () => {
    task();
    m.state.set(R.RBX, 0x77, 0);
    expect(x.run(...jmp32(FREE, 0))).toBe('run');
    expect([m.state.pcLo, m.state.lo(R.RAX), m.state.lo(R.RDI), m.sp]).toEqual([
      0x9000,
      0x100,
      0x107,
      AT.stack0 - 0x100,
    ]);
    expect([busy(SEL.tss), busy(FREE)]).toEqual([false, true]);
    expect(m.state.segment(Seg.TR)).toMatchObject({ selector: FREE, baseLo: NEW });
    expect(m.state.segment(Seg.TR).attr & 15).toBe(11);
    expect(m.state.cr0 & CR0.TS).toBe(CR0.TS);
    expect([m.u32(AT.tss + 0x20), m.u32(AT.tss + 0x34), m.u16(AT.tss + 0x4c)]).toEqual([
      AT.code + 7,
      0x77,
      SEL.code0,
    ]);
    expect(m.state.flags & (FL.NT | FL.CF)).toBe(FL.CF);
  });
  test('call -> back link and NT, the caller stays busy', () => {
    task();
    expect(x.run(...call32(FREE, 0))).toBe('run');
    expect([busy(SEL.tss), busy(FREE)]).toEqual([true, true]);
    expect(m.u16(NEW)).toBe(SEL.tss);
    expect(m.state.flag(FL.NT)).toBe(true);
  });
  test('task gate -> its TSS', () => {
    task();
    gateEntry(FREE2, FREE, 0, 0x85);
    expect(x.run(...jmp32(FREE2, 0))).toBe('run');
    expect(m.state.pcLo).toBe(0x9000);
  });
  test.each([
    ['busy', 0x8b, {}, GP, FREE],
    ['absent', 0x09, {}, NP, FREE],
  ])('jmp to a TSS that is %s -> exception in the old task', (_, access, change, vector, code) => {
    task(change, access);
    expect(x.run(...jmp32(FREE, 0))).toEqual([vector, code]);
    expect(m.state.pcLo).toBe(AT.code);
    expect(busy(SEL.tss)).toBe(true);
  });
  test('TSS too small -> #TS', () => {
    task();
    entry(FREE, NEW, 0x66, 0x89, 0);
    expect(x.run(...jmp32(FREE, 0))).toEqual([TS, FREE]);
  });
  test.each([
    ['cs null', { 76: 0 }, TS, 0],
    ['cs data', { 76: SEL.data0 }, TS, SEL.data0],
    ['cs absent', { 76: SEL.absent }, NP, SEL.absent],
    ['ss null', { 80: 0 }, TS, 0],
    ['ss of another level', { 80: SEL.data3 }, TS, SEL.data3 & ~3],
    ['ds execute-only', { 84: FREE2 }, TS, FREE2],
    ['ldt that is none', { 96: SEL.data0 }, TS, SEL.data0],
  ])('new task with %s -> exception in the new task', (_, change, vector, code) => {
    task(change);
    entry(FREE2, 0, 0xffff, 0x99, 4);
    expect(x.run(...jmp32(FREE, 0))).toEqual([vector, code]);
    expect(m.state.pcLo).toBe(0x9000);
    expect(m.state.segment(Seg.TR).selector).toBe(FREE);
  });
  test('debug trap bit -> #DB before the first instruction', () => {
    task({ 100: 1 });
    expect(x.run(...jmp32(FREE, 0))).toEqual([1, undefined]);
    expect(m.state.pcLo).toBe(0x9000);
  });
  test('task of virtual-8086 mode -> real segments at CPL 3', () => {
    task({ 36: FL.One | FL.VM, 76: 0x900, 32: 0x10 });
    expect(x.run(...jmp32(FREE, 0))).toBe('run');
    expect(m.state.mode).toBe('virtual-8086');
    expect([m.state.pcLo, m.state.cpl]).toEqual([0x9010, 3]);
  });
  test('task with an ldt -> segments from it', () => {
    task({ 96: FREE2, 84: 0x04 });
    entry(FREE2, AT.ldt, 0x7, 0x82, 0);
    m.put32(AT.ldt, 0x0000_ffff, 0x00cf_9300);
    expect(x.run(...jmp32(FREE, 0))).toBe('run');
    expect(m.state.segment(Seg.LDTR)).toMatchObject({ selector: FREE2, baseLo: AT.ldt });
    expect(m.state.segment(Seg.DS).selector).toBe(4);
  });
  test('the new task reads a page that stage 2 lacks -> nothing changed; later the whole switch', () => {
    task({ 96: FREE2, 84: 0x04 });
    entry(FREE2, 0xc000, 0x7, 0x82, 0);
    m.put32(0xc000, 0x0000_ffff, 0x00cf_9300);
    m.missing.add(0xc);
    const bytes = m.bytes.slice();
    const before = [m.state.pcLo, m.state.flags, m.sp, m.state.cr0];
    expect(x.run(...jmp32(FREE, 0))).toBe('memory');
    m.put(AT.code, ...bytes.slice(AT.code, AT.code + 7));
    expect([m.state.pcLo, m.state.flags, m.sp, m.state.cr0]).toEqual(before);
    expect(busy(FREE)).toBe(false);
    expect(m.state.segment(Seg.TR).selector).toBe(SEL.tss);
    m.missing.clear();
    expect(x.run(...jmp32(FREE, 0))).toBe('run');
    expect(busy(FREE)).toBe(true);
  });
  test('16-bit TSS -> 16-bit registers', () => {
    entry(SEL.tss, AT.tss, 0x67, 0x8b, 0);
    entry(FREE, NEW, 0x2b, 0x81, 0);
    m.bytes.fill(0, NEW, NEW + 0x2c);
    const words = [0x9000, 2, 0xa0, 0xa1, 0xa2, 0xa3, 0x6ff0, 0xa5, 0xa6, 0xa7, 0x10, 0x08, 0x10, 0x10];
    for (const [n, v] of words.entries()) m.ram.setUint16(NEW + 0x0e + 2 * n, v, true);
    expect(x.run(...jmp32(FREE, 0))).toBe('run');
    expect([m.state.pcLo, m.state.lo(R.RAX), m.sp]).toEqual([0x9000, 0xa0, 0x6ff0]);
    expect(m.state.segment(Seg.TR).attr & 15).toBe(3);
  });
});
