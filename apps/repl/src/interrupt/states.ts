/**
 * The words a terminal session shares with its watcher thread (an Int32Array over shared memory), and their values. The
 * watcher gets them with its other data, because it is plain JavaScript, started without the TypeScript loader.
 */
export const STATES = {
  /** Index of the word that says what the session is doing. */
  PHASE: 0,
  /** Index of the word that says what became of Ctrl-C. */
  REQUEST: 1,
  /** Index of the word that counts how often a guest has looked for a request since the line began. */
  LOOKS: 2,
  /** Phase: nothing runs, the terminal belongs to the line editor. */
  IDLE: 0,
  /** Phase: a line runs synchronously under `breakOnSigint`. */
  RUNNING: 1,
  /** Phase: a line waits for a promise; its continuations run from the event loop. */
  WAITING: 2,
  /** Phase: the watcher breaks off what runs. */
  BREAKING: 3,
  /** Request: there is none. */
  NONE: 0,
  /** Request: Ctrl-C was typed. */
  ASKED: 1,
  /** Request: a guest has seen it and will not be entered again in this line. */
  SEEN: 2,
} as const;
