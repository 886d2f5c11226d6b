/** GNU binutils for x86, where they are installed: objdump's text of instructions, and what `as` makes of text. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { missing, output, run, scratch } from '@faultyard/testkit/oracle';
import type { Instance } from './instances.ts';

/** What is missing, or `undefined`. They must be those that know x86: on another machine `as` is another assembler. */
export function missingBinutils(): string | undefined {
  const why = missing('as', 'objdump', 'objcopy');
  if (why !== undefined) return why;
  const known = new TextDecoder().decode(run('objdump', ['--info']).stdout);
  return /i386/.test(known) ? undefined : 'objdump does not know i386';
}

/** Instances stand at multiples of this, so that one misread does not move the others. */
export const SLOT = 32;
const MACHINES = { 16: 'i8086', 32: 'i386', 64: 'x86-64' } as const;

/** objdump's text of each instance (instance i at address SLOT * i), and how long it takes it to be. All of one size. */
function objdump(all: readonly Instance[]): { readonly text: string; readonly length: number }[] {
  const bits = all[0]?.bits ?? 64;
  return scratch((dir) => {
    const bytes = Buffer.alloc(all.length * SLOT).fill(0x90);
    for (const [i, one] of all.entries()) bytes.set(one.bytes, i * SLOT);
    const file = join(dir, 'in.bin');
    writeFileSync(file, bytes);
    const args = ['-D', '-z', '-w', '-b', 'binary', '-m', 'i386', '-M', `intel,${MACHINES[bits]}`, file];
    const out = Buffer.from(output('objdump', args)).toString('latin1');
    const texts = all.map(() => ({ text: '', length: 0 }));
    for (const m of out.matchAll(/^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*(?:\t(.*))?$/gm)) {
      const at = Number.parseInt(m[1] ?? '', 16);
      if (at % SLOT !== 0) continue;
      texts[at / SLOT] = {
        text: (m[3] ?? '').replace(/\s+/g, ' ').trim(),
        length: (m[2] ?? '').trim().split(' ').length,
      };
    }
    return texts;
  });
}

/** Assembles each line by itself at SLOT times its index: its bytes, or the reason it was refused. */
function gnuAssemble(bits: 16 | 32 | 64, lines: readonly string[]): (Uint8Array | string)[] {
  return scratch((dir) => {
    const file = (name: string): string => join(dir, name);
    const refused = new Map<number, string>();
    const write = (): void =>
      writeFileSync(
        file('in.s'),
        `.intel_syntax noprefix\n.code${bits}\n${lines
          .map((t, i) => {
            const text = refused.has(i) ? 'nop' : t;
            return `.org ${i * SLOT};${text};.set L${i}, .-${i * SLOT}-.text;.org ${i * SLOT + SLOT - 1};.byte L${i}\n`;
          })
          .join('')}`,
      );
    const errors = (): string =>
      run('as', [`--${bits === 64 ? 64 : 32}`, '-o', file('out.o'), file('in.s')]).stderr;
    for (let tries = 0; ; tries++) {
      write();
      const found = [...errors().matchAll(/:(\d+): Error: (.*)/g)];
      for (const m of found) refused.set(Number(m[1]) - 3, m[2] ?? '');
      if (found.length === 0) break;
      if (tries > 5) throw new Error(`as still refuses: ${found[0]?.[0]}`);
    }
    output('objcopy', ['-O', 'binary', '-j', '.text', file('out.o'), file('out.bin')]);
    const bytes = readFileSync(file('out.bin'));
    return lines.map((_, i) => {
      const from = i * SLOT;
      return refused.get(i) ?? Uint8Array.from(bytes.subarray(from, from + (bytes[from + SLOT - 1] ?? 0)));
    });
  });
}

/** objdump's text as `as` and we take it: without comments, branch targets relative to `.` (`as` has no linker here). */
function assemblable(text: string, at: number): string {
  const plain = text.replace(/\s*#.*$/, '').trim();
  const m = /^((?:\w+ )*?(?:j\w+|call\w*|loop\w*|xbegin)(?:,p[nt])? )(0x[0-9a-f]+)$/.exec(plain);
  if (!m) return plain;
  const by = BigInt.asIntN(64, BigInt(m[2] ?? 0) - BigInt(at));
  return `${m[1]}.${by < 0n ? '' : '+'}${by}`;
}

/** Both tools' answers about instances of one size. */
export function answers(
  all: readonly Instance[],
): (Instance & { readonly text: string; readonly back: string })[] {
  const texts = objdump(all).map(({ text, length }, i) =>
    length === all[i]?.bytes.length ? assemblable(text, i * SLOT) : '',
  );
  const backs = gnuAssemble(
    all[0]?.bits ?? 64,
    texts.map((t) => t || 'nop'),
  );
  return all.map((one, i) => {
    const back = backs[i] ?? '';
    return {
      ...one,
      text: texts[i] ?? '',
      back: typeof back === 'string' ? `!${back}` : Buffer.from(back).toString('hex'),
    };
  });
}
