/** What the rows of memory and system instructions tell the vCPU: accesses, leaves, syndromes, the monitor. */
import { Access, Leave } from '@faultyard/engine';
import { describe, expect, it } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { CONTEXT_UNPRIVILEGED } from '../src/isa/contexts.ts';
import { GUARD_EL0, GUARD_FP, GUARD_SP, GUARD_SP_EL0, GUARD_ZVA } from '../src/isa/guards.ts';
import { memoryForms } from '../src/isa/memory-rows.ts';
import { Slow } from '../src/isa/slow.ts';
import { factsOf, syndrome, syndromeBits } from '../src/isa/syndrome.ts';
import { systemKey } from '../src/isa/sysreg-names.ts';
import { AccessClass } from '../src/memory/access-class.ts';
import { BareMachine, CODE, DATA } from './support/bare-machine.ts';

const accessFacts = factsOf(memoryForms);
const word = (text: string): number => new DataView(assemble(text).bytes.buffer).getUint32(0, true);

describe('access syndromes of stage 2 aborts', () => {
  /* ISV 24, SAS 23:22, SSE 21, SRT 20:16, SF 15, AR 14. */
  const iss = (sas: number, sse: number, srt: number, sf: number, ar: number): number =>
    (1 << 24) | (sas << 22) | (sse << 21) | (srt << 16) | (sf << 15) | (ar << 14);

  it.each([
    ['ldrb w1, [x2]', iss(0, 0, 1, 0, 0)],
    ['ldrsb w1, [x2, #3]', iss(0, 1, 1, 0, 0)],
    ['ldrsb x1, [x2, #3]', iss(0, 1, 1, 1, 0)],
    ['ldrsh w30, [x2, w3, uxtw]', iss(1, 1, 30, 0, 0)],
    ['ldrsw x7, [x2]', iss(2, 1, 7, 1, 0)],
    ['ldr w7, [sp, #4]', iss(2, 0, 7, 0, 0)],
    ['ldr xzr, [x2]', iss(3, 0, 31, 1, 0)],
    ['str x9, [x2, x3, lsl #3]', iss(3, 0, 9, 1, 0)],
    ['stur w9, [x2, #-1]', iss(2, 0, 9, 0, 0)],
    ['ldr x5, . + 16', iss(3, 0, 5, 1, 0)],
    ['ldrsw x5, . + 16', iss(2, 1, 5, 1, 0)],
    ['ldtrsh x4, [x2]', iss(1, 1, 4, 1, 0)],
    ['sttr x4, [x2]', iss(3, 0, 4, 1, 0)],
    ['ldarb w4, [x2]', iss(0, 0, 4, 0, 1)],
    ['stlr x4, [x2]', iss(3, 0, 4, 1, 1)],
  ])('%s -> syndrome: ISV=1 with size, sign, register, width and ordering', (text, expected) => {
    expect(syndromeBits(syndrome(accessFacts(word(text)))).toString(16)).toBe(expected.toString(16));
  });

  it.each([
    'ldr x1, [x2], #8',
    'str x1, [x2, #8]!',
    'ldp x1, x3, [x2]',
    'stp w1, w3, [x2]',
    'ldpsw x1, x3, [x2]',
    'ldr q1, [x2]',
    'str b1, [x2]',
    'ldp d1, d2, [x2]',
    'ld1 {v0.16b}, [x2]',
    'ldxr x1, [x2]',
    'stlxr w0, x1, [x2]',
    'ldaxp x1, x3, [x2]',
    'ldadd x1, x3, [x2]',
    'casal w1, w3, [x2]',
    'swp x1, x3, [x2]',
    'dc zva, x2',
    'dc civac, x2',
    'add x1, x2, x3',
  ])('%s -> syndrome: ISV=0', (text) => {
    expect(syndromeBits(syndrome(accessFacts(word(text))))).toBe(0);
  });

  it('dc zva -> facts: FAR comes from the register', () => {
    expect(accessFacts(word('dc zva, x5'))?.far).toBe(5);
  });

  it.each([
    ['ldrb w1, [x2]', 1],
    ['ldp w1, w3, [x2]', 4],
    ['ldp x1, x3, [x2]', 8],
    ['ldp q1, q3, [x2]', 16],
    ['ldr q1, [x2]', 16],
    ['ldr h1, [x2]', 2],
    ['ld4 {v0.4h-v3.4h}, [x2]', 2],
    ['ld1r {v0.2d}, [x2]', 8],
    ['ldxp x1, x3, [x2]', 16],
    ['ldxp w1, w3, [x2]', 8],
  ])('%s -> facts: an element is aligned to %i while SCTLR.A is set', (text, align) => {
    expect(accessFacts(word(text))?.align).toBe(align);
  });
});

