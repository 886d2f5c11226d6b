/** The framework of the rows: decoding, plugins' rows, what leaves generated code and with which state. */
import { Leave } from '@faultyard/engine';
import { Code, Instruction } from 'iced-x86';
import { describe, expect, it } from 'vitest';
import { decodeInstruction } from '../src/isa/decode.ts';
import { FL } from '../src/isa/flags.ts';
import { Guard } from '../src/isa/guards.ts';
import { x86Isa } from '../src/isa/isa.ts';
import { Mode, R, Seg } from '../src/isa/layout.ts';
import type { Row } from '../src/isa/row.ts';
import { Slow } from '../src/isa/slow.ts';
import { ORIGIN, ProgramMachine, STACK } from './support/program-machine.ts';

/** HLT leaves as a system instruction: the end of programs. */
const done = { reason: Leave.Slow, op: Slow.System };
const undefinedInstruction = { reason: Leave.Slow, op: Slow.Undefined };

const factorial = (a: string, c: string): string => `
      mov ${a}, 1
      mov ${c}, 10
    again:
      push ${c}
      call times
      pop ${c}
      dec ${c}
      jnz again
      hlt
    times:
      imul ${a}, ${c}
      ret`;

describe('programs', () => {
  it.each([
    ['long', 'rax', 'rcx', 3628800n],
    ['flat', 'eax', 'ecx', 3628800n],
    ['protected', 'eax', 'ecx', 3628800n],
    ['real', 'ax', 'cx', 3628800n & 0xffffn],
  ] as const)('10! by calls and pushes in %s code -> RAX', (code, a, c, result) => {
    const m = new ProgramMachine(code);
    expect(m.run(factorial(a, c))).toMatchObject(done);
    expect(m.r(R.RAX)).toBe(result);
    expect(m.r(R.RSP)).toBe(BigInt(STACK));
  });
  it('code that fills a page and goes on in the next -> every instruction is done once', () => {
    const m = new ProgramMachine('long');
    // 5-byte instructions: some cross the page's end
    const adds = 'add eax, 0x10001\n'.repeat(2000);
    expect(m.run(`xor eax, eax\n${adds}hlt`)).toMatchObject({ ...done, retired: 2001 });
    expect(m.r(R.RAX)).toBe(BigInt((2000 * 0x10001) >>> 0));
  });
  it('a loop over its own immediate (self-modifying code) -> the new immediate counts', () => {
    const m = new ProgramMachine('long');
    const end = m.run(`
        mov ecx, 5
      again:
        mov eax, 1
        inc byte ptr [again + 1]
        dec ecx
        jnz again
        hlt`);
    expect(end).toMatchObject(done);
    expect(m.r(R.RAX)).toBe(5n);
  });
});

describe('decoding', () => {
  const at = (bytes: readonly number[], mode: number = Mode.Code64): Instruction =>
    decodeInstruction(Uint8Array.from(bytes), mode, 0x1000n, new Instruction());

  it('near jump with 66 in 64-bit code -> AMD takes 16 bits of offset, Intel 32', () => {
    const bytes = Uint8Array.from([0x66, 0xe9, 1, 0, 0, 0]);
    const length = (vendor: 'AMD' | 'Intel'): number =>
      decodeInstruction(bytes, Mode.Code64, 0n, new Instruction(), vendor).length;
    expect([length('AMD'), length('Intel')]).toEqual([4, 6]);
  });
  it.each([
    ['LOCK before a register', [0xf0, 0x01, 0xc0]],
    ['LOCK before MOV', [0xf0, 0x89, 0x00]],
    ['UD2', [0x0f, 0x0b]],
    ['an unused opcode', [0x0f, 0xa6, 0xff]],
  ])('%s -> #UD', (_, bytes) => {
    expect(new ProgramMachine('long').run(bytes)).toMatchObject({ ...undefinedInstruction, retired: 0 });
  });
  it('16 bytes -> #GP', () => {
    const end = new ProgramMachine('long').run([...Array<number>(14).fill(0x66), 0x01, 0xc0]);
    expect(end).toMatchObject({ reason: Leave.Slow, op: Slow.GeneralProtection, retired: 0 });
  });
  it('feature that the model lacks -> #UD; with it -> done', () => {
    const popcnt = [0xf3, 0x0f, 0xb8, 0xc3, 0xf4];
    const without = new ProgramMachine('long', { features: new Set(['sse2']) });
    expect(without.run(popcnt)).toMatchObject(undefinedInstruction);
    const has = new ProgramMachine('long', { features: new Set(['popcnt']) });
    has.setR(R.RBX, 0xffn);
    expect(has.run(popcnt)).toMatchObject(done);
    expect(has.r(R.RAX)).toBe(8n);
  });
  it('bytes that end amid an instruction -> INVALID', () => {
    expect(at([0x48, 0xb8, 1, 2]).code).toBe(Code.INVALID);
    expect(at([0x67, 0x8b, 0x05, 0, 0, 0, 0]).isIpRelMemoryOperand).toBe(true);
  });
});

