/** The entry point: the process's words and streams, its working directory, and its exit status. */
import { readFileSync } from 'node:fs';
import { processIo } from './io.ts';
import { importer, registerHooks } from './modules/importer.ts';

// npm runs scripts at the root of the repository; paths mean what they mean where the user stands
const { INIT_CWD, npm_lifecycle_event: event } = process.env;
if (INIT_CWD !== undefined && event === 'start') process.chdir(INIT_CWD);

// a reader that went away (`| head`) ends the program without a message
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

registerHooks();
// after the hooks, so that what the user brings and what is built in share one core
const [{ cli }, { BUILTIN }] = await Promise.all([import('./cli.ts'), import('./builtin.ts')]);
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
process.exitCode = await cli(process.argv.slice(2), {
  io: processIo(),
  version,
  builtin: BUILTIN,
  load: importer(() => process.cwd()),
});
