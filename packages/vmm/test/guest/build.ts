/** Builds the multiboot kernel with the system's gcc and binutils, where they make code for x86. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missing, output } from '@faultyard/testkit/oracle';

/** What is missing to build it, or `undefined`. */
export function missingTools(): string | undefined {
  const why = missing('gcc', 'ld', 'objcopy');
  if (why !== undefined) return why;
  const machine = new TextDecoder().decode(output('gcc', ['-dumpmachine'])).trim();
  return machine.startsWith('x86_64') ? undefined : `gcc makes code for ${machine}`;
}

/**
 * Builds the kernel into `dir`; returns the path of the ELF32 file. Its 64-bit code is linked as ELF64 and rewritten, as
 * multiboot loaders take ELF32 only.
 */
export function buildKernel(dir: string): string {
  const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
  const file = (name: string): string => join(dir, name);
  const flags = [
    '-m64',
    '-ffreestanding',
    '-fno-pic',
    '-mno-red-zone',
    '-mgeneral-regs-only',
    '-Os',
    '-Wall',
  ];
  const safe = ['-fno-stack-protector', '-fcf-protection=none', '-fno-asynchronous-unwind-tables', '-Werror'];
  for (const name of ['boot.S', 'main.c'])
    output('gcc', [...flags, ...safe, '-c', '-o', file(`${name}.o`), source(name)]);
  const link = ['-m', 'elf_x86_64', '-z', 'max-page-size=4096', '--build-id=none', '--no-warn-rwx-segments'];
  output('ld', [
    ...link,
    '-T',
    source('link.ld'),
    '-o',
    file('kernel64'),
    file('boot.S.o'),
    file('main.c.o'),
  ]);
  output('objcopy', ['-O', 'elf32-i386', '--strip-debug', file('kernel64'), file('kernel')]);
  return file('kernel');
}
