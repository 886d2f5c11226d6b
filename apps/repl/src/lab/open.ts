/** Opens a lab: the globals of a session or a script, with the journal and the documentation behind them. */
import { type AnyPlugin, isPlugin } from '@faultyard/core';
import type { LoadedPackage } from '../builtin.ts';
import type { Command } from '../commands/command.ts';
import { type HelpDesk, openDesk } from '../help/desk.ts';
import { openLibrary } from '../help/library.ts';
import type { Interrupts } from '../interrupt/interrupts.ts';
import type { Io } from '../io.ts';
import type { KnobSet, Scenarios } from '../scenarios.ts';
import { createGlobals, type SessionGlobals } from './globals.ts';
import { Journal } from './journal.ts';

/** What a lab is opened with. */
export interface LabOptions {
  readonly io: Io;
  readonly commands: readonly Command[];
  readonly packages: readonly LoadedPackage[];
  readonly scenarios: Scenarios;
  readonly interrupts: Interrupts;
  /** `--plugin` words. */
  readonly plugins: readonly string[];
  /** Knob values that every machine gets. */
  readonly set?: KnobSet;
}

/** An open lab. */
export interface OpenLab {
  readonly globals: SessionGlobals & Readonly<Record<string, unknown>>;
  readonly journal: Journal;
  readonly desk: HelpDesk;
  /** Takes the globals back: what had their names before is there again. */
  close(): void;
}

/** Defines a global that lines may declare again; a getter gives way to what they declare. */
function define(name: string, { get, value }: PropertyDescriptor): void {
  const own = { writable: true, configurable: true, enumerable: true };
  if (!get) Object.defineProperty(globalThis, name, { value, ...own });
  else
    Object.defineProperty(globalThis, name, {
      get,
      set: (declared: unknown) => Object.defineProperty(globalThis, name, { value: declared, ...own }),
      configurable: true,
      enumerable: true,
    });
}

/** Opens a lab and defines its globals. */
export function openLab(options: LabOptions): OpenLab {
  const journal = new Journal();
  const globals: { value: SessionGlobals & Readonly<Record<string, unknown>> } = { value: {} as never };
  const desk = openDesk({
    library: openLibrary(options.packages.map((p) => p.specifier)),
    commands: options.commands,
    architectures: options.packages.flatMap((p) => p.architectures ?? []),
    scenarios: options.scenarios,
    plugins: () => pluginsOf(options.packages),
    globals: () => globals.value,
  });
  globals.value = createGlobals({ ...options, set: options.set ?? {}, journal, desk });
  const before = new Map<string, PropertyDescriptor | undefined>();
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(globals.value))) {
    journal.globals.add(name);
    before.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    define(name, descriptor);
  }
  const close = (): void => {
    for (const [name, descriptor] of before)
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else Reflect.deleteProperty(globalThis, name);
  };
  return { globals: globals.value, journal, desk, close };
}

/** Plugins that sessions can give a machine, with what makes each: exported values, and argumentless factories among the globals. */
export function offeredPlugins(packages: readonly LoadedPackage[]): (readonly [AnyPlugin, string])[] {
  return packages.flatMap((p) =>
    Object.entries(p.main).flatMap(([name, value]): (readonly [AnyPlugin, string])[] => {
      if (isPlugin(value)) return [[value, name]];
      const factory = p.globals?.includes(name) && typeof value === 'function' && value.length === 0;
      const made: unknown = factory ? value() : undefined;
      return isPlugin(made) ? [[made, `${name}()`]] : [];
    }),
  );
}

/** The plugins a session knows without a machine. */
function pluginsOf(packages: readonly LoadedPackage[]): AnyPlugin[] {
  const architectures = packages.flatMap((p) => (p.architectures ?? []).map((a) => a.plugin({})));
  return [...offeredPlugins(packages).map(([plugin]) => plugin), ...architectures];
}
