/** Delivery of exceptions and interrupts on a machine with flat memory (AMD64 APM volume 2, chapter 8). */
import { describe, expect, it } from 'vitest';
import { Vector } from '../src/events/vectors.ts';
import { FL } from '../src/isa/flags.ts';
import { R, Seg } from '../src/isa/layout.ts';
import { Next } from '../src/next.ts';
import { Attr, SR } from '../src/state.ts';
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

/** The doublewords on the stack, from the top. */
const stack32 = (m: FakeMachine, n: number): number[] =>
  Array.from({ length: n }, (_, i) => m.u32(m.sp + 4 * i));
const stack64 = (m: FakeMachine, n: number): number[] =>
  Array.from({ length: n }, (_, i) => Number(m.u64(m.sp + 8 * i)));
/** Which handler of {@link gates} the machine stands at. */
const vectorAt = (m: FakeMachine): number => (m.state.ipLo - AT.handler) / 16;

describe('real mode (APM volume 2, 8.6)', () => {
  it('INT 21h -> handler: FLAGS, CS, IP of the next instruction; IF, TF and AC clear', () => {
    const m = realMachine();
    m.put32(0x21 * 4, 0x1234_0010);
    m.state.flags = FL.One | FL.IF | FL.CF | FL.AC;
    expect(m.events.softwareInterrupt(0x21, 'software', 2)).toBe(Next.Run);
    expect(m.sp).toBe(AT.stack0 - 6);
    expect([m.u16(m.sp), m.u16(m.sp + 2), m.u16(m.sp + 4)]).toEqual([2, 0x800, 0x203]);
    expect(m.state.segment(Seg.CS)).toMatchObject({ selector: 0x1234, baseLo: 0x12340, limit: 0xffff });
    expect(m.state.ipLo).toBe(0x10);
    expect(m.state.flags & (FL.IF | FL.AC | FL.CF)).toBe(FL.CF);
  });
  it('#GP -> handler: no error code, return to the instruction', () => {
    const m = realMachine();
    m.put32(Vector.GP * 4, 0x0100_0000);
    m.state.setIp(0x55, 0);
    m.raise(Vector.GP, 0x18);
    expect(m.sp).toBe(AT.stack0 - 6);
    expect(m.u16(m.sp)).toBe(0x55);
  });
  it('an IDT limit below the vector -> #GP, then #DF, then shutdown: the CPU stops', () => {
    const m = realMachine();
    m.state.setSys(SR.IDTR_LIMIT, 0, 0);
    expect(m.events.softwareInterrupt(3, 'software', 1)).toBe(Next.Handle);
    expect(m.events.tripleFault).toBe('cpu');
    expect(m.events.exit()).toEqual({ kind: 'shutdown', vcpu: 0, ret: 0, why: 'triple fault' });
    expect(m.asked.resets).toBe(1);
  });
  it('SP = 2 and 16-bit stack -> pushes wrap at 64 KiB', () => {
    const m = realMachine();
    m.sp = 2;
    m.events.softwareInterrupt(0, 'software', 2);
    expect(m.sp).toBe(0xfffc);
    expect(m.u16(0xfffc)).toBe(2);
  });
});