describe('accesses as the slow path sees them', () => {
  const { NoIsv, Atomic, Exclusive, Ordered, Unprivileged, Simd, Zva } = AccessClass;

  it.each([
    ['ldr x1, [x0]', Access.Read, 8, 0, 1],
    ['strh w1, [x0]', Access.Write, 2, 0, 1],
    ['ldr w1, [x0], #4', Access.Read, 4, NoIsv, 1],
    ['ldp x1, x2, [x0]', Access.Read, 16, NoIsv, 1],
    ['stp w1, w2, [x0]', Access.Write, 8, NoIsv, 1],
    ['ldtr w1, [x0]', Access.Read, 4, Unprivileged, 1],
    ['ldar w1, [x0]', Access.Read, 4, Ordered, 4],
    ['stlrh w1, [x0]', Access.Write, 2, Ordered, 2],
    ['ldxr x1, [x0]', Access.Read, 8, NoIsv | Exclusive | Ordered, 8],
    ['ldxp x1, x2, [x0]', Access.Read, 16, NoIsv | Exclusive | Ordered, 16],
    ['ldadd w1, w2, [x0]', Access.ReadWrite, 4, NoIsv | Atomic | Ordered, 4],
    ['cas x1, x2, [x0]', Access.ReadWrite, 8, NoIsv | Atomic | Ordered, 8],
    ['ldr q1, [x0]', Access.Read, 16, NoIsv | Simd, 1],
    ['st4 {v0.16b-v3.16b}, [x0]', Access.Write, 64, NoIsv | Simd, 1],
    ['ld3 {v0.s-v2.s}[1], [x0]', Access.Read, 12, NoIsv | Simd, 1],
    ['dc zva, x0', Access.Write, 64, NoIsv | Zva, 1],
  ])('%s -> port: one access of its kind, size, class and alignment', (text, kind, size, cls, align) => {
    const m = new BareMachine();
    m.setX(0, DATA + 64n);
    expect(m.run(text)).toBe(Leave.Budget);
    expect(m.accesses.map((a) => [a.kind, a.size, a.cls, a.align])).toEqual([[kind, size, cls, align]]);
  });

  it('ldtr and sttr at EL1 -> port: the unprivileged context', () => {
    const m = new BareMachine();
    m.setX(0, DATA);
    m.run('ldtr x1, [x0]; sttrb w1, [x0]; ldr x1, [x0]');
    expect(m.accesses.map((a) => a.ctx)).toEqual([CONTEXT_UNPRIVILEGED, CONTEXT_UNPRIVILEGED, 0]);
  });

  it('dc zva into the middle of a block -> memory: the aligned 64 bytes and no others are zero', () => {
    const m = new BareMachine();
    for (let at = DATA; at < DATA + 192n; at += 8n) m.poke(at, 0x1111n);
    m.setX(0, DATA + 64n + 37n);
    m.run('dc zva, x0');
    const words = Array.from({ length: 24 }, (_, i) => m.peek(DATA + BigInt(8 * i)));
    expect(words).toEqual([...Array(8).fill(0x1111n), ...Array(8).fill(0n), ...Array(8).fill(0x1111n)]);
  });

  it.each([
    'ldp x1, x2, [x0]',
    'stp x1, x2, [x0]',
    'ldr q1, [x0]',
    'ld4 {v0.2d-v3.2d}, [x0], #64',
    'st1 {v0.16b}, [x0], #16',
    'ldr x1, [x0, #0]!',
    'str x1, [x0], #8',
  ])('%s over the edge of what is mapped -> vCPU: fault, no register or byte changed', (text) => {
    const m = new BareMachine();
    const edge = DATA + 8192n - 4n;
    m.setX(0, edge);
    for (const n of [1, 2]) m.setX(n, 0x55n);
    const before = [m.peek(edge - 4n), m.v(0), m.v(1), m.v(3)];
    expect(m.run(text)).toBe(Leave.Fault);
    expect([m.pc, m.x(0), m.x(1), m.x(2)]).toEqual([CODE, edge, 0x55n, 0x55n]);
    expect([m.peek(edge - 4n), m.v(0), m.v(1), m.v(3)]).toEqual(before);
  });

  it('ldxr, ldadd, ldar from a misaligned address -> vCPU: fault, whatever SCTLR.A says', () => {
    const m = new BareMachine();
    m.setX(0, DATA + 2n);
    for (const text of [
      'ldxr w1, [x0]',
      'ldadd w1, w2, [x0]',
      'ldar w1, [x0]',
      'casp x2, x3, x4, x5, [x0]',
    ]) {
      expect([text, m.run(text)]).toEqual([text, Leave.Fault]);
    }
  });

  it('prfm anywhere, with a misaligned sp -> vCPU: nothing happens', () => {
    const m = new BareMachine();
    m.guards = 1 << GUARD_SP;
    m.setX(31, 3n);
    expect(m.run('prfm pldl1keep, [sp]; prfm pstl3strm, [x9, x10]; prfum #31, [x3, #-1]')).toBe(Leave.Budget);
    expect(m.accesses).toEqual([]);
  });
});

