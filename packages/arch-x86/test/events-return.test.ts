/** IRET and software interrupts on a machine with flat memory (AMD64 APM volume 3, IRET and INT; volume 2, 8.7 to 8.11). */
import { Mnemonic } from 'iced-x86';
import { describe, expect, it } from 'vitest';
import { RETURN_OPERATIONS } from '../src/events/return.ts';
import { SOFTWARE_OPERATIONS } from '../src/events/software.ts';
import { Vector } from '../src/events/vectors.ts';
import { FL } from '../src/isa/flags.ts';
import { R, Seg } from '../src/isa/layout.ts';
import type { Machine } from '../src/machine.ts';
import { Next, type NextStep } from '../src/next.ts';
import { Attr, CR4, SR } from '../src/state.ts';
import type { Operation } from '../src/system/operation.ts';
import {
  AT,
  atLevel,
  type FakeMachine,
  GATE,
  gate,
  gates,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
} from './support/fake-machine.ts';

/** Executes the bytes at pc. */
function run(m: FakeMachine, ...bytes: readonly number[]): NextStep {
  m.put(m.state.pcLo, ...bytes);
  const i = m.instruction();
  const f = RETURN_OPERATIONS.get(i.mnemonic) ?? (SOFTWARE_OPERATIONS.get(i.mnemonic) as Operation);
  expect(f, Mnemonic[i.mnemonic]).toBeDefined();
  return f(m as unknown as Machine, i);
}
const IRET = 0xcf;
const vectorAt = (m: FakeMachine): number => (m.state.ipLo - AT.handler) / 16;
/** Puts doublewords (or words, quadwords) on top of the stack. */
function push(m: FakeMachine, size: 2 | 4 | 8, ...values: readonly number[]): void {
  m.sp -= size * values.length;
  values.forEach((v, i) => {
    const at = m.state.segment(Seg.SS).baseLo + m.sp + size * i;
    if (size === 2) m.ram.setUint16(at, v & 0xffff, true);
    else m.put32(at, v, size === 8 ? Math.floor(v / 2 ** 32) : undefined);
  });
}
/** The exception that was taken and its error code. */
const taken = (m: FakeMachine): readonly [vector: number, code: number] => [vectorAt(m), m.u32(m.sp)];

describe('IRET in real mode', () => {
  it('16 bits -> IP, CS, low FLAGS with IOPL and NT; NMIs open', () => {
    const m = realMachine();
    m.state.other |= FL.AC;
    m.events.nmi.masked = true;
    push(m, 2, 0x44, 0x900, FL.IF | FL.IOPL | FL.NT | FL.CF | 2);
    expect(run(m, IRET)).toBe(Next.Run);
    expect([m.state.ipLo, m.state.segment(Seg.CS).selector, m.state.pcLo]).toEqual([0x44, 0x900, 0x9044]);
    expect(m.state.flags).toBe(FL.IF | FL.IOPL | FL.NT | FL.CF | FL.One | FL.AC);
    expect(m.sp).toBe(AT.stack0);
    expect(m.events.nmi.masked).toBe(false);
  });
  it('32 bits -> RF, AC and ID too, VM and VIF never', () => {
    const m = realMachine();
    push(m, 4, 0x44, 0x900, FL.RF | FL.AC | FL.ID | FL.VM | FL.VIF);
    run(m, 0x66, IRET);
    expect(m.state.flags).toBe(FL.RF | FL.AC | FL.ID | FL.One);
  });
  it('EIP above the limit -> #GP at the instruction, stack pointer as before, NMIs open', () => {
    const m = realMachine();
    m.put32(Vector.GP * 4, 0x0900_0000);
    m.events.nmi.masked = true;
    push(m, 4, 0x1_0000, 0x900, 2);
    const sp = m.sp;
    run(m, 0x66, IRET);
    expect(m.state.segment(Seg.CS).selector).toBe(0x900);
    expect(m.sp).toBe(sp - 6);
    expect(m.events.nmi.masked).toBe(false);
  });
});

