/**
 * Module hooks for what a user brings: scripts, scenario files and plugins from any folder.
 *
 * The project's packages resolve to the copies this program runs on, wherever the importing file lies: they are peers, and
 * a second copy of core in one process is an error. A TypeScript file is a module even where no package.json says so. And a
 * specifier made by `importer.ts` names the folder it is to be resolved from.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const home = import.meta.url;

/** Prefix of a specifier that says where it is to be resolved from: `<prefix><url>,<specifier>`, both escaped. */
let from = '';

/** @type {import('node:module').InitializeHook<{ from: string }>} */
export async function initialize(data) {
  from = data.from;
}

/** @type {Map<string, boolean>} */
const scopes = new Map();

/** Whether the nearest package.json above a folder says that its files are modules. */
function isModuleScope(/** @type {string} */ folder) {
  const known = scopes.get(folder);
  if (known !== undefined) return known;
  const file = join(folder, 'package.json');
  const up = dirname(folder);
  const answer = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8')).type === 'module'
    : up !== folder && isModuleScope(up);
  scopes.set(folder, answer);
  return answer;
}

/** The files a path may mean: itself, or without its ending (or with JavaScript's) the TypeScript behind it. */
function candidates(/** @type {string} */ path) {
  return [path, path.replace(/\.(m?)js$/, '.$1ts'), `${path}.ts`, `${path}/index.ts`].filter((p) =>
    /\.m?ts$/.test(p),
  );
}

/** The URL of a TypeScript file that is named by path and that no package.json calls a module, or undefined. */
function looseTypeScript(/** @type {string} */ specifier, /** @type {string | undefined} */ parent) {
  if (!/^(\.{0,2}\/|file:)/.test(specifier)) return undefined;
  const url = new URL(specifier, parent ?? home);
  if (url.protocol !== 'file:' || url.pathname.includes('/node_modules/')) return undefined;
  const path = fileURLToPath(url);
  if (isModuleScope(dirname(path))) return undefined;
  const file = candidates(path).find((p) => statSync(p, { throwIfNoEntry: false })?.isFile());
  return file && `${pathToFileURL(file).href}${url.search}`;
}

/** @type {import('node:module').ResolveHook} */
export async function resolve(specifier, context, next) {
  if (specifier.startsWith(from)) {
    const [parentURL, wanted] = specifier.slice(from.length).split(',').map(decodeURIComponent);
    return resolve(wanted ?? '', { ...context, parentURL }, next);
  }
  if (specifier.startsWith('@faultyard/'))
    // a package of that scope that this program does not have is the user's own
    return next(specifier, { ...context, parentURL: home }).catch(() => next(specifier, context));
  const url = looseTypeScript(specifier, context.parentURL);
  return url ? { url, format: 'module', shortCircuit: true } : next(specifier, context);
}
