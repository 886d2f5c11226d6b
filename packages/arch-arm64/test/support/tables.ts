/** Stage 1 tables as assembly text. */

/** log2 of a granule. */
export type Granule = 12 | 14 | 16;

/** A tree of translation tables under construction. */
export class Tables {
  readonly granule: Granule;
  readonly #stride: number;
  readonly #start: number;
  readonly #tables = new Map<string, Map<number, string>>();
  readonly #root: string;

  /** @param size bits of the input address, for the level the walk starts at */
  constructor(name: string, granule: Granule, size: number) {
    this.granule = granule;
    this.#stride = granule - 3;
    this.#start = 4 - Math.ceil((size - granule) / this.#stride);
    this.#root = name;
    this.#tables.set(name, new Map());
  }
  /** Level the walk starts at. */
  get start(): number {
    return this.#start;
  }
  #shift(level: number): number {
    return this.granule + this.#stride * (3 - level);
  }
  #index(va: number, level: number): number {
    return Math.floor(va / 2 ** this.#shift(level)) % 2 ** this.#stride;
  }
  /** Puts descriptor text `d` at `level` for `va`; tables in between get `bits` added to their descriptors. */
  set(va: number, level: number, d: string, bits = '0'): void {
    let at = this.#root;
    for (let l = this.#start; l < level; l++) {
      const i = this.#index(va, l);
      const next = `${at}_${i}`;
      const t = this.#tables.get(at) as Map<number, string>;
      if (!t.has(i)) t.set(i, `${next} + 3 + ${bits}`);
      at = next;
      if (!this.#tables.has(at)) this.#tables.set(at, new Map());
    }
    (this.#tables.get(at) as Map<number, string>).set(this.#index(va, level), d);
  }
  /** Assembly of all tables. */
  text(): string {
    let out = '';
    for (const [name, entries] of this.#tables) {
      out += `.balign ${2 ** this.granule}\n${name}:\n`;
      let at = 0;
      for (const i of [...entries.keys()].sort((a, b) => a - b)) {
        if (i > at) out += `.space ${(i - at) * 8}\n`;
        out += `.quad ${entries.get(i)}\n`;
        at = i + 1;
      }
      out += `.space ${(2 ** this.#stride - at) * 8}\n`;
    }
    return out;
  }
}
