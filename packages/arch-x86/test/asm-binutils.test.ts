/** The assembler against GNU's, and both ways through our own disassembly: over every recorded instance. */
import { describe, expect, it } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { AssemblyError } from '../src/asm/assembly-error.ts';
import { disassemble } from '../src/asm/disassemble.ts';
import { answers, missingBinutils, SLOT } from './support/binutils.ts';
import { DIFFERENCES, type Difference } from './support/differences.ts';
import { instances } from './support/instances.ts';
import { type Recorded, readRecording } from './support/recording.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The bytes of one instruction in hex, or the first diagnostic. */
function one(text: string, bits: 16 | 32 | 64, origin: number): string {
  try {
    return hex(assemble(text, { bits, origin }).bytes);
  } catch (e) {
    if (e instanceof AssemblyError) return `!${e.diagnostics[0]?.message}`;
    throw e;
  }
}

const PREFIXES = new Set([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x26, 0x36, 0x3e, 0x64, 0x65]);

/** Legacy prefixes in one order. */
function ordered(code: string): string {
  const bytes = [...Buffer.from(code, 'hex')];
  const n = bytes.findIndex((b) => !PREFIXES.has(b));
  return hex(Uint8Array.from([...bytes.slice(0, n).sort(), ...bytes.slice(n)]));
}

/** The same instruction in another encoding of the same length. */
function equivalent(a: string, b: string, bits: 16 | 32 | 64): boolean {
  if (a.startsWith('!') || a.length !== b.length) return false;
  const text = (code: string): string | undefined => disassemble(Buffer.from(code, 'hex'), { bits })[0]?.text;
  return text(a) === text(b);
}

/** What is wrong with our bytes for objdump's text; marks the differences that explain something. */
function compare(all: readonly Recorded[], used: Set<Difference>): string[] {
  return all.flatMap(({ bits, text, back, index }) => {
    if (text === '' || back.startsWith('!')) return [];
    const ours = one(text, bits, index * SLOT);
    if (!ours.startsWith('!') && ordered(ours) === ordered(back)) return [];
    if (equivalent(ours, back, bits)) return [];
    const why = DIFFERENCES.find((d) => d.applies(text, bits));
    if (why) used.add(why);
    return why ? [] : [`${bits}: "${text}": ${ours}, as ${back}`];
  });
}

const recorded = readRecording();

it("every recorded instance -> assembling objdump's text: the bytes of GNU as, but for explained differences", () => {
  const used = new Set<Difference>();
  expect(compare(recorded, used).slice(0, 20)).toEqual([]);
  expect(DIFFERENCES.filter((d) => !used.has(d)).map((d) => d.why)).toEqual([]);
  const compared = recorded.filter((r) => r.text !== '' && !r.back.startsWith('!'));
  expect(compared.length / recorded.length).toBeGreaterThan(0.96);
});

it('every recorded instance -> assembling our own disassembly: no longer, and the same text again', () => {
  const wrong = recorded.flatMap(({ bits, bytes, index }) => {
    const ip = (index * SLOT) & 0x7fff;
    const text = disassemble(bytes, { bits, ip })[0]?.text ?? '';
    // the width of XBEGIN's displacement does not show below 64 bits
    if (text.startsWith('xbegin') && bits < 64) return [];
    const ours = one(text, bits, ip);
    if (ours === hex(bytes)) return [];
    if (ours.startsWith('!')) return [`${bits} ${hex(bytes)}: "${text}": ${ours}`];
    const back = disassemble(Buffer.from(ours, 'hex'), { bits, ip })[0]?.text;
    // a shorter form of a branch is "jmp short"
    const plain = (t: string): string =>
      t
        .replace(/^(bnd )?jmp short/, '$1jmp')
        .replace(/ #.*/, '')
        .replace(/\[(\w+)\*1/, '[$1')
        .replace('st(0), st', 'st, st(0)');
    const same = back !== undefined && plain(back) === plain(text) && ours.length <= bytes.length * 2;
    return same ? [] : [`${bits} ${hex(bytes)}: "${text}": ${ours}, which is "${back}"`];
  });
  expect(wrong.slice(0, 20)).toEqual([]);
});

const why = missingBinutils();
describe.skipIf(why !== undefined)(`GNU binutils${why ? ` (skipped: ${why})` : ''}`, () => {
  it.each([16, 32, 64] as const)(
    '%i-bit instances of another seed -> as and our assembler: the same bytes',
    (bits) => {
      const all = answers(instances(bits, 77, 100_000, 1));
      const wrong = compare(
        all.map((a, index) => ({ ...a, index })),
        new Set(),
      );
      expect(wrong.slice(0, 20)).toEqual([]);
    },
  );
});
