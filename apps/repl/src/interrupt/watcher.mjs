/**
 * The thread that reads the terminal while the session's own thread is busy.
 *
 * In raw mode Ctrl-C is a byte, and the thread that would read it is the one that must be stopped. This one polls the
 * terminal while the phase is not IDLE and keeps what else was typed for later. On Ctrl-C it asks; a running guest answers
 * between slices, and loops after an `await` look for themselves. A synchronous line that does not end is then broken off by
 * SIGINT; one that waits is told by message. If nobody reads messages either, a second Ctrl-C ends the process.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const POLL_MS = 20;
/** Longest slice of a guest. */
const SLICE_MS = 2000;
/** Time a line has to end by itself once its guest has stopped, or once it is told. */
const END_MS = 300;
const CTRL_C = 3;

const words = /** @type {Int32Array} */ (workerData.words);
const { ASKED, BREAKING, IDLE, LOOKS, NONE, PHASE, REQUEST, RUNNING, WAITING } = workerData.states;
const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const buffer = new Uint8Array(4096);

/** What was typed since the last look, without waiting. */
function typed(/** @type {number} */ fd) {
  try {
    return buffer.slice(0, readSync(fd, buffer));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EAGAIN') return buffer.slice(0, 0);
    throw error;
  }
}

/** Passes Ctrl-C on to what runs now. */
function interrupt() {
  Atomics.store(words, REQUEST, ASKED);
  const phase = Atomics.load(words, PHASE);
  if (phase === WAITING) port.postMessage({ kind: 'interrupt' });
  if (Atomics.load(words, LOOKS) > 0) Atomics.wait(words, REQUEST, ASKED, SLICE_MS);
  if (phase === WAITING || Atomics.load(words, REQUEST) !== ASKED) Atomics.wait(words, PHASE, phase, END_MS);
  if (Atomics.compareExchange(words, PHASE, RUNNING, BREAKING) === RUNNING)
    process.kill(process.pid, 'SIGINT');
}

/** Watches until the session is idle again. */
function watch(/** @type {number} */ fd) {
  /** @type {Uint8Array[]} */
  let kept = [];
  for (;;) {
    const phase = Atomics.load(words, PHASE);
    if (phase === IDLE) break;
    const keys = typed(fd);
    if (keys.includes(CTRL_C)) {
      kept = [];
      if (Atomics.load(words, REQUEST) === NONE) interrupt();
      else if (phase === WAITING) process.kill(process.pid, 'SIGTERM');
    } else if (keys.length > 0) kept.push(keys);
    else Atomics.wait(words, PHASE, phase, POLL_MS);
  }
  for (const keys of kept) port.postMessage({ kind: 'keys', keys });
}

const fd = openSync(workerData.terminal, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
try {
  for (;;) {
    Atomics.wait(words, PHASE, IDLE);
    watch(fd);
  }
} finally {
  closeSync(fd);
}