describe('leaves', () => {
  it('RET to a non-canonical address -> #GP, RSP as before', () => {
    const m = new ProgramMachine('long');
    m.load('mov rax, 0x800000000000\npush rax\nret');
    expect(m.run()).toMatchObject({ reason: Leave.Slow, op: Slow.GeneralProtection, retired: 2 });
    expect(m.r(R.RSP)).toBe(BigInt(STACK - 8));
    const high = new ProgramMachine('long');
    high.load('mov rax, -0x800000000000\njmp rax');
    expect(high.run()).toMatchObject({ reason: Leave.Fault });
  });
  it('RET with 57-bit linear addresses -> what 48 bits forbid is left to the fetch', () => {
    const m = new ProgramMachine('long', { features: new Set(['la57']) });
    expect(m.run('mov rax, 0x800000000000\npush rax\nret')).toMatchObject({
      reason: Leave.Fault,
      retired: 3,
    });
    expect(m.run('mov rax, 0x100000000000000\njmp rax')).toMatchObject({ op: Slow.GeneralProtection });
  });
  it('LOOP beyond the limit of CS -> #GP, ECX as before', () => {
    const m = new ProgramMachine('protected');
    m.segment(Seg.CS, { limit: 0x1fff });
    m.setR(R.RCX, 2n);
    m.load([0xe2, 0x70], 0x1fa0);
    expect(m.run()).toMatchObject({ reason: Leave.Slow, op: Slow.GeneralProtection, retired: 0 });
    expect(m.r(R.RCX)).toBe(2n);
  });
  it('CALL beyond the limit of CS -> #GP, nothing pushed', () => {
    const m = new ProgramMachine('real');
    m.segment(Seg.CS, { limit: 0x1fff });
    expect(m.run([0xe8, 0, 0x20])).toMatchObject({ reason: Leave.Slow, op: Slow.GeneralProtection });
    expect(m.r(R.RSP)).toBe(BigInt(STACK));
  });
  it('store beyond the limit of DS, push beyond that of SS -> the segment and the direction', () => {
    const m = new ProgramMachine('protected');
    m.segment(Seg.DS, { limit: 0xfff });
    expect(m.run('mov [0xffd], eax')).toMatchObject({ reason: Leave.Slow, op: Slow.SegmentLimit });
    expect([m.arg(0), m.arg(1)]).toEqual([Seg.DS, 1]);
    m.segment(Seg.SS, { limit: STACK - 8 });
    expect(m.run('push eax')).toMatchObject({ reason: Leave.Slow, op: Slow.SegmentLimit });
    expect([m.arg(0), m.arg(1)]).toEqual([Seg.SS, 1]);
  });
  it('CALL whose push fails -> nothing done', () => {
    const m = new ProgramMachine('long');
    m.setR(R.RSP, 0x10_0000n);
    expect(m.run('call there\nthere: hlt')).toMatchObject({ reason: Leave.Fault, retired: 0 });
    expect([m.r(R.RSP), m.state.pcLo]).toEqual([0x10_0000n, ORIGIN]);
  });
  it('POP to memory that fails -> RSP as before', () => {
    const m = new ProgramMachine('long');
    expect(m.run('push 5\npop qword ptr [0x100000]')).toMatchObject({ reason: Leave.Fault, retired: 1 });
    expect(m.r(R.RSP)).toBe(BigInt(STACK - 8));
  });
  it('POPF that changes IF -> the vCPU; that changes DF, NT, ID and arithmetic flags -> done', () => {
    const m = new ProgramMachine('long');
    m.state.flags = FL.IF | FL.One;
    const all = FL.IF | FL.DF | FL.NT | FL.ID | FL.CF | FL.ZF | FL.OF | FL.One;
    expect(m.run(`push ${all}\npopfq\nhlt`)).toMatchObject({ ...done, retired: 2 });
    expect(m.state.flags).toBe(all);
    expect(m.run('push 2\npopfq')).toMatchObject({ ...done, retired: 1 });
    expect(m.state.flags).toBe(all);
  });
  it('CLI, PUSHF where IOPL forbids, PUSHF and PAUSE that a plugin intercepts -> their guards', () => {
    const m = new ProgramMachine('long');
    m.state.flags = FL.IF | FL.One;
    m.guards = 1 << Guard.Iopl;
    expect(m.run('pushfq\ncli')).toMatchObject({ reason: Leave.Guard, op: Guard.Iopl, retired: 1 });
    m.guards = 1 << Guard.Pushf;
    expect(m.run('cli\npushfq')).toMatchObject({ reason: Leave.Guard, op: Guard.Pushf, retired: 1 });
    expect(m.state.flags).toBe(FL.One);
    m.guards = 1 << Guard.Pause;
    expect(m.run('pause')).toMatchObject({ reason: Leave.Guard, op: Guard.Pause });
    const legacy = new ProgramMachine('protected');
    legacy.guards = 1 << Guard.Iopl;
    expect(legacy.run('pushfd')).toMatchObject({ reason: Leave.Guard, op: Guard.Iopl });
  });
  it('INT3, CPUID, MOV DS, IN, AAM 0 -> their slow operations', () => {
    const op = (code: 'long' | 'flat', text: string): number => new ProgramMachine(code).run(text).op;
    expect(op('long', 'int3')).toBe(Slow.System);
    expect(op('long', 'cpuid')).toBe(Slow.System);
    expect(op('long', 'mov ds, eax')).toBe(Slow.System);
    expect(op('long', 'in al, 0x60')).toBe(Slow.Port);
    expect(op('flat', 'aam 0')).toBe(Slow.DivideError);
  });
});

