/**
 * The recorded results: what differs from each case's start, in few bytes. The cases themselves are made again by
 * `user-cases.ts`; a hash over every form's cases tells when they are no longer those that were recorded.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { hashBytes } from './random.ts';
import {
  FLAGS_KEPT,
  type UserCase,
  type UserFault,
  type UserResult,
  type UserState,
  WINDOW,
} from './user-world.ts';

const file = new URL('../data/user-vectors.bin.br', import.meta.url);

/** Results of a form's cases. */
export interface FormVectors {
  readonly form: string;
  /** {@link hashCases} of the cases when they were recorded. */
  readonly hash: number;
  readonly results: readonly UserResult[];
}

/** A number for everything that the cases start from. */
export function hashCases(cases: readonly UserCase[]): number {
  let h = 0x811c9dc5;
  for (const c of cases) {
    h = hashBytes(c.bytes, h ^ c.env.number);
    h = hashBytes(new Uint8Array(c.start.gpr.buffer), h ^ c.start.flags);
    h = hashBytes(new Uint8Array(new BigUint64Array([c.start.rip]).buffer), h);
    if (c.start.xmm) h = hashBytes(c.start.xmm, h);
    for (const p of c.pokes) h = hashBytes(p.bytes, h ^ p.at);
  }
  return h;
}

/** Bits of a result's first byte. */
const HAS = { Fault: 1, Rip: 2, Flags: 4, Registers: 8, Vectors: 16, Window: 32 } as const;

class Writer {
  readonly bytes: number[] = [];
  varint(v: number): void {
    let rest = v;
    while (rest > 127) {
      this.bytes.push((rest & 127) | 128);
      rest = Math.floor(rest / 128);
    }
    this.bytes.push(rest);
  }
  /** A 64-bit two's complement number, in as few bytes as hold it: their number in the first. */
  number(v: bigint): void {
    const data = new BigUint64Array([v]);
    const bytes = new Uint8Array(data.buffer);
    let n = 8;
    while (n > 0 && BigInt.asUintN(64, BigInt.asIntN((n - 1) * 8, v)) === v) n--;
    this.bytes.push(n, ...bytes.subarray(0, n));
  }
  raw(bytes: Iterable<number>): void {
    this.bytes.push(...bytes);
  }
}

class Reader {
  at = 0;
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  byte(): number {
    return this.bytes[this.at++] ?? 0;
  }
  varint(): number {
    let v = 0;
    for (let scale = 1; ; scale *= 128) {
      const b = this.byte();
      v += (b & 127) * scale;
      if (b < 128) return v;
    }
  }
  number(): bigint {
    const n = this.byte();
    const data = new Uint8Array(8);
    data.set(this.raw(n));
    if (n > 0 && (data[n - 1] ?? 0) > 127) data.fill(255, n);
    return new BigUint64Array(data.buffer)[0] ?? 0n;
  }
  raw(n: number): Uint8Array {
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }
}

/** CF PF AF ZF SF DF OF as 7 bits. */
const KEPT = Array.from({ length: 12 }, (_, i) => 1 << i).filter((bit) => FLAGS_KEPT & bit);
const packFlags = (f: number): number => KEPT.reduce((n, bit, i) => n | (f & bit ? 1 << i : 0), 0);
const unpackFlags = (n: number): number => KEPT.reduce((f, bit, i) => f | (n & (1 << i) ? bit : 0), 0);

function nextRip(c: UserCase): bigint {
  return c.start.rip + BigInt(c.bytes.length);
}

function writeResult(w: Writer, c: UserCase, r: UserResult): void {
  const { start } = c;
  const [from, to] = [start, r.state];
  const registers = [...to.gpr.keys()].filter((n) => to.gpr[n] !== from.gpr[n]);
  const rip = r.fault ? from.rip : nextRip(c);
  const vectors = vectorsChanged(from, to);
  const head =
    (r.fault ? HAS.Fault : 0) |
    (to.rip !== rip ? HAS.Rip : 0) |
    (to.flags !== from.flags ? HAS.Flags : 0) |
    (registers.length ? HAS.Registers : 0) |
    (vectors.length ? HAS.Vectors : 0) |
    (r.window.size ? HAS.Window : 0);
  w.raw([head]);
  if (r.fault) {
    w.raw([r.fault.vector]);
    w.varint(r.fault.error);
    if (r.fault.vector === 14) w.number(BigInt.asUintN(64, r.fault.address - BigInt(WINDOW)));
  }
  if (head & HAS.Rip) w.number(BigInt.asUintN(64, to.rip - rip));
  if (head & HAS.Flags) w.raw([packFlags(to.flags ^ from.flags)]);
  if (head & HAS.Registers) {
    w.varint(registers.reduce((mask, n) => mask | (1 << n), 0));
    for (const n of registers) w.number(to.gpr[n] ?? 0n);
  }
  if (head & HAS.Vectors) {
    w.varint(vectors.reduce((mask, n) => mask | (1 << n), 0));
    for (const n of vectors) w.raw(to.xmm?.subarray(16 * n, 16 * n + 16) ?? []);
  }
  if (head & HAS.Window) writeWindow(w, r.window);
}

