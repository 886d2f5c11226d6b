/** Damaged stage 2 tables of the host: which guest pages cannot be translated without meeting the error. */
import type { Plain } from '@faultyard/core';

interface BadTable {
  readonly gfn: number;
  /** Level of the stage 2 walk, 0..3. */
  readonly level: number;
  /** ESR.S1PTW as the CPU reports it. */
  readonly s1ptw: boolean;
}

/** The damage of one VM; state. */
export class Stage2Tables {
  #bad: readonly BadTable[] = [];
  /** Whether there is any: asked on every slow access. */
  any = false;

  #set(bad: readonly BadTable[]): void {
    this.#bad = bad;
    this.any = bad.length > 0;
  }
  /** Damages the table that translates a gfn. */
  add(gfn: number, level: number, s1ptw: boolean): void {
    this.remove(gfn);
    this.#set([...this.#bad, { gfn, level, s1ptw }]);
  }
  /** Repairs it. */
  remove(gfn: number): void {
    this.#set(this.#bad.filter((b) => b.gfn !== gfn));
  }
  /** The damage a stage 2 walk for this gfn meets. */
  find(gfn: number): BadTable | undefined {
    return this.#bad.find((b) => b.gfn === gfn);
  }
  /** For cells. */
  save(): Plain {
    return this.#bad.map((b) => ({ ...b }));
  }
  /** For cells. */
  restore(v: Plain): void {
    this.#set((v as unknown as readonly BadTable[]).map((b) => ({ ...b })));
  }
}
