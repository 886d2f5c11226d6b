/**
 * Records what GNU binutils say about every instance of every form, and which words of the sweep they know.
 * Run in this folder's package: `node --import tsx --conditions=@faultyard/source test/tools/record-binutils.ts`.
 */
import { standardTable } from '../../src/isa/forms.ts';
import { ARCH, ARCH_NAMES, assembleLines, objdump } from '../support/binutils.ts';
import { relocatable } from '../support/gnu.ts';
import { formsOf, instances } from '../support/instances.ts';
import { SWEEP, writeInstances, writeSweep } from '../support/recording.ts';
import { sweepWords } from '../support/sweep.ts';

const words = formsOf(standardTable()).flatMap((form) => instances(form, 1));
const texts = objdump(words);
const lines = texts.map((text, i) => relocatable(text, BigInt(i * 4)));
const back = assembleLines(ARCH_NAMES, lines.map(asmSource));
writeInstances(
  words.map((word, i) => ({
    word,
    text: (texts[i] ?? '').replace(/\s+/g, ' ').replace(/ ?\/\/.*$/, ''),
    // `as` leaves the page to the linker: what it could not know is not compared.
    back: lines[i]?.startsWith('adrp') ? word : (back[i] ?? ''),
  })),
);
console.log(`${words.length} instances`);

const sweep = sweepWords(SWEEP.seed, SWEEP.count);
const bits = new Uint8Array(SWEEP.count / 8);
const chunk = 500_000;
for (let from = 0; from < SWEEP.count; from += chunk) {
  const part = sweep.subarray(from, from + chunk);
  const known = objdump(part);
  const verdicts = assembleLines(
    ARCH,
    known.map((text, i) => asmSource(relocatable(text, BigInt(i * 4)))),
  );
  for (let i = 0; i < part.length; i++) {
    const fpArithmetic = (((part[i] ?? 0) >>> 25) & 7) === 7;
    if (typeof verdicts[i] === 'string' || fpArithmetic) continue;
    const at = from + i;
    bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  }
}
writeSweep(bits);
console.log(`${SWEEP.count} words of the sweep`);

/** What is fed to `as`: a page address is any symbol; an undefined word is something it refuses. */
function asmSource(text: string): string {
  if (text.startsWith('adrp')) return text.replace(/0x[0-9a-f]+$/, '.');
  return text.startsWith('.inst') ? 'undefined' : text;
}
