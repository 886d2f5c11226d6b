/**
 * Interrupts of a session on a terminal: a watcher thread reads the keys while this thread is busy.
 * See `watcher.mjs` for what it does with Ctrl-C.
 */
import { Worker } from 'node:worker_threads';
import { type Interrupts, Race } from './interrupts.ts';
import { STATES } from './states.ts';

const { ASKED, IDLE, LOOKS, NONE, PHASE, REQUEST, RUNNING, SEEN, WAITING } = STATES;

type Message = { kind: 'interrupt' } | { kind: 'keys'; keys: Uint8Array };

/** Starts the watcher; keys typed ahead while a line ran are given to `keys` when it is over. */
export function terminalInterrupts(keys: (typed: Uint8Array) => void): Interrupts {
  const words = new Int32Array(new SharedArrayBuffer(12));
  const race = new Race();
  const worker = new Worker(new URL('./watcher.mjs', import.meta.url), {
    workerData: { words, states: STATES, terminal: '/dev/tty' },
    execArgv: [],
  });
  worker.unref();
  // without a controlling terminal there is nothing to watch: Ctrl-C then works between events only
  worker.on('error', () => undefined);
  worker.on('message', (message: Message) => {
    if (message.kind === 'keys') keys(message.keys);
    else race.interrupt();
  });
  // a SIGINT meant for a line that ended a moment ago
  const late = (): void => undefined;
  process.on('SIGINT', late);

  const enter = (phase: number): void => {
    Atomics.store(words, LOOKS, 0);
    Atomics.store(words, REQUEST, NONE);
    Atomics.store(words, PHASE, phase);
    Atomics.notify(words, PHASE);
    Atomics.notify(words, REQUEST);
  };
  return {
    running(line) {
      enter(RUNNING);
      try {
        return line();
      } finally {
        enter(IDLE);
      }
    },
    async waiting(line) {
      enter(WAITING);
      try {
        return await race.run(line);
      } finally {
        enter(IDLE);
      }
    },
    requested() {
      Atomics.add(words, LOOKS, 1);
      if (Atomics.load(words, REQUEST) === NONE) return false;
      Atomics.compareExchange(words, REQUEST, ASKED, SEEN);
      Atomics.notify(words, REQUEST);
      return true;
    },
    interrupt: () => void race.interrupt(),
    close() {
      process.off('SIGINT', late);
      void worker.terminate();
    },
  };
}