describe('IRET in protected mode', () => {
  it('same level -> no stack is popped; IOPL and IF load at CPL 0', () => {
    const m = protectedMachine();
    push(m, 4, 0x1234, SEL.code0, FL.IF | FL.IOPL | FL.RF | FL.VIF);
    run(m, IRET);
    expect([m.state.ipLo, m.sp, m.state.cpl]).toEqual([0x1234, AT.stack0, 0]);
    expect(m.state.flags).toBe(FL.IF | FL.IOPL | FL.RF | FL.VIF | FL.One);
  });
  it('to CPL 3 -> SS:ESP popped, data segments of CPL 0 become null', () => {
    const m = protectedMachine();
    push(m, 4, 0x1234, SEL.code3, FL.IF, AT.stack3, SEL.data3);
    m.state.segment(Seg.GS).baseLo = 0x5000;
    run(m, IRET);
    expect([m.state.ipLo, m.sp, m.state.cpl]).toEqual([0x1234, AT.stack3, 3]);
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data3);
    expect(m.state.segment(Seg.DS).selector).toBe(0);
    expect(m.state.segment(Seg.DS).attr & Attr.Unusable).not.toBe(0);
    // what 64-bit code goes by is left alone
    expect(m.state.segment(Seg.GS)).toMatchObject({ selector: 0, baseLo: 0x5000 });
  });
  it('at CPL 3, IOPL 0 -> IF and IOPL stay', () => {
    const m = protectedMachine();
    atLevel(m, 3);
    push(m, 4, 0x1234, SEL.code3, FL.IF | FL.IOPL | FL.CF);
    run(m, IRET);
    expect(m.state.flags).toBe(FL.CF | FL.One);
  });
  it('16 bits -> upper flags stay', () => {
    const m = protectedMachine();
    m.state.other |= FL.AC | FL.ID;
    push(m, 2, 0x1234, SEL.code0, FL.CF);
    run(m, 0x66, IRET);
    expect(m.state.flags).toBe(FL.AC | FL.ID | FL.CF | FL.One);
    expect(m.state.ipLo).toBe(0x1234);
  });
  it.each([
    ['null CS', [0x1000, 0, 2], 13, 0],
    ['CS beyond the GDT', [0x1000, 0x98, 2], 13, 0x98],
    ['CS a data segment', [0x1000, SEL.data0, 2], 13, SEL.data0],
    ['nonconforming CS of DPL 0, RPL 3', [0x1000, SEL.code0 | 3, 2, AT.stack3, SEL.data3], 13, SEL.code0],
    ['CS not present', [0x1000, SEL.absent, 2], 11, SEL.absent],
    ['null SS', [0x1000, SEL.code3, 2, AT.stack3, 0], 13, 0],
    ['SS of another level', [0x1000, SEL.code3, 2, AT.stack3, SEL.data0], 13, SEL.data0],
    ['SS code', [0x1000, SEL.code3, 2, AT.stack3, SEL.code3], 13, SEL.code3 & ~3],
  ] as const)('%s -> fault at the instruction, nothing popped', (_, frame, vector, code) => {
    const m = protectedMachine();
    gates(m);
    push(m, 4, ...frame);
    const sp = m.sp;
    run(m, IRET);
    expect(taken(m)).toEqual([vector, code]);
    expect([m.u32(m.sp + 4), m.sp]).toEqual([AT.code, sp - 16]);
  });
  it('from CPL 3 to CPL 0 -> #GP(selector)', () => {
    const m = protectedMachine();
    gates(m);
    atLevel(m, 3);
    push(m, 4, 0x1000, SEL.code0, 2);
    run(m, IRET);
    expect(taken(m)).toEqual([13, SEL.code0]);
  });
  it('EFLAGS.VM of the frame at CPL 0 -> virtual-8086 mode with all segments', () => {
    const m = protectedMachine();
    push(m, 4, 0x55, 0x901, FL.VM | FL.IF | FL.IOPL, 0x80, 0x600, 0x500, 0x501, 0x502, 0x503);
    run(m, IRET);
    const s = m.state;
    expect([s.mode, s.cpl, s.ipLo, s.pcLo, m.sp]).toEqual(['virtual-8086', 3, 0x55, 0x9065, 0x80]);
    expect([Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS].map((n) => s.segment(n as 0).selector)).toEqual([
      0x500, 0x901, 0x600, 0x501, 0x502, 0x503,
    ]);
    expect(s.segment(Seg.FS)).toMatchObject({ baseLo: 0x5020, limit: 0xffff });
    expect((s.segment(Seg.FS).attr >>> Attr.DplShift) & 3).toBe(3);
  });
  it('VM of the frame at CPL 3 -> ignored', () => {
    const m = protectedMachine();
    atLevel(m, 3);
    push(m, 4, 0x1234, SEL.code3, FL.VM);
    run(m, IRET);
    expect(m.state.mode).toBe('protected');
  });
  it('stack page missing in stage 2 -> nothing happens, again later; NMIs stay blocked', () => {
    const m = protectedMachine();
    m.events.nmi.masked = true;
    push(m, 4, 0x1234, SEL.code0, 2);
    m.missing.add(m.sp >>> 12);
    expect(run(m, IRET)).toBe(Next.Handle);
    expect([m.state.ipLo, m.events.nmi.masked]).toEqual([AT.code, true]);
    m.missing.clear();
    expect(run(m, IRET)).toBe(Next.Run);
    expect([m.state.ipLo, m.events.nmi.masked]).toEqual([0x1234, false]);
  });
});

