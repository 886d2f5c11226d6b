/** Packages named with `--plugin`: a file or a package of the user's, loaded and sorted like the built-in ones. */
import { isPlugin } from '@faultyard/core';
import { isArchitecture } from './architectures/architecture.ts';
import type { Exports, LoadedPackage } from './builtin.ts';
import { UserError } from './errors.ts';
import type { Importer } from './modules/importer.ts';
import { isScenarioSet, type ScenarioSet } from './scenarios.ts';

/** Whether a specifier is a path: `./x.ts`, `/y/z.js`, `x.ts`. */
function isPath(specifier: string): boolean {
  return /^[./]/.test(specifier) || /\.[cm]?[jt]s$/.test(specifier);
}

function isAbsent(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED';
}

/** Loads one package. @throws UserError when it is not there or exports no plugin. */
export async function loadPackage(specifier: string, load: Importer): Promise<LoadedPackage> {
  const path = isPath(specifier);
  const name = path && !/^[./]/.test(specifier) ? `./${specifier}` : specifier;
  const main = (await load(name).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
    const reason = (error as Error).message;
    throw new UserError(
      `--plugin ${specifier}: ${reason}\ngive the path of a file (./my-plugin.ts) or an installed package`,
    );
  })) as Exports;
  const entry = async (sub: string): Promise<Exports | undefined> =>
    path
      ? undefined
      : ((await load(`${name}/${sub}`).catch((error: unknown) => {
          if (!isAbsent(error)) throw error;
          return undefined;
        })) as Exports | undefined);
  const found = {
    specifier: name,
    main,
    vmm: await entry('vmm'),
    scenarios: await entry('scenarios'),
    architectures: Object.values(main).filter(isArchitecture),
  };
  const offers =
    Object.values(main).some((v) => isPlugin(v) || typeof v === 'function') || setsOf(found).length > 0;
  if (!offers)
    throw new UserError(
      `--plugin ${specifier}: it exports neither a plugin nor scenarios\nexport a value made by definePlugin, or a function that returns one`,
    );
  return found;
}

/** The scenario sets a package exports, from either entry. */
export function setsOf(p: Pick<LoadedPackage, 'main' | 'scenarios'>): ScenarioSet[] {
  return [...new Set([...Object.values(p.main), ...Object.values(p.scenarios ?? {})].filter(isScenarioSet))];
}
