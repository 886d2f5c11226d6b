/**
 * Which frames of a host hold predecoded code, and whom to tell when they are written. There is one record for a
 * host, however many engines run on it: a store by one engine's vCPU drops the records of all.
 */
import type { EngineHost } from './host.ts';

/** An engine's interest in code frames. */
export interface CodeOwner {
  /** `size` bytes at offset `at` of the frame were written. */
  wrote(frame: number, at: number, size: number): void;
  /** The frame became one that holds code: no write translation to it may remain. */
  dropWrites(frame: number): void;
}

/** Code frames of one host. */
export class CodeFrames {
  /** Number of predecoded pages by frame number (offset / 4096). */
  readonly counts: Uint8Array;
  readonly #owners: Set<CodeOwner> = new Set();
  readonly #host: EngineHost;

  constructor(host: EngineHost) {
    this.#host = host;
    this.counts = new Uint8Array(host.memory.buffer.byteLength / 4096);
  }
  /** Adds an engine. */
  join(o: CodeOwner): void {
    this.#owners.add(o);
  }
  /** One more predecoded page of the frame. */
  add(frame: number): void {
    const n = frame / 4096;
    this.counts[n] = (this.counts[n] ?? 0) + 1;
    if (this.counts[n] !== 1) return;
    for (const o of this.#owners) o.dropWrites(frame);
    this.#host.setCode(frame, true);
  }
  /** One less. */
  remove(frame: number): void {
    const n = frame / 4096;
    this.counts[n] = (this.counts[n] ?? 1) - 1;
    if (this.counts[n] === 0) this.#host.setCode(frame, false);
  }
  /** Whether the frame holds code. */
  has(frame: number): boolean {
    return (this.counts[frame / 4096] ?? 0) > 0;
  }
  /** Tells everyone that a code frame was written. */
  wrote(frame: number, at: number, size: number): void {
    for (const o of this.#owners) o.wrote(frame, at, size);
  }
}

const known: WeakMap<EngineHost, CodeFrames> = new WeakMap();

/** The code frames of a host: one object for its lifetime. */
export function codeFrames(host: EngineHost): CodeFrames {
  let c = known.get(host);
  if (!c) {
    c = new CodeFrames(host);
    known.set(host, c);
  }
  return c;
}
