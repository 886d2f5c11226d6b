/**
 * A synchronous kernel with interleavings (architecture: decision 3).
 *
 * Work that can be interrupted between two steps is a generator that yields *named points*. Without an explorer
 * {@link drive} runs it to its end, so callers see a synchronous kernel; with one, the scheduler decides at each
 * point which task goes on.
 */
import { FaultyardError } from './errors.ts';

/** Where a task stands between two steps. */
export interface YieldPoint {
  /** Name of the point, e.g. `mmu.fault.lookup`, `slots.zap`. */
  readonly at: string;
  /** Asked before the task may go on; absent = it may. */
  readonly ready?: () => boolean;
  /** What it waits for, for messages. */
  readonly waits?: string;
  /** It goes round in a loop until somebody else does something: an explorer lets another task step first. */
  readonly spins?: true;
}

/** A resumable piece of work with result `R`. */
export type Task<R> = Generator<YieldPoint, R, void>;

/** A named point that any task may pass. */
export function at(name: string): YieldPoint {
  return { at: name };
}

/**
 * Runs a task to its end on its own.
 * @throws FaultyardError FY_DEADLOCK when it waits for something that nobody else can give; the task is abandoned, and
 * what it held is given up.
 */
export function drive<R>(task: Task<R>): R {
  for (;;) {
    const s = task.next();
    if (s.done) return s.value;
    if (!s.value.ready || s.value.ready()) continue;
    task.return(undefined as never);
    throw new FaultyardError('FY_DEADLOCK', {
      who: `alone at ${s.value.at}, waiting for ${s.value.waits}`,
    });
  }
}

/** A readers-writer lock of the modelled kernel or VMM (mmap_lock, slots_lock, memory_lock, a device lock). */
export class Lock {
  readonly name: string;
  #writer = false;
  #readers = 0;
  constructor(name: string) {
    this.name = name;
  }
  /** Whether somebody holds it. */
  get held(): boolean {
    return this.#writer || this.#readers > 0;
  }
  /** Takes it exclusively; yields `lock.<name>` once before, and waits there while it is held. */
  *write(): Task<void> {
    yield { at: `lock.${this.name}`, ready: () => !this.held, waits: this.name };
    this.#writer = true;
  }
  /** Takes it shared. */
  *read(): Task<void> {
    yield { at: `lock.${this.name}`, ready: () => !this.#writer, waits: this.name };
    this.#readers++;
  }
  /** Gives up the exclusive hold. */
  endWrite(): void {
    this.#writer = false;
  }
  /** Gives up one shared hold. */
  endRead(): void {
    this.#readers--;
  }
}