describe('protected mode (APM volume 2, 8.7)', () => {
  it.each([
    ['interrupt gate', GATE.int, 0],
    ['trap gate', GATE.trap, FL.IF],
  ] as const)('%s at the same level -> EFLAGS, CS, EIP; IF as the gate says', (_, type, left) => {
    const m = protectedMachine();
    gate(m, 0x30, { type });
    m.state.flags = FL.One | FL.IF | FL.TF | FL.NT;
    m.events.queueInterrupt(0x30);
    expect(m.events.inject()).toBe(Next.Run);
    expect(stack32(m, 3)).toEqual([AT.code, SEL.code0, FL.One | FL.IF | FL.TF | FL.NT]);
    expect(m.sp).toBe(AT.stack0 - 12);
    expect(vectorAt(m)).toBe(0x30);
    expect(m.state.flags & (FL.IF | FL.TF | FL.NT)).toBe(left);
  });
  it('#GP through a 32-bit gate -> error code on top, RF = 1 in the image, RF = 0 after', () => {
    const m = protectedMachine();
    gates(m);
    m.raise(Vector.GP, 0x18);
    expect(stack32(m, 4)).toEqual([0x18, AT.code, SEL.code0, FL.One | FL.RF]);
    expect(m.state.flag(FL.RF)).toBe(false);
  });
  it('16-bit gate -> words are pushed, IP is 16 bits', () => {
    const m = protectedMachine();
    gate(m, Vector.GP, { type: GATE.int16, offset: 0xdead_9100 });
    m.raise(Vector.GP, 0x1234);
    expect(m.sp).toBe(AT.stack0 - 8);
    expect([0, 2, 4, 6].map((i) => m.u16(m.sp + i))).toEqual([0x1234, AT.code, SEL.code0, FL.One]);
    expect(m.state.ipLo).toBe(0x9100);
  });
  it('from CPL 3 -> stack of the TSS, SS and ESP below, CPL 0', () => {
    const m = protectedMachine();
    gates(m);
    atLevel(m, 3);
    m.raise(Vector.PF, 5);
    expect(m.state.cpl).toBe(0);
    expect(m.sp).toBe(AT.stack0 - 24);
    expect(stack32(m, 6)).toEqual([5, AT.code, SEL.code3, FL.One | FL.RF, AT.stack3, SEL.data3]);
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data0);
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.code0);
  });
  it('from CPL 3 to CPL 1 -> SS1:ESP1, RPL of CS is 1', () => {
    const m = protectedMachine();
    gate(m, 0x40, { selector: SEL.code1, dpl: 3 });
    atLevel(m, 3);
    m.events.softwareInterrupt(0x40, 'software', 2);
    expect(m.state.cpl).toBe(1);
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.code1);
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data1);
    expect(m.sp).toBe(AT.stack0 - 0x800 - 20);
    expect(m.u32(m.sp)).toBe(AT.code + 2);
  });
  it('16-bit TSS -> SP and SS are words', () => {
    const m = protectedMachine();
    gates(m);
    m.segment(Seg.TR, SEL.tss, 0x83, AT.tss, 0x2b);
    m.ram.setUint16(AT.tss + 2, 0x6800, true);
    m.ram.setUint16(AT.tss + 4, SEL.data0, true);
    atLevel(m, 3);
    m.raise(Vector.UD);
    expect(m.sp).toBe(0x6800 - 20);
  });
  it('conforming code from CPL 3 -> CPL stays, same stack', () => {
    const m = protectedMachine();
    gate(m, 0x40, { selector: SEL.conforming, dpl: 3 });
    atLevel(m, 3);
    m.events.softwareInterrupt(0x40, 'software', 2);
    expect(m.state.cpl).toBe(3);
    expect(m.state.segment(Seg.CS).selector).toBe(SEL.conforming | 3);
    expect(m.sp).toBe(AT.stack3 - 12);
  });
  it('code and stack descriptors not accessed -> accessed bits are set in the GDT', () => {
    const m = protectedMachine();
    gates(m);
    m.put(AT.gdt + SEL.code0 + 5, 0x9a);
    m.put(AT.gdt + SEL.data0 + 5, 0x92);
    atLevel(m, 3);
    m.raise(Vector.UD);
    expect([m.bytes[AT.gdt + SEL.code0 + 5], m.bytes[AT.gdt + SEL.data0 + 5]]).toEqual([0x9b, 0x93]);
  });
});

