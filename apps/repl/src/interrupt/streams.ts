/** What a line that was broken off may leave behind in the process's own output streams. */
import process from 'node:process';

/** What Node keeps of a stream's writes; not part of its documented interface, so nothing is taken for granted. */
interface WritableState {
  readonly writing?: boolean;
  readonly onwrite?: (error?: Error | null) => void;
}

/**
 * Ends writes that a line broken off by SIGINT had begun: the stream would wait for them for ever, and the session would
 * be silent. Writes to a terminal are synchronous, so between lines none can be under way.
 */
export function mendStreams(streams: readonly NodeJS.WriteStream[] = [process.stdout, process.stderr]): void {
  for (const stream of streams) {
    const { _writableState: state } = stream as unknown as { readonly _writableState?: WritableState };
    if (stream.isTTY && state?.writing) state.onwrite?.(null);
  }
}
