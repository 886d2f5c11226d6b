/** Virtual time, derived from retired instructions, never from the wall clock (architecture: decision 6). */

/** A deadline somebody registered. */
export interface Deadline {
  /** Virtual nanoseconds. */
  readonly when: number;
  /** Called when time has come; must be deterministic. */
  readonly fire: () => void;
  /** Stable key that orders equal times: `<who>#<vcpu>`. */
  readonly key: string;
}

/** The VM's clock. 1 retired instruction = `nsPerInstruction` virtual nanoseconds. */
export class Clock {
  readonly nsPerInstruction: number;
  #now = 0;
  #due = Infinity;
  readonly #deadlines = new Map<string, Deadline>();
  constructor(nsPerInstruction: number = 1) {
    this.nsPerInstruction = nsPerInstruction;
  }
  /** Virtual nanoseconds since the VM was made. */
  get now(): number {
    return this.#now;
  }
  /** Virtual nanoseconds of the earliest deadline; Infinity when there is none. */
  get due(): number {
    return this.#due;
  }
  /** Moves time forward (never back) and fires what is due, in order of time, then key. */
  advanceTo(t: number): void {
    while (this.#due <= t) {
      const d = this.next() as Deadline;
      if (d.when > this.#now) this.#now = d.when;
      this.disarm(d.key);
      d.fire();
    }
    if (t > this.#now) this.#now = t;
  }
  /** Sets or replaces the deadline with this key. */
  arm(d: Deadline): void {
    this.#deadlines.set(d.key, d);
    this.#due = this.next()?.when ?? Infinity;
  }
  /** Takes a deadline away. */
  disarm(key: string): void {
    this.#deadlines.delete(key);
    this.#due = this.next()?.when ?? Infinity;
  }
  /** The earliest deadline. */
  next(): Deadline | undefined {
    let best: Deadline | undefined;
    for (const d of this.#deadlines.values())
      if (!best || d.when < best.when || (d.when === best.when && d.key < best.key)) best = d;
    return best;
  }
  /** For restore: sets time without firing anything; owners re-arm their deadlines. */
  reset(t: number): void {
    this.#now = t;
    this.#deadlines.clear();
    this.#due = Infinity;
  }
}