describe('virtual-8086 mode (APM volume 2, 8.10)', () => {
  const virtual = (): FakeMachine => {
    const m = protectedMachine();
    gates(m);
    m.state.flags = FL.One | FL.VM | FL.IOPL;
    for (const n of [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const)
      m.segment(n, 0x500 + n, 0xf3, (0x500 + n) << 4, 0xffff);
    m.state.cpl = 3;
    m.sp = 0x100;
    m.state.setIp(0x42, 0);
    return m;
  };
  it('#GP -> CPL 0 with GS FS DS ES SS ESP EFLAGS CS EIP on the stack; data segments null', () => {
    const m = virtual();
    m.raise(Vector.GP, 0);
    expect(stack32(m, 10)).toEqual([
      0,
      0x42,
      0x501,
      FL.One | FL.VM | FL.IOPL | FL.RF,
      0x100,
      0x502,
      0x500,
      0x503,
      0x504,
      0x505,
    ]);
    expect(m.state.cpl).toBe(0);
    expect(m.state.flag(FL.VM)).toBe(false);
    for (const n of [Seg.ES, Seg.DS, Seg.FS, Seg.GS] as const) {
      expect(m.state.segment(n).selector).toBe(0);
      expect(m.state.segment(n).attr & Attr.Unusable).not.toBe(0);
    }
  });
  it('a handler at CPL 1 -> #GP(selector), whose handler at CPL 0 is entered', () => {
    const m = virtual();
    gate(m, 0x40, { selector: SEL.code1, dpl: 3 });
    m.events.softwareInterrupt(0x40, 'software', 2);
    expect(vectorAt(m)).toBe(Vector.GP);
    expect(m.u32(m.sp)).toBe(SEL.code1 & ~3);
    expect(m.u32(m.sp + 4)).toBe(0x42);
  });
});

describe('faults of the delivery: error codes with IDT and EXT (Intel SDM volume 2, INT n)', () => {
  type Case = readonly [what: string, set: (m: FakeMachine) => void, vector: number, code: number];
  /** Vector 40h comes as an interrupt from outside: EXT = 1. */
  const cases: readonly Case[] = [
    ['beyond the IDT limit', (m) => m.state.setSys(SR.IDTR_LIMIT, 0x1ff, 0), 13, 0x40 * 8 + 3],
    ['a call gate', (m) => gate(m, 0x40, { type: 12 }), 13, 0x40 * 8 + 3],
    ['a data descriptor', (m) => gate(m, 0x40, { type: 0x12 }), 13, 0x40 * 8 + 3],
    ['a gate not present', (m) => gate(m, 0x40, { present: false }), 11, 0x40 * 8 + 3],
    ['a null code selector', (m) => gate(m, 0x40, { selector: 0 }), 13, 1],
    ['a code selector beyond the GDT', (m) => gate(m, 0x40, { selector: 0x98 }), 13, 0x99],
    ['a data segment as code', (m) => gate(m, 0x40, { selector: SEL.data0 }), 13, SEL.data0 | 1],
    ['code of an outer level', (m) => gate(m, 0x40, { selector: SEL.code3 }), 13, (SEL.code3 & ~3) | 1],
    ['code not present', (m) => gate(m, 0x40, { selector: SEL.absent }), 11, SEL.absent | 1],
  ];
  const outside = (m: FakeMachine): void => {
    m.events.queueInterrupt(0x40);
    m.events.inject();
  };
  it.each(cases)('protected mode, %s', (_, set, vector, code) => {
    const m = protectedMachine();
    gates(m);
    set(m);
    outside(m);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([vector, code]);
    expect(m.u32(m.sp + 4)).toBe(AT.code);
    expect(m.events.interrupt.injected).toBe(false);
  });
  it.each(cases.filter(([what]) => what !== 'beyond the IDT limit'))(
    'long mode, %s',
    (_, set, vector, code) => {
      const m = longMachine();
      gates(m);
      set(m);
      outside(m);
      expect([vectorAt(m), m.u32(m.sp)]).toEqual([vector, code]);
      expect(m.u32(m.sp + 8)).toBe(AT.code);
    },
  );
  it.each([
    ['32-bit code', (m: FakeMachine) => gate(m, 0x40, { selector: SEL.code32 }), 13, SEL.code32 | 1],
    ['a 16-bit gate', (m: FakeMachine) => gate(m, 0x40, { type: GATE.int16 }), 13, 0x40 * 8 + 3],
    ['a task gate', (m: FakeMachine) => gate(m, 0x40, { type: GATE.task }), 13, 0x40 * 8 + 3],
    ['a non-canonical handler', (m: FakeMachine) => gate(m, 0x40, { offsetHi: 0x8000 }), 13, 1],
    [
      'an IST entry beyond the TSS',
      (m: FakeMachine) => {
        gate(m, 0x40, { ist: 7 });
        m.state.segment(Seg.TR).limit = 0x5a;
      },
      10,
      SEL.tss | 1,
    ],
    [
      'a non-canonical IST entry',
      (m: FakeMachine) => {
        gate(m, 0x40, { ist: 1 });
        m.put32(AT.tss + 36, 0, 0x8000);
      },
      12,
      1,
    ],
    [
      'a type in the upper half',
      (m: FakeMachine) => m.put32(AT.idt + 0x40 * 16 + 12, 0x100),
      13,
      0x40 * 8 + 3,
    ],
  ] as const)('long mode, %s', (_, set, vector, code) => {
    const m = longMachine();
    gates(m);
    set(m);
    outside(m);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([vector, code]);
  });
  it('INT n to a gate of DPL 0 from CPL 3 -> #GP without EXT, at the instruction', () => {
    const m = protectedMachine();
    gates(m);
    atLevel(m, 3);
    m.events.softwareInterrupt(0x40, 'software', 2);
    expect([vectorAt(m), ...stack32(m, 2)]).toEqual([Vector.GP, 0x40 * 8 + 2, AT.code]);
  });
  it('INT1 through a gate of DPL 0 from CPL 3 -> delivered: no DPL check', () => {
    const m = protectedMachine();
    gates(m);
    atLevel(m, 3);
    m.events.softwareInterrupt(Vector.DB, 'int1', 1);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([Vector.DB, AT.code + 1]);
  });
  it.each([
    ['null SS0', (m: FakeMachine) => m.put32(AT.tss + 8, 0), 10, 1],
    ['SS0 of RPL 3', (m: FakeMachine) => m.put32(AT.tss + 8, SEL.data0 | 3), 10, SEL.data0 | 1],
    ['SS0 read-only', (m: FakeMachine) => m.put32(AT.tss + 8, SEL.data0ro), 10, SEL.data0ro | 1],
    ['SS0 code', (m: FakeMachine) => m.put32(AT.tss + 8, SEL.code0), 10, SEL.code0 | 1],
    ['SS0 not present', (m: FakeMachine) => m.put(AT.gdt + SEL.data0ro + 5, 0x13), 12, SEL.data0ro | 1],
    [
      'a TSS too short',
      (m: FakeMachine) => {
        m.state.segment(Seg.TR).limit = 10;
      },
      10,
      SEL.tss | 1,
    ],
  ] as const)(
    '%s -> #TS or #SS, whose own gate goes through a task-free level',
    (what, set, vector, code) => {
      const m = protectedMachine();
      gates(m);
      // the faults themselves stay at CPL 3: conforming code
      for (const v of [10, 12]) gate(m, v, { selector: SEL.conforming });
      atLevel(m, 3);
      if (what === 'SS0 not present') m.put32(AT.tss + 8, SEL.data0ro);
      set(m);
      m.events.queueInterrupt(0x40);
      m.events.inject();
      expect([vectorAt(m), m.u32(m.sp)]).toEqual([vector, code]);
      expect(m.state.cpl).toBe(3);
    },
  );
  it('EIP of the gate beyond the code limit -> #GP(EXT)', () => {
    const m = protectedMachine();
    gates(m);
    // code1 with a limit of 4 KiB, for this vector only
    m.put32(AT.gdt + 0x68, 0x0000_0fff, 0x0040_9b00);
    gate(m, 0x40, { selector: 0x68 });
    m.events.queueInterrupt(0x40);
    m.events.inject();
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([Vector.GP, 1]);
  });
});

describe('long mode (APM volume 2, 8.9)', () => {
  it('from CPL 0 -> SS, RSP, RFLAGS, CS, RIP on the same stack, aligned to 16 bytes', () => {
    const m = longMachine();
    gates(m);
    m.sp = AT.stack0 - 3;
    m.raise(Vector.GP, 0x10);
    expect(m.sp).toBe(((AT.stack0 - 3) & ~15) - 48);
    expect(stack64(m, 6)).toEqual([0x10, AT.code, SEL.code0, FL.One | FL.RF, AT.stack0 - 3, SEL.data0]);
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data0);
  });
  it('from CPL 3 -> RSP0; SS null with RPL 0', () => {
    const m = longMachine();
    gates(m);
    atLevel(m, 3);
    m.raise(Vector.UD);
    expect(m.state.cpl).toBe(0);
    expect(m.sp).toBe(AT.stack0 - 40);
    expect(stack64(m, 5)).toEqual([AT.code, SEL.code3, FL.One | FL.RF, AT.stack3, SEL.data3]);
    expect(m.state.segment(Seg.SS)).toMatchObject({ selector: 0 });
    expect(m.state.segment(Seg.SS).attr & Attr.Unusable).not.toBe(0);
  });
  it('IST -> its stack, whatever the CPL', () => {
    const m = longMachine();
    gates(m);
    gate(m, Vector.NMI, { ist: 3 });
    m.put32(AT.tss + 28 + 24, 0x6008, 0);
    m.events.queueNmi();
    m.events.inject();
    expect(m.sp).toBe(0x6000 - 40);
    expect(m.u64(m.sp + 24)).toBe(BigInt(AT.stack0));
    expect(m.state.segment(Seg.SS).selector).toBe(SEL.data0);
  });
  it('from compatibility mode -> ESP is zero-extended, 64-bit handler', () => {
    const m = longMachine();
    gates(m);
    m.segment(Seg.CS, SEL.code32, 0xc9b, 0, -1);
    m.state.set(R.RSP, AT.stack0, 0x1234);
    m.state.setIp(AT.code, 0);
    m.raise(Vector.UD);
    expect(m.state.code).toBe(8);
    expect(m.state.lo(R.RSP)).toBe(AT.stack0 - 40);
    expect(m.state.hi(R.RSP)).toBe(0);
    expect(vectorAt(m)).toBe(Vector.UD);
  });
});

