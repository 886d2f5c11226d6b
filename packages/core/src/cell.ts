/** Cells: named, versioned state. A snapshot is a fold over cells (architecture: decision 5). */

/** Plain data: what a cell's value may be made of. */
export type Plain =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Plain[]
  | { readonly [key: string]: Plain };

/** An accessor to one piece of state. What it reads is the canonical architectural value. */
export interface Cell<T extends Plain = Plain> {
  /** `<package>.<name>`, per vCPU `<package>.<name>#<n>`. */
  readonly name: string;
  /** Layout version; restore refuses another. */
  readonly version: number;
  /** `guest` state is hashed; `vmm` state (device models, handler counters) is saved with it and hashed apart. */
  readonly side: 'guest' | 'vmm';
  /** The value now; plain data that later changes do not reach. */
  read(): T;
  /** Takes a value that {@link read} of the same version gave. */
  write(v: T): void;
}

/** Feeds plain data to a hash in a canonical order (keys sorted, types tagged). */
export function digest(v: Plain, feed: (word: number) => void): void {
  const text = (s: string): void => {
    feed(s.length);
    for (let i = 0; i < s.length; i++) feed(s.charCodeAt(i));
  };
  if (v === null) feed(0x6e);
  else if (typeof v === 'boolean') feed(v ? 0x74 : 0x66);
  else if (typeof v === 'number') {
    feed(0x64);
    text(Object.is(v, -0) ? '-0' : String(v));
  } else if (typeof v === 'bigint') {
    feed(0x69);
    text(v.toString(16));
  } else if (typeof v === 'string') {
    feed(0x73);
    text(v);
  } else if (v instanceof Uint8Array) {
    feed(0x62);
    feed(v.length);
    for (const b of v) feed(b);
  } else if (Array.isArray(v)) {
    feed(0x61);
    feed(v.length);
    for (const e of v as readonly Plain[]) digest(e, feed);
  } else {
    const o = v as { readonly [key: string]: Plain };
    feed(0x6f);
    for (const k of Object.keys(o).sort()) {
      text(k);
      digest(o[k] as Plain, feed);
    }
  }
}

/** A 64-bit FNV-like hash as 16 hex digits, from two independent 32-bit lanes. */
export class StateHash {
  #a = 0x811c9dc5;
  #b = 0x2f0b4a27;
  /** Adds a 32-bit word. */
  readonly feed = (w: number): void => {
    this.#a = Math.imul(this.#a ^ w, 0x01000193);
    this.#b = Math.imul(this.#b ^ (w + (this.#a >>> 15)), 0x85ebca6b);
    this.#b ^= this.#b >>> 13;
  };
  /** 16 hex digits. */
  hex(): string {
    const h = (n: number): string => (n >>> 0).toString(16).padStart(8, '0');
    return h(this.#a) + h(this.#b);
  }
}