function vectorsChanged(from: UserState, to: UserState): number[] {
  const [a, b] = [from.xmm, to.xmm];
  if (!a || !b) return [];
  const part = (v: Uint8Array, n: number): Uint8Array => v.subarray(16 * n, 16 * n + 16);
  return Array.from({ length: 16 }, (_, n) => n).filter((n) => Buffer.compare(part(a, n), part(b, n)) !== 0);
}

/** Runs of changed bytes: how many, then distance from the last one's end, length and bytes of each. */
function writeWindow(w: Writer, window: ReadonlyMap<number, number>): void {
  const runs: { at: number; bytes: number[] }[] = [];
  for (const [at, byte] of window) {
    const last = runs.at(-1);
    if (last && last.at + last.bytes.length === at) last.bytes.push(byte);
    else runs.push({ at, bytes: [byte] });
  }
  w.varint(runs.length);
  let end = 0;
  for (const { at, bytes } of runs) {
    w.varint(at - end);
    w.varint(bytes.length);
    w.raw(bytes);
    end = at + bytes.length;
  }
}

function readResult(r: Reader, c: UserCase): UserResult {
  const { start } = c;
  const head = r.byte();
  let fault: UserFault | undefined;
  if (head & HAS.Fault) {
    const vector = r.byte();
    const error = r.varint();
    fault = { vector, error, address: vector === 14 ? BigInt.asUintN(64, r.number() + BigInt(WINDOW)) : 0n };
  }
  let rip = fault ? start.rip : nextRip(c);
  if (head & HAS.Rip) rip = BigInt.asUintN(64, rip + r.number());
  const flags = start.flags ^ (head & HAS.Flags ? unpackFlags(r.byte()) : 0);
  const gpr = start.gpr.slice();
  const registers = head & HAS.Registers ? r.varint() : 0;
  for (let n = 0; n < 16; n++) if (registers & (1 << n)) gpr[n] = r.number();
  const xmm = start.xmm?.slice();
  const vectors = head & HAS.Vectors ? r.varint() : 0;
  for (let n = 0; n < 16; n++) if (vectors & (1 << n)) xmm?.set(r.raw(16), 16 * n);
  const window = new Map<number, number>();
  const runs = head & HAS.Window ? r.varint() : 0;
  for (let k = 0, at = 0; k < runs; k++) {
    at += r.varint();
    for (const byte of r.raw(r.varint())) window.set(at++, byte);
  }
  return { fault, state: { gpr, rip, flags, xmm }, window };
}

/** Writes the file; returns its size. */
export function writeVectors(
  forms: readonly (FormVectors & { readonly cases: readonly UserCase[] })[],
): number {
  const w = new Writer();
  const parts: Uint8Array[] = [];
  for (const f of forms) {
    const name = Buffer.from(f.form);
    w.varint(name.length);
    w.raw(name);
    w.varint(f.hash);
    w.varint(f.cases.length);
    for (const [i, c] of f.cases.entries()) writeResult(w, c, f.results[i] as UserResult);
    parts.push(Uint8Array.from(w.bytes.splice(0)));
  }
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  const packed = brotliCompressSync(Buffer.concat(parts), { params });
  writeFileSync(file, packed);
  return packed.length;
}

/** Reads the file's next form with its cases; they must be those that were recorded. */
export type CasesOf = (form: string) => readonly UserCase[];

/**
 * The recorded forms one after the other.
 * @throws Error when a form's cases are no longer those that were recorded.
 */
export function* readVectors(
  casesOf: CasesOf,
): Generator<FormVectors & { readonly cases: readonly UserCase[] }> {
  const r = new Reader(brotliDecompressSync(readFileSync(file)));
  while (r.at < r.bytes.length) {
    const form = Buffer.from(r.raw(r.varint())).toString();
    const hash = r.varint();
    const count = r.varint();
    const cases = casesOf(form);
    if (cases.length !== count || hashCases(cases) !== hash)
      throw new Error(`${form}: its cases have changed; record again with tools/record-user-vectors.ts`);
    const results = cases.map((c) => readResult(r, c));
    yield { form, hash, cases, results };
  }
}