describe('faults upon faults (APM volume 2, table 8-4)', () => {
  const broken = (first: number, second: 'np' | 'pf'): FakeMachine => {
    const m = protectedMachine();
    gates(m);
    if (second === 'np') gate(m, first, { present: false });
    else {
      // its gate lies on a page of its own that is not present
      m.absent.add((AT.idt + 0x1000) >>> 12);
    }
    return m;
  };
  it.each([
    ['#GP, #NP', Vector.GP, Vector.DF, 0],
    ['#PF, #NP', Vector.PF, Vector.DF, 0],
    ['#UD, #NP', Vector.UD, Vector.NP, Vector.UD * 8 + 3],
    ['#BR, #NP', Vector.BR, Vector.NP, Vector.BR * 8 + 3],
  ] as const)('%s -> vector %i', (_, first, vector, code) => {
    const m = broken(first, 'np');
    m.raise(first, 0);
    expect([vectorAt(m), m.u32(m.sp), m.u32(m.sp + 4)]).toEqual([vector, code, AT.code]);
  });
  it('#DF that cannot be delivered -> shutdown', () => {
    const m = protectedMachine();
    expect(m.raise(Vector.GP, 0)).toBe(Next.Handle);
    expect(m.events.exit()?.kind).toBe('shutdown');
  });
  it('#PF on the stack while delivering #UD -> #PF with CR2, EXT is no bit of it', () => {
    const m = protectedMachine();
    gates(m);
    for (const v of [14]) gate(m, v, { selector: SEL.code0 });
    atLevel(m, 3);
    gate(m, Vector.UD, { selector: SEL.code1 });
    m.put32(AT.tss + 12, 0x5000, SEL.data1);
    m.absent.add(4);
    m.raise(Vector.UD);
    expect([vectorAt(m), m.u32(m.sp)]).toEqual([Vector.PF, 2]);
    expect(m.state.sysLo(SR.CR2) >>> 12).toBe(4);
  });
  it('#PF while delivering #PF -> #DF, CR2 of the second', () => {
    const m = protectedMachine();
    gates(m);
    atLevel(m, 3);
    gate(m, Vector.PF, { selector: SEL.code1 });
    m.put32(AT.tss + 12, 0x5000, SEL.data1);
    m.absent.add(4);
    m.events.pageFault(0x1234, 0, 4);
    expect(vectorAt(m)).toBe(Vector.DF);
    expect(m.state.sysLo(SR.CR2) >>> 12).toBe(4);
  });
  it('Intel, triple fault -> exit shutdown and no INIT (vmx.c, handle_triple_fault)', () => {
    const m = protectedMachine({ vendor: 'Intel' });
    m.raise(Vector.GP, 0);
    expect(m.events.exit()?.kind).toBe('shutdown');
    expect(m.asked.resets).toBe(0);
  });
});