describe('IRETQ', () => {
  const IRETQ = [0x48, IRET] as const;
  it('same level -> SS and RSP are popped all the same', () => {
    const m = longMachine();
    push(m, 8, 0x1234, SEL.code0, FL.IF, 0x5000, SEL.data0);
    run(m, ...IRETQ);
    expect([m.state.ipLo, m.sp]).toEqual([0x1234, 0x5000]);
  });
  it('null SS to 64-bit CPL 0 -> allowed', () => {
    const m = longMachine();
    push(m, 8, 0x1234, SEL.code0, FL.IF, 0x5000, 0);
    run(m, ...IRETQ);
    expect(m.state.ipLo).toBe(0x1234);
    expect(m.state.segment(Seg.SS).selector).toBe(0);
  });
  it('null SS to CPL 3 -> #GP(0)', () => {
    const m = longMachine();
    gates(m);
    push(m, 8, 0x1234, SEL.code3, FL.IF, 0x5000, 0);
    run(m, ...IRETQ);
    expect(taken(m)).toEqual([13, 0]);
  });
  it('to compatibility mode -> ESP of 32 bits, 32-bit code', () => {
    const m = longMachine();
    push(m, 8, 0x1234, SEL.code32, FL.IF, 0x12_0000_5000, SEL.data0);
    run(m, ...IRETQ);
    expect([m.state.mode, m.state.code, m.state.lo(R.RSP), m.state.hi(R.RSP)]).toEqual([
      'compatibility',
      4,
      0x5000,
      0,
    ]);
  });
  it('non-canonical RIP -> #GP(0)', () => {
    const m = longMachine();
    gates(m);
    push(m, 8, 0x8000_0000_0000, SEL.code0, FL.IF, 0x5000, SEL.data0);
    run(m, ...IRETQ);
    expect(taken(m)).toEqual([13, 0]);
  });
  it('NT = 1 -> #GP(0): no tasks in long mode', () => {
    const m = longMachine();
    gates(m);
    m.state.other |= FL.NT;
    push(m, 8, 0x1234, SEL.code0, FL.IF, 0x5000, SEL.data0);
    run(m, ...IRETQ);
    expect(taken(m)).toEqual([13, 0]);
  });
  it('an exception and its IRETQ -> everything as before', () => {
    const m = longMachine();
    gates(m);
    atLevel(m, 3);
    m.state.flags = FL.One | FL.IF | FL.ZF;
    m.raise(Vector.UD);
    run(m, ...IRETQ);
    expect([m.state.cpl, m.state.ipLo, m.sp]).toEqual([3, AT.code, AT.stack3]);
    expect(m.state.flags).toBe(FL.One | FL.IF | FL.ZF | FL.RF);
  });
});

