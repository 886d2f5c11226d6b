/** Disassembly of every recorded instance against GNU objdump, and live against capstone. */
import MCapstone from '@alexaltea/capstone-js';
import { expect, it } from 'vitest';
import { disassemble } from '../src/asm/disassemble.ts';
import { standardTable } from '../src/isa/forms.ts';
import { CAPSTONE, capstoneText, type Disassembler, listedOut } from './support/capstone.ts';
import { explained, OBJDUMP_TEXT } from './support/differences.ts';
import { normalise } from './support/gnu.ts';
import { formsOf, instances } from './support/instances.ts';
import { readInstances } from './support/recording.ts';

const table = standardTable();
const recorded = readInstances();

it('every form -> recording: 50 instances, or all the form has', () => {
  const words = new Set(recorded.map((r) => r.word));
  const short = formsOf(table).flatMap((form) => {
    const wanted = Math.min(50, instances(form, 1).length);
    const split = form.row.pattern.fields.filter((f) => form.values[f.name] !== undefined);
    let have = 0;
    for (const word of words) {
      if (((word & form.row.pattern.mask) ^ form.row.pattern.value) !== 0) continue;
      if (split.every((f) => ((word >>> f.pos) & (2 ** f.width - 1)) === form.values[f.name])) have++;
      if (have >= wanted) break;
    }
    return have >= wanted ? [] : [`${form.name}: ${have} of ${wanted}`];
  });
  expect(short, 'run test/tools/record-binutils.ts').toEqual([]);
});

it('every recorded instance -> disassembly: the text of GNU objdump, but for the explained differences', () => {
  const needed = new Set<unknown>();
  const wrong: string[] = [];
  for (const [i, { word, text }] of recorded.entries()) {
    const ours = normalise(disassemble(table, word, BigInt(i * 4)));
    if (ours === normalise(text)) continue;
    const why = explained(OBJDUMP_TEXT, word);
    if (why) needed.add(why);
    else wrong.push(`${word.toString(16)}: "${ours}", objdump "${text}"`);
  }
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(OBJDUMP_TEXT.filter((d) => !needed.has(d)).map((d) => d.why)).toEqual([]);
});

it('every recorded instance -> disassembly: the text of capstone, but for the explained differences', async () => {
  const capstone = (await MCapstone()) as {
    Capstone: new (arch: number, mode: number) => Disassembler;
    ARCH_ARM64: number;
    MODE_ARM: number;
  };
  const engine = new capstone.Capstone(capstone.ARCH_ARM64, capstone.MODE_ARM);
  const needed = new Set<unknown>();
  const wrong: string[] = [];
  for (const [i, { word }] of recorded.entries()) {
    const ours = listedOut(normalise(disassemble(table, word, BigInt(i * 4))));
    const theirs = capstoneText(engine, word, i * 4);
    if (ours === theirs) continue;
    const why = explained(CAPSTONE, word);
    if (why) needed.add(why);
    else wrong.push(`${word.toString(16)}: "${ours}", capstone "${theirs}"`);
  }
  engine.close();
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(CAPSTONE.filter((d) => !needed.has(d)).map((d) => d.why)).toEqual([]);
});

it('an unallocated word -> disassembly: .inst with the word', () => {
  expect(disassemble(table, 0xffffffff)).toBe('.inst 0xffffffff');
});