describe("plugins' rows", () => {
  const mark = (name: string, row: Partial<Row>): Row => ({
    name,
    codes: [],
    sem: ({ b }) => b.set(R.RAX, b.c64(0x77)),
    ...row,
  });

  it('code that a row of ours has -> theirs counts', () => {
    const m = new ProgramMachine('long', { rows: [mark('their.fence', { codes: ['Mfence'] })] });
    expect(m.run('mfence\nhlt')).toMatchObject(done);
    expect(m.r(R.RAX)).toBe(0x77n);
  });
  it('code that two plugins have, a name of ours, an unknown code -> refused, owners named', () => {
    const rows = [mark('one', { codes: ['Vmrunq'] }), mark('two', { codes: ['Vmrunq'] })];
    const owner = (row: Row): string => `plugin-${row.name}`;
    expect(() => x86Isa({ rows, owner })).toThrow(/Vmrunq is defined by both plugin-two and plugin-one/);
    expect(() => x86Isa({ rows: [mark('mov', { codes: ['Vmrunq'] })] })).toThrow(/FY_PLUGIN_CLASH/);
    expect(() => x86Isa({ rows: [mark('x', { codes: ['Vmrun'] })] })).toThrow(/no code Vmrun/);
  });
  it('encoding of its own without operands -> runs, with prefixes, to its own length', () => {
    const m = new ProgramMachine('long', { rows: [mark('own', { encodings: [{ bytes: '0f 3b c.' }] })] });
    expect(m.run([0x66, 0x0f, 0x3b, 0xc5, 0xf4])).toMatchObject({ ...done, retired: 1 });
    expect([m.r(R.RAX), m.state.pcLo]).toEqual([0x77n, ORIGIN + 4]);
    expect(m.run([0x0f, 0x3b, 0x05])).toMatchObject(undefinedInstruction);
  });
  it('encoding like another -> its operands, in every form', () => {
    const row: Row = {
      name: 'own.triple',
      codes: [],
      encodings: [{ bytes: '0f 39', prefix: 'f3', like: 'Imul_r64_rm64_imm8' }],
      sem: (o) => o.write(0, o.b.mul(o.read(1), o.read(2))),
    };
    const m = new ProgramMachine('long', { rows: [row] });
    m.dv.setBigUint64(m.at(0x3010), 14n, true);
    m.setR(R.RSI, 0x3000n);
    // rdx = [rsi + 16] * 3
    expect(m.run([0xf3, 0x48, 0x0f, 0x39, 0x56, 0x10, 3, 0xf4])).toMatchObject({ ...done, retired: 1 });
    expect([m.r(R.RDX), m.state.pcLo]).toEqual([42n, ORIGIN + 7]);
    // without the prefix, or with another operand size, it is none
    expect(m.run([0x48, 0x0f, 0x39, 0x56, 0x10, 3])).toMatchObject(undefinedInstruction);
    expect(m.run([0xf3, 0x0f, 0x39, 0x56, 0x10, 3])).toMatchObject(undefinedInstruction);
    const i = m.isa.instruction(
      Uint8Array.from([0xf3, 0x48, 0x0f, 0x39, 0x56, 0x10, 3]),
      Mode.Code64,
      0n,
      new Instruction(),
    );
    expect([i.code, i.length, i.memoryDisplacement]).toEqual([Code.Imul_r64_rm64_imm8, 7, 16n]);
  });
  it('encodings that overlap, are malformed, or like a code with a mandatory prefix -> refused', () => {
    const refused =
      (...rows: Row[]): (() => unknown) =>
      () =>
        x86Isa({ rows });
    const one = mark('one', { encodings: [{ bytes: '0f 3b c.' }] });
    expect(refused(one, mark('two', { encodings: [{ bytes: '0f 3b' }] }))).toThrow(/FY_PLUGIN_CLASH/);
    expect(refused(mark('two', { encodings: [{ bytes: '0f3b' }] }))).toThrow(/two hex digits/);
    expect(refused(mark('two', { encodings: [{ bytes: '0f 3b', like: 'Popcnt_r32_rm32' }] }))).toThrow(
      /mandatory prefix/,
    );
  });
});