describe('software interrupts', () => {
  it('INT3, INTO with OF -> #BP, #OF behind the instruction', () => {
    const m = protectedMachine();
    gates(m);
    run(m, 0xcc);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([Vector.BP, AT.code + 1]);
    const o = protectedMachine();
    gates(o);
    o.state.flags = FL.One | FL.OF;
    run(o, 0xce);
    expect([vectorAt(o), o.u32(o.sp)]).toEqual([Vector.OF, AT.code + 1]);
  });
  it('INTO without OF -> next instruction', () => {
    const m = protectedMachine();
    run(m, 0xce);
    expect(m.state.ipLo).toBe(AT.code + 1);
  });
  it('INT 80h, intercepted -> the plugin, nothing else', () => {
    const m = protectedMachine();
    m.intercepts = (what) => (what === 'int-n' ? Next.Yield : undefined);
    expect(run(m, 0xcd, 0x80)).toBe(Next.Yield);
    expect(m.state.ipLo).toBe(AT.code);
  });

  const virtual = (flags: number): FakeMachine => {
    const m = protectedMachine();
    gates(m);
    gate(m, 0x21, { dpl: 3, type: GATE.int });
    m.state.flags = FL.One | FL.VM | flags;
    for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const)
      m.segment(n, 0x500, 0xf3, 0x5000, 0xffff);
    m.segment(Seg.CS, 0x800, 0xf3, 0x8000, 0xffff);
    m.state.cpl = 3;
    m.sp = 0x100;
    m.state.setIp(0x42, 0);
    return m;
  };
  it('INT n in virtual-8086 mode with IOPL 0 -> #GP(0)', () => {
    const m = virtual(0);
    run(m, 0xcd, 0x21);
    expect(taken(m)).toEqual([Vector.GP, 0]);
  });
  it('INT n in virtual-8086 mode with IOPL 3 -> the IDT', () => {
    const m = virtual(FL.IOPL);
    run(m, 0xcd, 0x21);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([0x21, 0x44]);
  });
  it('INT3 in virtual-8086 mode with IOPL 0 -> the IDT, after its DPL', () => {
    const m = virtual(0);
    gate(m, Vector.BP, { dpl: 3 });
    run(m, 0xcc);
    expect(vectorAt(m)).toBe(Vector.BP);
  });
  it('CR4.VME, redirection bit 0 -> the IVT, VIF where IF is', () => {
    const m = virtual(FL.VIF);
    m.state.setSys(SR.CR4, CR4.VME, 0);
    m.segment(Seg.TR, SEL.tss, 0x8b, AT.tss, 0xff);
    m.ram.setUint16(AT.tss + 0x66, 0xa0, true);
    m.put32(0x21 * 4, 0x0900_0010);
    run(m, 0xcd, 0x21);
    const s = m.state;
    expect([s.mode, s.segment(Seg.CS).selector, s.ipLo, m.sp]).toEqual(['virtual-8086', 0x900, 0x10, 0xfa]);
    expect([0, 2, 4].map((i) => m.u16(0x5000 + m.sp + i))).toEqual([0x44, 0x800, FL.One | FL.IF | FL.IOPL]);
    expect(s.flag(FL.VIF)).toBe(false);
  });
  it('CR4.VME, redirection bit 1 -> #GP(0) with IOPL 0', () => {
    const m = virtual(0);
    m.state.setSys(SR.CR4, CR4.VME, 0);
    m.segment(Seg.TR, SEL.tss, 0x8b, AT.tss, 0xff);
    m.ram.setUint16(AT.tss + 0x66, 0xa0, true);
    m.put(AT.tss + 0x80 + 4, 1 << 1);
    run(m, 0xcd, 0x21);
    expect(taken(m)).toEqual([Vector.GP, 0]);
  });
  it('IRET in virtual-8086 mode -> #GP(0) with IOPL 0, FLAGS without IOPL with IOPL 3', () => {
    const m = virtual(0);
    run(m, IRET);
    expect(taken(m)).toEqual([Vector.GP, 0]);
    const o = virtual(FL.IOPL);
    push(o, 2, 0x77, 0x900, FL.IF | FL.CF);
    run(o, IRET);
    expect([o.state.ipLo, o.state.segment(Seg.CS).selector]).toEqual([0x77, 0x900]);
    expect(o.state.flags).toBe(FL.One | FL.VM | FL.IOPL | FL.IF | FL.CF);
  });
  it('CR4.VME, IRET with IOPL 0 -> VIF from the frame, #GP for TF or a pending VIP', () => {
    const vme = (flags: number): FakeMachine => {
      const m = virtual(flags);
      m.state.setSys(SR.CR4, CR4.VME, 0);
      return m;
    };
    const m = vme(0);
    push(m, 2, 0x77, 0x900, FL.IF | FL.IOPL);
    run(m, IRET);
    expect(m.state.flags).toBe(FL.One | FL.VM | FL.VIF);
    const t = vme(0);
    push(t, 2, 0x77, 0x900, FL.TF);
    run(t, IRET);
    expect(taken(t)).toEqual([Vector.GP, 0]);
    const p = vme(FL.VIP);
    push(p, 2, 0x77, 0x900, FL.IF);
    run(p, IRET);
    expect(taken(p)).toEqual([Vector.GP, 0]);
  });
});
