/** The guest's own records: what its vectors and its kernel wrote down, read back by the lab. */
import { AREA, RING } from './layout.ts';

/** Kinds of record, in bits 31:16 of a record's first word. */
export const NOTE = {
  /** An exception; the slot's offset is in bits 15:0. */
  trap: 0,
  /** A process was killed because of the exception in `esr`. */
  death: 1,
  /** The touching instruction completed. */
  past: 2,
  /** An abort at EL1 found a fixup, and the kernel went on there. */
  fixup: 3,
  /** An abort at EL1 found none. */
  dead: 4,
  /** `value` is ISR_EL1. */
  isr: 5,
  /** `value` is DISR_EL1. */
  disr: 6,
  /** Everything ended: `value` is the checksum of untouched memory, `far` the number of heartbeats. */
  finished: 7,
} as const;

/** Name of a kind. */
export type Note = keyof typeof NOTE;

/** One record. */
export interface TrapRecord {
  readonly note: Note;
  /** Offset of the vector's slot (`trap`). */
  readonly slot: number;
  /** ESR_EL1, or the value of the note. */
  readonly esr: bigint;
  readonly far: bigint;
  readonly elr: bigint;
  readonly spsr: bigint;
  readonly disr: bigint;
  /** Position among the CPU's records. */
  readonly seq: number;
}

const NAMES = Object.keys(NOTE) as Note[];

/**
 * Reads records `from`.. of a CPU out of its area.
 * @param read 8 bytes at an offset in the area
 */
export function readRecords(read: (offset: number) => bigint, from: number): readonly TrapRecord[] {
  const count = Math.min(Number(read(AREA.count)), RING);
  const out: TrapRecord[] = [];
  for (let n = from; n < count; n++) {
    const at = AREA.ring + n * AREA.recordSize;
    const kind = Number(read(at));
    out.push({
      note: NAMES[kind >>> 16] ?? 'trap',
      slot: kind & 0xffff,
      esr: read(at + 0x08),
      far: read(at + 0x10),
      elr: read(at + 0x18),
      spsr: read(at + 0x20),
      disr: read(at + 0x28),
      seq: Number(read(at + 0x30)),
    });
  }
  return out;
}

/** A record as one line. */
export function showRecord(r: TrapRecord): string {
  const h = (v: bigint): string => v.toString(16);
  return r.note === 'trap'
    ? `trap +${r.slot.toString(16)} esr=${h(r.esr)} far=${h(r.far)} elr=${h(r.elr)} spsr=${h(r.spsr)} disr=${h(r.disr)}`
    : `${r.note} ${h(r.esr)} ${h(r.far)}`;
}
