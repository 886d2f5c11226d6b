/** Memory as a hex dump, instructions as a listing. */
import { hex, PRINT, type PrintOptions } from './text.ts';

const PER_LINE = 16;

/** Bytes read from a guest, with the address they were read from. */
export class Dump {
  readonly gpa: bigint;
  readonly bytes: Uint8Array;

  constructor(gpa: bigint, bytes: Uint8Array) {
    this.gpa = gpa;
    this.bytes = bytes;
  }

  /** The lines of the dump: address, sixteen bytes, their characters; equal lines are folded into `*`. */
  lines(): string[] {
    const lines: string[] = [];
    let last = '';
    for (let at = 0; at < this.bytes.length; at += PER_LINE) {
      const row = this.bytes.subarray(at, at + PER_LINE);
      const digits = Array.from(row, (b) => b.toString(16).padStart(2, '0'));
      const groups = [digits.slice(0, 8).join(' '), digits.slice(8).join(' ')]
        .join('  ')
        .padEnd(3 * PER_LINE);
      const text = Array.from(row, (b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.')).join('');
      const isLast = at + PER_LINE >= this.bytes.length;
      if (groups === last && !isLast) {
        if (lines.at(-1) !== '*') lines.push('*');
      } else lines.push(`${hex(this.gpa + BigInt(at), 8)}  ${groups} |${text}|`);
      last = groups;
    }
    return lines;
  }

  [PRINT as never](): string {
    return this.lines().join('\n');
  }
}

/** One disassembled instruction. */
export interface Instruction {
  readonly pc: bigint;
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Disassembled instructions; the one at `mark` is the next to run. */
export class Listing {
  readonly instructions: readonly Instruction[];
  readonly encoding: 'word' | 'bytes' | undefined;
  readonly mark: bigint | undefined;

  constructor(instructions: readonly Instruction[], encoding?: 'word' | 'bytes', mark?: bigint) {
    this.instructions = instructions;
    this.encoding = encoding;
    this.mark = mark;
  }

  [PRINT as never](_depth: number, options: PrintOptions): string {
    const width = Math.max(8, ...this.instructions.map((i) => 2 * i.bytes.length));
    return this.instructions
      .map((i) => {
        // a word as the manual writes it: most significant byte first
        const digits = Array.from(i.bytes, (b) => b.toString(16).padStart(2, '0'));
        const code = (this.encoding === 'bytes' ? digits : digits.reverse()).join('');
        const here = i.pc === this.mark ? '>' : ' ';
        return `${here} ${options.stylize(hex(i.pc, 8), 'undefined')}  ${code.padEnd(width)}  ${i.text}`;
      })
      .join('\n');
  }
}