describe('guards', () => {
  it.each([
    'ldr x1, [sp]',
    'str x1, [sp, #-16]!',
    'ldp x1, x2, [sp], #16',
    'ldr x1, [sp, x2]',
    'ldtr x1, [sp]',
    'ldxr x1, [sp]',
    'ldadd x1, x2, [sp]',
    'ldr q0, [sp]',
    'ld1 {v0.8b}, [sp], #8',
  ])('%s with a misaligned sp -> vCPU: leaves by the SP guard, or goes on where it is off', (text) => {
    const m = new BareMachine();
    const sp = DATA + 0x108n;
    m.setX(31, sp);
    m.setX(2, 8n);
    m.guards = 1 << GUARD_SP;
    expect([m.run(text), m.cpu.slowOp, m.pc, m.x(31)]).toEqual([Leave.Guard, GUARD_SP, CODE, sp]);
    m.guards = 0;
    expect(m.run(text)).toBe(Leave.Budget);
    m.guards = 1 << GUARD_SP;
    m.setX(31, DATA + 0x110n);
    expect(m.run(text)).toBe(Leave.Budget);
  });

  it('str q0, [sp] with FP trapped and sp misaligned -> vCPU: the FP trap comes first', () => {
    const m = new BareMachine();
    m.setX(31, DATA + 4n);
    m.guards = (1 << GUARD_SP) | (1 << GUARD_FP);
    expect([m.run('str q0, [sp]'), m.cpu.slowOp]).toEqual([Leave.Guard, GUARD_FP]);
    expect([m.run('st2 {v0.b, v1.b}[3], [sp]'), m.cpu.slowOp]).toEqual([Leave.Guard, GUARD_FP]);
    expect([m.run('ldr s0, . + 8'), m.cpu.slowOp]).toEqual([Leave.Guard, GUARD_FP]);
  });

  it('dc zva where EL0 may not -> vCPU: leaves by its guard', () => {
    const m = new BareMachine();
    m.guards = 1 << GUARD_ZVA;
    expect([m.run('dc zva, x0'), m.cpu.slowOp]).toEqual([Leave.Guard, GUARD_ZVA]);
  });
});

