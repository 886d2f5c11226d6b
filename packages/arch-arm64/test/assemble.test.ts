/** The assembler: recorded instances against GNU as, whole programs, directives, and what it says about mistakes. */
import { describe, expect, it } from 'vitest';
import { asm, assemble } from '../src/asm/assemble.ts';
import { AssemblyError } from '../src/asm/assembly-error.ts';
import { disassemble } from '../src/asm/disassemble.ts';
import { standardTable } from '../src/isa/forms.ts';
import { SPELLINGS } from './data/spellings.ts';
import { ARCH_NAMES, assembleLines, hasBinutils, objdump } from './support/binutils.ts';
import { explained, OBJDUMP_TEXT, SEVERAL_ENCODINGS } from './support/differences.ts';
import { relocatable } from './support/gnu.ts';
import { formsOf, instances } from './support/instances.ts';
import { readInstances } from './support/recording.ts';

const table = standardTable();

/** The word of one instruction at `pc`, or the first diagnostic. */
function one(text: string, pc = 0n): number | string {
  try {
    const { bytes } = assemble(text, { origin: pc });
    return bytes.length === 4 ? new DataView(bytes.buffer).getUint32(0, true) : `${bytes.length} bytes`;
  } catch (e) {
    if (e instanceof AssemblyError) return e.diagnostics[0]?.message ?? '';
    throw e;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

it("every recorded instance -> assembling objdump's text: the word of GNU as", () => {
  const wrong: string[] = [];
  let other = 0;
  for (const [i, { word, text, back }] of readInstances().entries()) {
    if (typeof back === 'string') {
      // What objdump calls undefined has no text to assemble.
      if (!explained(OBJDUMP_TEXT, word)) wrong.push(`${word.toString(16)}: as says ${back}`);
      continue;
    }
    if (back !== word) {
      other++;
      if (!explained(SEVERAL_ENCODINGS, word))
        wrong.push(`${word.toString(16)}: as gives ${back.toString(16)}`);
    }
    const ours = one(text, BigInt(i * 4));
    if (ours !== back && !explained(OBJDUMP_TEXT, word)) {
      wrong.push(
        `"${text}": ${typeof ours === 'string' ? ours : ours.toString(16)}, as ${back.toString(16)}`,
      );
    }
  }
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(other).toBeGreaterThan(0);
});

it('every recorded instance -> assembling our own disassembly: the word again, or another encoding of it', () => {
  const wrong: string[] = [];
  const needed = new Set<unknown>();
  for (const [i, { word }] of readInstances().entries()) {
    const pc = BigInt(i * 4);
    const text = disassemble(table, word, pc);
    const ours = one(text, pc);
    if (ours === word) continue;
    const why = explained(SEVERAL_ENCODINGS, word);
    if (why && typeof ours === 'number' && disassemble(table, ours, pc) === text) needed.add(why);
    else
      wrong.push(
        `"${text}": ${typeof ours === 'string' ? ours : ours.toString(16)} for ${word.toString(16)}`,
      );
  }
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(SEVERAL_ENCODINGS.filter((d) => !needed.has(d)).map((d) => d.why)).toEqual([]);
});

it.each(SPELLINGS)('%s -> word: that of GNU as', (text, word) => {
  const ours = one(text);
  expect(typeof ours === 'number' ? ours.toString(16) : ours).toBe(word.toString(16));
});

const live = hasBinutils();
describe.skipIf(!live)(
  `GNU binutils${live ? '' : ' (skipped: aarch64-linux-gnu-as is not installed)'}`,
  () => {
    it('instances of another seed -> as and our assembler: the same words', () => {
      const words = formsOf(table).flatMap((form) => instances(form, 2, 4).slice(0, 4));
      const texts = objdump(words).map((text, i) => relocatable(text, BigInt(i * 4)));
      const defined = texts.map((t) => (t.startsWith('.inst') ? 'nop' : t.startsWith('adrp') ? 'nop' : t));
      const theirs = assembleLines(ARCH_NAMES, defined);
      const wrong = defined.flatMap((text, i) => {
        const ours = one(text, BigInt(i * 4));
        return ours === theirs[i] ? [] : [`"${text}": ${ours}, as ${theirs[i]}`];
      });
      expect(wrong.slice(0, 20)).toEqual([]);
    });
  },
);

const PROGRAM = `
        .equ    SIZE, 0x40
        BASE = SIZE * 4 + (1 << 12)
start:  mov     x0, #SIZE               // a comment
        ldr     x1, =0x123456789abcdef0
        ldr     w2, =0x12345678; ldr x3, =start
        nop; ldr x4, =0xffff0000         /* fits one move */
1:      subs    x0, x0, 1
        b.hs    1b
        cbz     x0, 1f
        tbnz    w1, #3, start
        adr     x5, text
        adrp    x6, text
        add     x6, x6, :lo12:text
        ldr     x7, [x6, #(SIZE / 8)]
        ldr     x7, [x6, #-3]
        str     q1, [sp, #-16]!
        add     x8, x9, #BASE & 0xfff000
        and     x9, x9, #~0xff
        mov     w10, #-2
        mov     sp, x29
        cmp     x1, w2, sxtw #2
        cset    w3, lo
        .ltorg
1:      msr     daifset, #0xf
        mrs     x0, ESR_EL1
        dc      civac, x0
        tlbi    vae1is, x1
        ret
text:   .asciz  "a;b//c\\n\\"q\\""
        .align  3
        .byte   1, 'A', '\\n', -1
        .hword  0x1234
        .balign 4
        .word   start - ., SIZE + 2, 2 + 3 * 4
        .quad   -1
        .skip   3, 0x55
        .p2align 2
        nop
`;

it('a program with labels, literals, expressions and data -> bytes: those of GNU as and ld at 0x40000000', () => {
  const { bytes, symbols } = assemble(PROGRAM, { origin: 0x4000_0000n });
  // aarch64-linux-gnu-as -march=armv8-a, ld -Ttext=0x40000000 (binutils 2.40)
  expect(hex(bytes)).toBe(
    [
      '000880d2e102005882020018e30200581f2003d5e4020058000400f1e2ffff54',
      'c00200b4e1fe1f372503001006000090c6300291c70440f9c7d05ff8e10f9f3c',
      '2805409129dd78922a008012bf0300913fc822ebe3279f1a7856341200000000',
      'f0debc9a7856341200000040000000000000ffff00000000df4f03d5005238d5',
      '207e0bd5218308d5c0035fd6613b622f2f630a227122000001410aff34120000',
      '60ffffff420000000e000000ffffffffffffffff555555001f2003d5',
    ].join(''),
  );
  expect(symbols).toMatchObject({ start: 0x4000_0000n, SIZE: 0x40n, BASE: 0x1100n });
});

it('.org, .equ and a given symbol -> bytes: placed and valued', () => {
  const { bytes, symbols } = assemble('.byte 1; .org 0x1008; here: .word here - 0x1000, LIMIT', {
    origin: 0x1000n,
    symbols: { LIMIT: 7n },
  });
  expect(hex(bytes)).toBe('0100000000000000' + '08000000' + '07000000');
  expect(symbols.here).toBe(0x1008n);
});

it('an origin and a symbol that are numbers -> bytes: those of the same bigints', () => {
  const text = 'adr x0, .; ldr x1, =here; here: .word LIMIT';
  const symbols = { LIMIT: 7 };
  expect(assemble(text, { origin: 0x4000_0000, symbols })).toEqual(
    assemble(text, { origin: 0x4000_0000n, symbols: { LIMIT: 7n } }),
  );
});

it('a template with values -> bytes: at 0 and again where it is loaded', () => {
  const code = asm`mov x0, #${5}; adr x1, .; .quad ${'.'}`;
  expect(hex(code.bytes)).toBe('a00080d2' + '01000010' + '0800000000000000');
  expect(hex(code.at(0x4000_0000n).bytes)).toBe('a00080d2' + '01000010' + '0800004000000000');
});

it.each([
  ['add x0, x1', 1, 11, 'expected ","'],
  ['  ldr x0, [w1]', 1, 12, 'expected x0 to x30 or sp'],
  ['nop\n\tmvm x0, x1', 2, 2, 'unknown instruction "mvm": did you mean mvn?'],
  ['b nowhere', 1, 3, '"nowhere" is not defined'],
  ['ldr x0, =nowhere', 1, 10, '"nowhere" is not defined'],
  ['add x0, x1, #5000', 1, 13, '5000 is neither 0 to 4095 nor a multiple of 4096'],
  ['add x0, x1, x2, lsl #64', 1, 17, 'a shift amount here is 0 to 63'],
  ['add w0, x1, w2', 1, 9, 'the registers are of one width'],
  ['mov x0, #0x12345', 1, 9, '0x12345 cannot be made by one instruction'],
  ['and x0, x1, #0', 1, 13, '0x0 is not a bitmask immediate'],
  ['a: nop\na: nop', 2, 1, 'label "a" is defined twice'],
  ['b .+0x8000000', 1, 3, 'the reach is 134217728'],
  ['b .+2', 1, 3, 'not a multiple of 4'],
  ['.word 1 +', 1, 7, 'expected a value'],
  ['.byte 256', 1, 7, '256 does not fit into 1 bytes'],
  ['.byte 1; nop', 1, 10, 'an instruction must be at a multiple of 4'],
  ['.bogus', 1, 1, 'unknown directive ".bogus"'],
  ['.org later\nlater:', 1, 6, '"later" is not defined before this line'],
  ['.ascii hello', 1, 8, 'expected a string in double quotes'],
  ['mrs x0, nosuch_el1', 1, 9, 'nosuch_el1 is not a system register'],
  ['ldr x0, [x1, #32768]', 1, 14, '32768 is not in'],
  ['add x0, x1, #4 / 0', 1, 13, 'division by zero'],
])('%j -> an error at line %i, column %i: %s', (text, line, column, message) => {
  let found: unknown;
  try {
    assemble(text);
  } catch (e) {
    found = e;
  }
  expect(found).toBeInstanceOf(AssemblyError);
  const [first] = (found as AssemblyError).diagnostics;
  expect(first?.message).toContain(message);
  expect([first?.line, first?.column]).toEqual([line, column]);
  expect((found as AssemblyError).message).toContain(`line ${line}, column ${column}: `);
});

it('several mistakes -> one error: all of them, in source order', () => {
  const text = 'foo\nnop\nbar\nb nowhere';
  expect(() => assemble(text)).toThrow(AssemblyError);
  try {
    assemble(text);
  } catch (e) {
    expect((e as AssemblyError).diagnostics.map((d) => d.line)).toEqual([1, 3, 4]);
  }
});
