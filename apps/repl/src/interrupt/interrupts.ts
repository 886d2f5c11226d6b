/**
 * How Ctrl-C reaches what a session is doing.
 *
 * JavaScript can be broken off anywhere, a guest cannot: a wasm interpreter that is stopped between two records has its pc
 * in a local that is lost. So a running guest is only *asked* to stop, between slices, and the line ends when it has, with
 * the guest at an instruction boundary. Without a terminal the signal itself breaks off the line.
 */

/** The error of a line that Ctrl-C ended. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly code = 'FY_INTERRUPTED';

  constructor() {
    super('interrupted; the session goes on');
  }
}

/** What a session tells about itself so that an interrupt can find the right place to stop it. */
export interface Interrupts {
  /** Runs synchronous code that may be broken off by SIGINT. */
  running<T>(line: () => T): T;
  /** Waits for a line's promise; rejects with {@link Interrupted} on an interrupt. */
  waiting<T>(line: Promise<T>): Promise<T>;
  /**
   * Whether the running line is to end. A guest asks this between slices and is not entered again once it is true; it
   * stays true until the line has ended.
   */
  requested(): boolean;
  /** Called by the session when it receives Ctrl-C itself, between events. */
  interrupt(): void;
  /** Stops what the interrupts keep running. */
  close(): void;
}

/** One promise raced against interrupts that come through {@link Race.interrupt}. */
export class Race {
  private reject: ((error: Interrupted) => void) | undefined;

  /** The line's promise, or a rejection when interrupted; a line that lost keeps quiet. */
  async run<T>(line: Promise<T>): Promise<T> {
    const stop = new Promise<never>((_, reject) => {
      this.reject = reject;
    });
    try {
      return await Promise.race([line, stop]);
    } finally {
      this.reject = undefined;
      line.catch(() => undefined);
    }
  }

  /** Ends the waiting line; whether there was one. */
  interrupt(): boolean {
    this.reject?.(new Interrupted());
    return this.reject !== undefined;
  }
}

/** Interrupts of a session without a terminal: SIGINT breaks off the line that runs, or ends the program between lines. */
export function signalInterrupts(): Interrupts {
  const race = new Race();
  const signalled = (): void => {
    if (!race.interrupt()) process.exit(128 + 2);
  };
  process.on('SIGINT', signalled);
  return {
    running: (line) => line(),
    waiting: (line) => race.run(line),
    requested: () => false,
    interrupt: () => void race.interrupt(),
    close: () => void process.off('SIGINT', signalled),
  };
}

/** No interrupts: a script ends with its process. */
export const uninterrupted: Interrupts = {
  running: (line) => line(),
  waiting: (line) => line,
  requested: () => false,
  interrupt: () => undefined,
  close: () => undefined,
};
