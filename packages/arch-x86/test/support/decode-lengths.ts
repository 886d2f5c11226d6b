/** How long instructions are: to our decoder, and to GNU objdump. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DecodeSite } from '@faultyard/engine';
import { output, scratch } from '@faultyard/testkit/oracle';
import { x86Isa } from '../../src/isa/isa.ts';
import { Mode, RECORD_SIZE } from '../../src/isa/layout.ts';

const MACHINES = { 16: 'i8086', 32: 'i386', 64: 'x86-64' } as const;
const MODES = { 16: Mode.Code16, 32: Mode.Code32, 64: Mode.Code64 } as const;
const PAGE = 4096;
const RECORD = PAGE;

/** Our decoder on bytes at hand. */
export class LengthDecoder {
  readonly #isa = x86Isa();
  readonly #site: DecodeSite;
  readonly #u8: Uint8Array;
  readonly #out = { handler: 0 };

  constructor() {
    const memory = new ArrayBuffer(PAGE + RECORD_SIZE);
    this.#u8 = new Uint8Array(memory);
    this.#site = {
      dv: new DataView(memory),
      u8: this.#u8,
      i32: new Int32Array(memory),
      code: 0,
      avail: PAGE,
      offset: 0,
      record: RECORD,
      mode: 0,
    };
  }
  /** Length of the instruction that `bytes` begin with (at most 15 are looked at); 0 if they end too soon. */
  length(bits: 16 | 32 | 64, bytes: Uint8Array): number {
    const some = bytes.subarray(0, 15);
    this.#u8.set(some);
    this.#site.avail = some.length;
    this.#site.mode = MODES[bits];
    return this.#isa.decode(this.#site, this.#out);
  }
}

/** The code of an ELF file as objdump reads it: bytes of one instruction after the other. */
export function objdumpCode(file: string): Uint8Array[] {
  const args = ['-d', '-z', '-w', '-j', '.text', file];
  const text = Buffer.from(output('objdump', args, { timeout: 120_000 })).toString('latin1');
  return [...text.matchAll(/^ *[0-9a-f]+:\t((?:[0-9a-f]{2} )+)/gm)].map((m) =>
    Buffer.from((m[1] ?? '').replaceAll(' ', ''), 'hex'),
  );
}

/** Where objdump finds instructions in bytes that it reads from their first on. */
export function objdumpStarts(bits: 16 | 32 | 64, bytes: Uint8Array): number[] {
  return scratch((dir) => {
    const file = join(dir, 'in.bin');
    writeFileSync(file, bytes);
    const args = [
      '-D',
      '-z',
      '-w',
      '--no-show-raw-insn',
      '-b',
      'binary',
      '-m',
      'i386',
      '-M',
      MACHINES[bits],
      file,
    ];
    const text = Buffer.from(output('objdump', args, { timeout: 120_000 })).toString('latin1');
    return [...text.matchAll(/^ *([0-9a-f]+):/gm)].map((m) => Number.parseInt(m[1] ?? '', 16));
  });
}
