/** A port for bare-metal guests: records of words, text, and a way to end the run. */
import { type Cell, type Plain, stop, type Verdict } from '@faultyard/core';
import type { MmioDevice } from './bus.ts';

/** Registers of the port, as byte offsets. All are stores of 8 bytes or fewer; loads read zero. */
export const DebugPortRegister = {
  /** Appends a word to the record under way. */
  word: 0x00,
  /** Ends the record: `tag` names what it is. */
  end: 0x08,
  /** Writes one character of text. */
  text: 0x10,
  /** Ends the run; the drive stops with `guest exit <status>`. */
  exit: 0x18,
} as const;

/** One record as the guest made it. */
export interface GuestRecord {
  readonly tag: bigint;
  readonly words: readonly bigint[];
}

/** The port. Plug it into the bus, and `vm.keep(port.cell)`. */
export class DebugPort implements MmioDevice {
  readonly name: string;
  readonly gpa: number;
  readonly size = 0x1000;
  #records: GuestRecord[] = [];
  #words: bigint[] = [];
  #text = '';

  constructor(gpa: number, name: string = 'debug-port') {
    this.gpa = gpa;
    this.name = name;
  }
  /** Finished records, oldest first. */
  get records(): readonly GuestRecord[] {
    return this.#records;
  }
  /** Text so far. */
  get text(): string {
    return this.#text;
  }
  load(): number {
    return 0;
  }
  store(offset: number, _size: number, value: bigint): Verdict | undefined {
    switch (offset) {
      case DebugPortRegister.word:
        this.#words.push(value);
        return undefined;
      case DebugPortRegister.end:
        this.#records.push({ tag: value, words: this.#words });
        this.#words = [];
        return undefined;
      case DebugPortRegister.text:
        this.#text += String.fromCharCode(Number(value & 0xffn));
        return undefined;
      case DebugPortRegister.exit:
        return stop(`guest exit ${value}`);
      default:
        return undefined;
    }
  }
  /** State that snapshots keep. */
  get cell(): Cell {
    return {
      name: `vmm.${this.name}`,
      version: 1,
      side: 'vmm',
      read: (): Plain => ({
        records: this.#records.map((r) => ({ tag: r.tag, words: [...r.words] })),
        words: [...this.#words],
        text: this.#text,
      }),
      write: (v) => {
        const s = v as unknown as { records: GuestRecord[]; words: bigint[]; text: string };
        this.#records = s.records.map((r) => ({ tag: r.tag, words: [...r.words] }));
        this.#words = [...s.words];
        this.#text = s.text;
      },
    };
  }
}
