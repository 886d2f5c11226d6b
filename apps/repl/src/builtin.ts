/**
 * What the app brings along: one table of packages. Everything else in the app treats these and the packages named with
 * `--plugin` alike; an architecture is a value here, never a name in a condition.
 */
import * as arm64 from '@faultyard/arch-arm64';
import type { AnyPlugin, Vcpu } from '@faultyard/core';
import * as core from '@faultyard/core';
import * as sea from '@faultyard/plugin-sea';
import * as seaScenarios from '@faultyard/plugin-sea/scenarios';
import * as seaVmm from '@faultyard/plugin-sea/vmm';
import * as vmm from '@faultyard/vmm';
import type { FieldDecoder } from './show/exits.ts';

/** A module's exports. */
export type Exports = Readonly<Record<string, unknown>>;

/** What a session needs of an architecture beyond what core asks of it. */
export interface Architecture {
  /** `arm64`: the name of its function in `lab`. */
  readonly name: string;
  /** Makes the architecture plugin with its own options. */
  plugin(options: Readonly<Record<string, unknown>>): AnyPlugin;
  /** Assembles statements separated by line ends or `;`. */
  assemble(text: string): Uint8Array;
  /** Events that KVM's userspace can inject, by name. */
  readonly events: Readonly<Record<string, (vcpu: Vcpu, options: Readonly<Record<string, unknown>>) => void>>;
  /** Payload fields of exits about which more can be said than their number. */
  readonly decoders: Readonly<Record<string, FieldDecoder>>;
}

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
  { specifier: '@faultyard/vmm', main: vmm, globals: [] },
  { specifier: '@faultyard/arch-arm64', main: arm64, globals: [], architectures: [] },
  { specifier: '@faultyard/plugin-sea', main: sea, globals: ['sea'], vmm: seaVmm, scenarios: seaScenarios },
];
