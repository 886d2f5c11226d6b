/** What the guest writes down: 64 bytes, a kind and up to seven values. */

/** Kinds of record. */
export const KIND = {
  /** An exception: vector, RIP, CPL, ECX, the two bytes at RIP, nothing, error code. */
  trap: 1,
  /** The poller found an error: bank, STATUS, ADDR, MISC. */
  poll: 2,
  /** The poller cleared it: bank, whether DESTAT was written too. */
  cleared: 3,
  panic: 4,
  /** #MC: MCG_STATUS, CPL, first valid bank or all ones, its STATUS, its ADDR, RIP. */
  machineCheck: 5,
  /** The handler gave up the interrupted program. */
  kill: 6,
  /** An interrupt: vector. */
  irq: 7,
  /** WRMSR went through: MSR, value. */
  wrote: 8,
  /** RDMSR did: MSR, value. */
  read: 9,
  /** The main program came to its end. */
  end: 10,
} as const;

/** A record; what the values mean depends on the kind ({@link KIND}). */
export interface GuestRecord {
  readonly kind: keyof typeof KIND;
  readonly values: readonly bigint[];
}

const NAMES = new Map(Object.entries(KIND).map(([name, n]) => [n as number, name as keyof typeof KIND]));

/** Takes a record apart; `undefined` for a kind that there is not. */
export function readRecord(bytes: Uint8Array): GuestRecord | undefined {
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = Array.from({ length: 8 }, (_, i) => v.getBigUint64(8 * i, true));
  const kind = NAMES.get(Number(words[0]));
  return kind && { kind, values: words.slice(1) };
}

/** A record as one line. */
export function showRecord(r: GuestRecord): string {
  return [r.kind, ...r.values.map((v) => v.toString(16))].join(' ');
}
