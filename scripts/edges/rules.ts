/**
 * Which package may import which: the edges of docs/architecture.md, in one table.
 *
 * An entry point is looked at with everything it loads at run time, so a device model that `./vmm` loads is held to
 * the rules of `./vmm`, wherever in the package its file lies.
 */
import { builtinModules } from 'node:module';

/** What the files behind one entry point of a package may import. */
export interface Rule {
  /** Workspace packages, by the short name or a pattern that ends in `*`, whose public entry points are allowed. */
  readonly packages: readonly string[];
  /** Whether `node:` modules are allowed. */
  readonly node: boolean;
}

/** Every package's rules by entry point; the first pattern that matches a package's short name holds. */
const table: readonly (readonly [name: string, entries: Readonly<Record<string, Rule>>])[] = [
  ['core', { '.': { packages: [], node: false } }],
  ['engine', { '.': { packages: ['core'], node: false } }],
  ['arch-*', { '.': { packages: ['core', 'engine'], node: false } }],
  [
    'plugin-*',
    {
      '.': { packages: ['core', 'engine', 'arch-*'], node: false },
      './vmm': { packages: ['core', 'vmm'], node: false },
      './scenarios': { packages: ['core', 'engine', 'arch-*', 'vmm', 'testkit'], node: false },
    },
  ],
  ['vmm', { '.': { packages: ['core', 'arch-*'], node: false } }],
  [
    'testkit',
    {
      '.': { packages: ['core', 'engine', 'vmm'], node: false },
      './oracle': { packages: ['core', 'engine', 'vmm'], node: true },
    },
  ],
];

/** Packages a test may import without its package.json naming them: below the plugins, so no cycle can form. */
export const commonGround: readonly string[] = ['core', 'engine', 'arch-*', 'vmm', 'testkit'];

/** Whether a package's short name fits a name or a `prefix-*` pattern. */
export function fits(name: string, pattern: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** The rules of a package by entry point, or `undefined` for a package the architecture page has no room for. */
export function rulesOf(name: string): Readonly<Record<string, Rule>> | undefined {
  return table.find(([pattern]) => fits(name, pattern))?.[1];
}

/** Whether an import specifier names a module of Node itself, with or without `node:`. */
export function isNode(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier.split('/')[0] ?? '');
}
