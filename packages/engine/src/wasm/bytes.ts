/** A growing byte buffer with the variable-length integers of the WebAssembly binary format (core spec 5.2.2). */
export class Bytes {
  #data: Uint8Array = new Uint8Array(64);
  #length = 0;

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }
  /** What was written; a view that is valid until the next write. */
  view(): Uint8Array {
    return this.#data.subarray(0, this.#length);
  }
  /** Appends one byte. */
  u8(v: number): void {
    if (this.#length === this.#data.length) this.#reserve(1);
    this.#data[this.#length++] = v;
  }
  /** Appends an unsigned 32-bit integer in LEB128. */
  u32(v: number): void {
    let n = v >>> 0;
    while (n >= 128) {
      this.u8((n & 127) | 128);
      n >>>= 7;
    }
    this.u8(n);
  }
  /** Appends a signed 32-bit integer in LEB128. */
  s32(v: number): void {
    this.s64(v | 0, v >> 31);
  }
  /** Appends a signed 64-bit integer, given as two int32 halves, in LEB128. */
  s64(low: number, high: number): void {
    let lo = low | 0;
    let hi = high | 0;
    for (;;) {
      const group = lo & 127;
      const sign = (group & 64) !== 0;
      lo = (lo >>> 7) | (hi << 25);
      hi >>= 7;
      if ((lo === 0 && hi === 0 && !sign) || (lo === -1 && hi === -1 && sign)) {
        this.u8(group);
        return;
      }
      this.u8(group | 128);
    }
  }
  /** Appends raw bytes. */
  bytes(b: Uint8Array): void {
    if (this.#length + b.length > this.#data.length) this.#reserve(b.length);
    this.#data.set(b, this.#length);
    this.#length += b.length;
  }
  /** Appends a name: its length and its (ASCII) characters. */
  name(s: string): void {
    this.u32(s.length);
    for (let i = 0; i < s.length; i++) this.u8(s.charCodeAt(i));
  }
  #reserve(n: number): void {
    const bigger = new Uint8Array(Math.max(this.#data.length * 2, this.#length + n));
    bigger.set(this.view());
    this.#data = bigger;
  }
}