describe('system registers with a fast path', () => {
  it.each([
    ['tpidr_el0', [], []],
    ['tpidrro_el0', [], [GUARD_EL0]],
    ['tpidr_el1', [GUARD_EL0], [GUARD_EL0]],
    ['sp_el0', [GUARD_SP_EL0], [GUARD_SP_EL0]],
  ])('%s -> state: written and read without a leave, guarded where EL0 has none', (name, read, write) => {
    const m = new BareMachine();
    m.setX(1, 0x1234_5678_9abc_def0n);
    expect(m.run(`msr ${name}, x1; mrs x2, ${name}`)).toBe(Leave.Budget);
    expect([m.state(name), m.x(2)]).toEqual([0x1234_5678_9abc_def0n, 0x1234_5678_9abc_def0n]);
    m.guards = (1 << GUARD_EL0) | (1 << GUARD_SP_EL0);
    const guards = (text: string): number[] => (m.run(text) === Leave.Guard ? [m.cpu.slowOp] : []);
    expect(guards(`mrs x2, ${name}`)).toEqual(read);
    expect(guards(`msr ${name}, x1`)).toEqual(write);
  });

  it('msr nzcv, mrs nzcv -> flags: bits 31 to 28 and no others', () => {
    const m = new BareMachine();
    m.setX(1, 0xffff_ffff_a5ff_ffffn);
    m.run('msr nzcv, x1; mrs x2, nzcv; cset x3, mi; cset x4, eq; cset x5, hs; cset x6, vs');
    expect([m.x(2), m.x(3), m.x(4), m.x(5), m.x(6)]).toEqual([0xa000_0000n, 1n, 0n, 1n, 0n]);
  });
});

describe('slow operations', () => {
  const ZERO_SLOT = 32n;
  const SINK_SLOT = 33n;

  it.each<[string, number, bigint[]]>([
    ['svc #0x1234', Slow.Svc, [0x1234n]],
    ['hvc #1', Slow.Hvc, [1n]],
    ['smc #2', Slow.Smc, [2n]],
    ['brk #0xffff', Slow.Brk, [0xffffn]],
    ['hlt #3', Slow.Hlt, [3n]],
    ['dcps2 #7', Slow.Dcps, [2n, 7n]],
    ['udf #5', Slow.Undefined, []],
    ['.inst 0xffffffff', Slow.Undefined, []],
    ['mrs x3, sctlr_el1', Slow.Mrs, [BigInt(systemKey(3, 0, 1, 0, 0)), 3n]],
    ['mrs xzr, daif', Slow.Mrs, [BigInt(systemKey(3, 3, 4, 2, 1)), SINK_SLOT]],
    ['msr vbar_el1, x7', Slow.Msr, [BigInt(systemKey(3, 0, 12, 0, 0)), 0x77n, 7n]],
    ['msr s3_7_c15_c15_7, xzr', Slow.Msr, [BigInt(systemKey(3, 7, 15, 15, 7)), 0n, ZERO_SLOT]],
    ['msr daifclr, #0xf', Slow.MsrImm, [0b011111n, 15n]],
    ['msr spsel, #1', Slow.MsrImm, [5n, 1n]],
    ['msr pan, #1', Slow.MsrImm, [4n, 1n]],
    ['dc civac, x7', Slow.Sys, [BigInt(systemKey(1, 3, 7, 14, 1)), 0x77n, 7n]],
    ['tlbi vmalle1is', Slow.Sys, [BigInt(systemKey(1, 0, 8, 3, 0)), 0n, ZERO_SLOT]],
    ['at s1e0w, x7', Slow.Sys, [BigInt(systemKey(1, 0, 7, 8, 3)), 0x77n, 7n]],
    ['ic ivau, x7', Slow.Sys, [BigInt(systemKey(1, 3, 7, 5, 1)), 0x77n, 7n]],
    ['sysl x7, #3, c7, c0, #1', Slow.Sysl, [BigInt(systemKey(1, 3, 7, 0, 1)), 7n]],
    ['eret', Slow.Eret, []],
    ['drps', Slow.Drps, []],
    ['wfi', Slow.Wfi, []],
    ['wfe', Slow.Wfe, []],
    ['sev', Slow.Sev, []],
    ['sevl', Slow.Sevl, []],
    ['yield', Slow.Yield, []],
    ['esb', Slow.Esb, []],
    ['isb', Slow.Isb, []],
  ])('%s -> vCPU: leaves with its operation and arguments, pc unmoved', (text, op, args) => {
    const m = new BareMachine();
    m.setX(7, 0x77n);
    expect([m.run(`nop; ${text}`), m.cpu.slowOp, m.pc, m.cpu.retired]).toEqual([
      Leave.Slow,
      op,
      CODE + 4n,
      1,
    ]);
    expect(args.map((_, n) => m.arg(n))).toEqual(args);
  });

  it('barriers and hints -> vCPU: nothing', () => {
    const m = new BareMachine();
    const text = 'nop; dmb ish; dsb sy; dsb #4; sb; csdb; psb csync; hint #25; bti c';
    expect([m.run(text), m.cpu.retired]).toEqual([Leave.Budget, 9]);
  });
});

