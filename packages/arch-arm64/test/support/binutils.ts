/** GNU binutils for AArch64, where they are installed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { missing, output, run, scratch } from '@faultyard/testkit/oracle';

/** Whether `aarch64-linux-gnu-as`, `-objdump` and `-objcopy` run here. */
export function hasBinutils(): boolean {
  return (
    missing('aarch64-linux-gnu-as', 'aarch64-linux-gnu-objdump', 'aarch64-linux-gnu-objcopy') === undefined
  );
}

function inFolder<T>(work: (file: (name: string) => string) => T): T {
  return scratch((dir) => work((name) => join(dir, name)));
}

/** objdump's text of each word; word i is at address 4 * i. */
export function objdump(words: ArrayLike<number>): string[] {
  return inFolder((file) => {
    const bytes = Buffer.alloc(words.length * 4);
    for (let i = 0; i < words.length; i++) bytes.writeUInt32LE((words[i] ?? 0) >>> 0, i * 4);
    writeFileSync(file('in.bin'), bytes);
    const args = ['-D', '-z', '-b', 'binary', '-m', 'aarch64', file('in.bin')];
    const out = Buffer.from(output('aarch64-linux-gnu-objdump', args)).toString('latin1');
    const texts = [...out.matchAll(/^\s*[0-9a-f]+:\s+[0-9a-f]{8}\s+(.*)$/gm)].map((m) => (m[1] ?? '').trim());
    if (texts.length !== words.length)
      throw new Error(`objdump gave ${texts.length} lines for ${words.length} words`);
    return texts;
  });
}

/**
 * Assembles each line by itself with `as`: its word, or the reason it was refused. ADRP is a relocation and gives the
 * word with a zero immediate.
 */
export function assembleLines(arch: string, lines: readonly string[]): (number | string)[] {
  return inFolder((file) => {
    const results: (number | string)[] = lines.map(() => 0);
    const write = (): void =>
      writeFileSync(
        file('in.s'),
        `.arch ${arch}\n${lines.map((t, i) => (typeof results[i] === 'string' ? 'nop' : t)).join('\n')}\n`,
      );
    const refusals = (): string => run('aarch64-linux-gnu-as', ['-o', file('out.o'), file('in.s')]).stderr;
    write();
    for (const m of refusals().matchAll(/:(\d+): Error: (.*)/g)) results[Number(m[1]) - 2] = m[2] ?? '';
    write();
    const left = [...refusals().matchAll(/:(\d+): Error: (.*)/g)];
    if (left.length > 0) throw new Error(`as still refuses: ${left[0]?.[0]}`);
    output('aarch64-linux-gnu-objcopy', ['-O', 'binary', '-j', '.text', file('out.o'), file('out.bin')]);
    const bytes = readFileSync(file('out.bin'));
    return results.map((r, i) => (typeof r === 'string' ? r : bytes.readUInt32LE(i * 4)));
  });
}

/** The subset of the architecture that the default model has, as `.arch` names it. */
export const ARCH = 'armv8-a+crc+lse+pan+ras+fp+simd';
/** Everything the disassembler has a name for (BFC, hints of later architectures). */
export const ARCH_NAMES = 'armv8.5-a+crc+lse+pan+ras+memtag+profile';
