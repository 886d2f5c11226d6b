/**
 * What the app brings along: one table of packages. Everything else in the app treats these and the packages named with
 * `--plugin` alike; an architecture is a value here, never a name in a condition.
 */
import * as arm64 from '@faultyard/arch-arm64';
import * as x86 from '@faultyard/arch-x86';
import * as core from '@faultyard/core';
import * as mce from '@faultyard/plugin-mce';
import * as mceScenarios from '@faultyard/plugin-mce/scenarios';
import * as mceVmm from '@faultyard/plugin-mce/vmm';
import * as sea from '@faultyard/plugin-sea';
import * as seaScenarios from '@faultyard/plugin-sea/scenarios';
import * as seaVmm from '@faultyard/plugin-sea/vmm';
import * as vmm from '@faultyard/vmm';
import * as tsPattern from 'ts-pattern';
import type { Architecture } from './architectures/architecture.ts';
import { arm64Architecture } from './architectures/arm64.ts';
import { x86Architecture } from './architectures/x86.ts';

/** A module's exports. */
export type Exports = Readonly<Record<string, unknown>>;

/** A package of the session. */
export interface LoadedPackage {
  /** How it is imported; its documentation is read from the sources beside it. */
  readonly specifier: string;
  readonly main: Exports;
  /** Exports of `main` that are globals of a session; all of them when absent. */
  readonly globals?: readonly string[];
  /** Handlers a VMM could have. */
  readonly vmm?: Exports | undefined;
  readonly scenarios?: Exports | undefined;
  readonly architectures?: readonly Architecture[];
}

/** The packages of every session. */
export const BUILTIN: readonly LoadedPackage[] = [
  {
    specifier: '@faultyard/core',
    main: core,
    globals: ['gpa', 'gva', 'hva', 'hex', 'resume', 'stop', 'answer'],
  },
  { specifier: 'ts-pattern', main: tsPattern, globals: ['match', 'P'] },
  { specifier: '@faultyard/vmm', main: vmm, globals: [] },
  { specifier: '@faultyard/arch-arm64', main: arm64, globals: [], architectures: [arm64Architecture] },
  { specifier: '@faultyard/arch-x86', main: x86, globals: [], architectures: [x86Architecture] },
  { specifier: '@faultyard/plugin-mce', main: mce, globals: ['mce'], vmm: mceVmm, scenarios: mceScenarios },
  { specifier: '@faultyard/plugin-sea', main: sea, globals: ['sea'], vmm: seaVmm, scenarios: seaScenarios },
];
