// Runs example modules one after the other in this process and says on descriptor 3 which of them failed, and why.
import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

for (const path of process.argv.slice(2)) {
  let error: string | undefined;
  try {
    await import(pathToFileURL(path).href);
  } catch (thrown) {
    error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  }
  writeSync(3, `${JSON.stringify({ path, error })}\n`);
}
process.exit(0);
