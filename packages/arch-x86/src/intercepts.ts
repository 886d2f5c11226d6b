/** What plugins want to see of a vCPU's instructions: a set by name, per plugin. State (a cell). */
import type { Plain } from '@faultyard/core';
import type { InterceptName } from './points.ts';

/** The intercepts of one vCPU. */
export class Intercepts {
  readonly #by = new Map<string, ReadonlySet<InterceptName>>();
  #any: ReadonlySet<InterceptName> = new Set();
  readonly #changed: () => void;

  /** @param changed told of every change: some instructions leave generated code only while somebody wants them. */
  constructor(changed: () => void = () => undefined) {
    this.#changed = changed;
  }
  /** Sets what a plugin wants to see, in place of what it wanted before. */
  set(plugin: string, what: Iterable<InterceptName>): void {
    const wanted = new Set(what);
    if (wanted.size) this.#by.set(plugin, wanted);
    else this.#by.delete(plugin);
    this.#any = new Set([...this.#by.values()].flatMap((s) => [...s]));
    this.#changed();
  }
  /** What a plugin wants to see. */
  of(plugin: string): ReadonlySet<InterceptName> {
    return this.#by.get(plugin) ?? new Set();
  }
  /** Whether any plugin wants to see it. */
  has(what: InterceptName): boolean {
    return this.#any.has(what);
  }
  /** For cells. */
  save(): Plain {
    return Object.fromEntries([...this.#by].map(([plugin, s]) => [plugin, [...s].sort()]));
  }
  /** For cells. */
  restore(v: Plain): void {
    this.#by.clear();
    this.#any = new Set();
    for (const [plugin, s] of Object.entries(v as Readonly<Record<string, readonly InterceptName[]>>))
      this.set(plugin, s);
    this.#changed();
  }
}