describe('the exclusive monitor', () => {
  const armed = (): BareMachine => {
    const m = new BareMachine();
    m.setX(0, DATA + 16n);
    m.poke(DATA + 16n, 5n);
    m.setX(2, 6n);
    m.setX(9, 77n);
    return m;
  };

  it('ldxr, stxr -> memory: stored, status 0, monitor open', () => {
    const m = armed();
    m.run('ldxr x1, [x0]; stxr w9, x2, [x0]; stxr w8, x1, [x0]');
    expect([m.x(1), m.x(9), m.x(8), m.peek(DATA + 16n)]).toEqual([5n, 0n, 1n, 6n]);
  });

  it.each([
    ['a store of another value in between', 'str x9, [x0]', 77n],
    ['clrex in between', 'clrex', 5n],
    ['a store-exclusive elsewhere in between', 'add x3, x0, #8; stxr w4, x2, [x3]', 5n],
  ])('%s -> stxr: status 1, memory as it was', (_, between, left) => {
    const m = armed();
    m.run(`ldxr x1, [x0]; ${between}; stxr w8, x2, [x0]`);
    expect([m.x(8), m.peek(DATA + 16n)]).toEqual([1n, left]);
  });

  it('ldxr of another size before stxr -> stxr: status 1', () => {
    const m = armed();
    m.run('ldxr w1, [x0]; stxr w8, x2, [x0]');
    expect([m.x(8), m.peek(DATA + 16n)]).toEqual([1n, 5n]);
  });

  it('a failed stxr at an unmapped address -> vCPU: no access, no fault', () => {
    const m = new BareMachine();
    m.setX(0, 0n);
    expect([m.run('stxr w8, x2, [x0]'), m.x(8), m.accesses.length]).toEqual([Leave.Budget, 1n, 0]);
  });

  it('ldxp, stxp of sixteen bytes -> port: write permission is settled before anything moves', () => {
    const m = armed();
    m.poke(DATA + 24n, 50n);
    m.setX(3, 60n);
    m.run('ldxp x4, x5, [x0]; stxp w8, x2, x3, [x0]');
    expect([m.x(4), m.x(5), m.x(8)]).toEqual([5n, 50n, 0n]);
    expect([m.peek(DATA + 16n), m.peek(DATA + 24n)]).toEqual([6n, 60n]);
    expect(m.accesses[1]?.kind).toBe(Access.ReadWrite);
  });

  it('ldxp, second half changed, stxp -> memory: status 1, neither half stored', () => {
    const m = armed();
    m.setX(3, 60n);
    m.run('ldxp x4, x5, [x0]; str x9, [x0, #8]; stxp w8, x2, x3, [x0]');
    expect([m.x(8), m.peek(DATA + 16n), m.peek(DATA + 24n)]).toEqual([1n, 5n, 77n]);
  });
});