describe('stage 2 misses during a delivery (EXITINTINFO; svm.c, svm_complete_interrupts)', () => {
  it('#PF whose stack is not mapped -> nothing changed, injected with error code; again at the next entry', () => {
    const m = longMachine();
    gates(m);
    m.missing.add((AT.stack0 - 1) >>> 12);
    expect(m.events.pageFault(0x7777, 0, 6)).toBe(Next.Handle);
    expect(m.events.exception).toMatchObject({ injected: true, pending: false, vector: 14, errorCode: 6 });
    expect(m.events.vectoring).toBe(true);
    expect(m.sp).toBe(AT.stack0);
    expect(m.state.sysLo(SR.CR2)).toBe(0x7777);
    m.missing.clear();
    expect(m.events.inject()).toBe(Next.Run);
    expect(m.events.exception.injected).toBe(false);
    expect(vectorAt(m)).toBe(Vector.PF);
    expect(stack64(m, 4)).toEqual([6, AT.code, SEL.code0, FL.One | FL.RF]);
  });
  it('an interrupt stays injected; what comes meanwhile waits', () => {
    const m = longMachine();
    gates(m);
    m.state.flags = FL.One | FL.IF;
    m.missing.add(AT.idt >>> 12);
    m.events.queueInterrupt(0x33);
    expect(m.events.inject()).toBe(Next.Handle);
    expect(m.events.interrupt).toMatchObject({ injected: true, vector: 0x33 });
    m.events.queueNmi();
    m.missing.clear();
    m.events.inject();
    expect(vectorAt(m)).toBe(0x33);
    m.events.inject();
    expect(vectorAt(m)).toBe(Vector.NMI);
    expect(m.u64(m.sp)).toBe(BigInt(AT.handler + 16 * 0x33));
  });
  it('INT n -> not kept: it runs again', () => {
    const m = longMachine();
    gates(m);
    m.missing.add(AT.idt >>> 12);
    expect(m.events.softwareInterrupt(0x80, 'software', 2)).toBe(Next.Handle);
    expect(m.events.reinjects).toBe(false);
    expect(m.state.ipLo).toBe(AT.code);
  });
  it('#DF from a combination -> injected as #DF', () => {
    const m = protectedMachine();
    gates(m);
    gate(m, Vector.GP, { present: false });
    // the #DF gate leads to a stack that is missing
    atLevel(m, 3);
    m.missing.add((AT.stack0 - 1) >>> 12);
    expect(m.raise(Vector.GP, 0)).toBe(Next.Handle);
    expect(m.events.exception).toMatchObject({ injected: true, vector: Vector.DF, hasErrorCode: true });
  });
});
