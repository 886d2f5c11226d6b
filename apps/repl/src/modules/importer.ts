/**
 * `import()` as a line of a session or a plugin's name on the command line means it: relative specifiers and packages are
 * looked for from the user's folder, packages also beside this program. Works through the hooks of `hooks.mjs`.
 */
import { register } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Prefix of a specifier that carries the file it is resolved from. */
const FROM = 'faultyard-from:';

/** Imports a module; `options` carries import attributes. */
export type Importer = (specifier: string, options?: ImportCallOptions) => Promise<unknown>;

let registered = false;

/** Installs the hooks; once a process. */
export function registerHooks(): void {
  if (registered) return;
  registered = true;
  register('./hooks.mjs', import.meta.url, { data: { from: FROM } });
}

function isMissing(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'ERR_MODULE_NOT_FOUND';
}

/** An importer for the given folder, which is asked for on each call. */
export function importer(folder: () => string): Importer {
  return async (specifier, options) => {
    const from = pathToFileURL(join(folder(), 'session.ts')).href;
    try {
      return await import(`${FROM}${encodeURIComponent(from)},${encodeURIComponent(specifier)}`, options);
    } catch (error) {
      if (!isMissing(error) || /^[./]/.test(specifier)) throw error;
      return import(specifier, options).catch((again: unknown) => {
        throw isMissing(again) ? error : again;
      });
    }
  };
}
