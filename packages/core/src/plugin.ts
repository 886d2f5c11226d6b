/** Plugins are values: what they need, what they bring, and a setup that runs once per VM. */
import type { ArchDef } from './arch.ts';
import type { CapDef } from './cap.ts';
import type { Cell, Plain } from './cell.ts';
import { FaultyardError } from './errors.ts';
import type { CoreExit, ExitCodec, ExitKind } from './exit.ts';
import { allows, type KnobDef, type Knobs } from './knob.ts';
import type { OpDef } from './op.ts';
import type { ContributionOf, Point } from './point.ts';
import { claimCore } from './two-cores.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** Version of this core, checked against every plugin's `core` range. */
export const CORE_VERSION: string = '1.0.0';

/**
 * What {@link PluginDef.setup} may do; everything is registered before the VM starts and stays: later calls throw
 * FaultyardError FY_PLUGIN_INVALID.
 */
export interface SetupCtx {
  readonly vm: Vm;
  /** Values of all knobs of this VM. */
  readonly knobs: Knobs;
  /** Adds behaviour at a point. */
  contribute<P extends Point<never, unknown>>(point: P, fn: ContributionOf<P>): void;
  /** Adds state that snapshots keep, named `<plugin>.<name>`. @throws FaultyardError FY_PLUGIN_INVALID, FY_PLUGIN_CLASH. */
  cell<T extends Plain>(cell: Cell<T>): void;
  /** Whether a capability is enabled now (asked when something happens, not at setup). */
  enabled(cap: string): boolean;
  /** Called for every vCPU when it is made, before its first run. */
  onVcpu(fn: (vcpu: Vcpu) => void): void;
}

/** Definition of a plugin; see {@link definePlugin}. */
export interface PluginDef<K extends ExitKind, Api> {
  /** Package-like name: `sea`, `arm64`, `acme-foo`. Prefix of its knobs, points and cells. */
  readonly name: string;
  /** Range of core versions it works with: `^1.0.0`. */
  readonly core: string;
  /** One line for `help`. */
  readonly summary?: string;
  /** Plugins that must be installed too (by name; peers). */
  readonly needs?: readonly string[];
  /** Kinds of exit it can produce beyond core's, with codecs. */
  readonly exits?: { readonly [P in K]: ExitCodec<P> };
  /** Capabilities it adds. */
  readonly caps?: readonly CapDef[];
  // biome-ignore lint/suspicious/noExplicitAny: operations of any name
  readonly ops?: readonly OpDef<any>[];
  /** Knobs by bare name; the id becomes `<plugin>.<name>`. */
  readonly knobs?: Readonly<Record<string, KnobDef>>;
  /** Set by architecture packages: how vCPUs are made. */
  readonly arch?: ArchDef;
  /** Runs once per VM; what it returns is `vm.api(plugin)`. */
  setup(ctx: SetupCtx): Api;
}

declare const exitsType: unique symbol;
declare const apiType: unique symbol;
/** A plugin: its definition, and (in types only) its exits and API. */
export interface Plugin<K extends ExitKind = never, Api = unknown> {
  readonly [PLUGIN]: true;
  // biome-ignore lint/suspicious/noExplicitAny: the parameters live in the phantom members
  readonly def: PluginDef<any, any>;
  readonly [exitsType]?: K;
  readonly [apiType]?: Api;
}
/** Any plugin. */
// biome-ignore lint/suspicious/noExplicitAny: a plugin of any exits
export type AnyPlugin = Plugin<any, any>;

const PLUGIN: unique symbol = Symbol.for('faultyard.plugin') as never;

/** Exits a plugin adds. */
export type ExitsOf<P> = P extends Plugin<infer K, unknown> ? K : never;
/** Exits of a VM with plugins `P`. */
export type InstalledExits<P extends readonly AnyPlugin[]> = CoreExit | ExitsOf<P[number]>;

/**
 * Makes a plugin. Exits default to `never`, so a plugin without `exits` does not widen anybody's union.
 * @throws FaultyardError FY_PLUGIN_INVALID for a name or range that cannot be used, an exit without a codec, a knob
 * whose default is none of its values, a missing setup; FY_TWO_CORES.
 */
export function definePlugin<const K extends ExitKind = never, Api = Record<never, never>>(
  def: PluginDef<K, Api>,
): Plugin<K, Api> {
  claimCore();
  const bad = (why: string): never => {
    throw new FaultyardError('FY_PLUGIN_INVALID', { plugin: String(def.name), why });
  };
  if (typeof def.name !== 'string' || !/^[a-z][a-z0-9-]*$/.test(def.name))
    bad('its name must be lower-case words joined by -');
  if (!parseRange(def.core)) bad(`core range ${def.core} is not of the form ^1.2.3, >=1.2.3 or 1.2.3`);
  for (const [kind, codec] of Object.entries(def.exits ?? {})) {
    const c = codec as Partial<ExitCodec> | undefined;
    const whole = [c?.number, c?.encode, c?.decode].every((f) => typeof f === 'function');
    if (!whole || c?.kind !== kind)
      bad(`its exit ${kind} needs a codec: { kind: '${kind}', name, number, encode, decode }`);
  }
  for (const [name, knob] of Object.entries(def.knobs ?? {}))
    if (!allows(knob, knob.default))
      bad(`the default ${knob.default} of its knob ${name} is none of its values`);
  if (typeof def.setup !== 'function') bad('it has no setup');
  return { [PLUGIN]: true, def } as Plugin<K, Api>;
}

/** Whether a value is a plugin (of any copy of core). */
export function isPlugin(v: unknown): v is AnyPlugin {
  return typeof v === 'object' && v !== null && (v as Record<symbol, unknown>)[PLUGIN] === true;
}

type Version = readonly [number, number, number];
const parseVersion = (v: string): Version | undefined => {
  const m = /^(\d+)\.(\d+)\.(\d+)/.exec(v);
  return m ? [Number(m[1]), Number(m[2]), Number(m[3])] : undefined;
};
const parseRange = (r: string): { op: string; v: Version } | undefined => {
  const m = /^(\^|>=|)(\d+\.\d+\.\d+)$/.exec(r);
  const v = m && parseVersion(m[2] as string);
  return v ? { op: m[1] as string, v } : undefined;
};
const cmp = (a: Version, b: Version): number => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];

/** Whether `version` lies in `range` (`^a.b.c`, `>=a.b.c` or `a.b.c`). */
export function satisfies(version: string, range: string): boolean {
  const v = parseVersion(version);
  const r = parseRange(range);
  if (!v || !r) return false;
  if (r.op === '^') return v[0] === r.v[0] && cmp(v, r.v) >= 0;
  return r.op === '>=' ? cmp(v, r.v) >= 0 : cmp(v, r.v) === 0;
}

/**
 * Checks a set of plugins: each is one, none twice, core versions fit, needs are installed, names do not clash.
 * Returns them in an order in which needs come first.
 * @throws FaultyardError FY_PLUGIN_*, FY_TWO_CORES.
 */
export function resolvePlugins(plugins: readonly unknown[]): readonly AnyPlugin[] {
  claimCore();
  const byName = new Map<string, AnyPlugin>();
  for (const p of plugins) {
    if (!isPlugin(p)) throw new FaultyardError('FY_PLUGIN_UNKNOWN', { plugin: describe(p) });
    const { name, core } = p.def;
    if (byName.has(name)) throw new FaultyardError('FY_PLUGIN_TWICE', { plugin: name });
    if (!satisfies(CORE_VERSION, core))
      throw new FaultyardError('FY_PLUGIN_VERSION', { plugin: name, wants: core, have: CORE_VERSION });
    byName.set(name, p);
  }
  const out: AnyPlugin[] = [];
  const visit = (p: AnyPlugin, above: readonly string[]): void => {
    if (out.includes(p)) return;
    const { name, needs } = p.def;
    if (above.includes(name)) {
      const why = `it needs itself: ${[...above.slice(above.indexOf(name)), name].join(' needs ')}`;
      throw new FaultyardError('FY_PLUGIN_INVALID', { plugin: name, why });
    }
    for (const need of needs ?? []) {
      const q = byName.get(need);
      if (!q) throw new FaultyardError('FY_PLUGIN_NEEDS', { plugin: name, needs: need });
      visit(q, [...above, name]);
    }
    out.push(p);
  };
  for (const p of byName.values()) visit(p, []);
  return out;
}

function describe(v: unknown): string {
  if (typeof v === 'function')
    return `${v.name || 'function'} (a function: call it, e.g. ${v.name || 'sea'}())`;
  return typeof v === 'object'
    ? `of type ${v === null ? 'null' : (v.constructor?.name ?? 'object')}`
    : JSON.stringify(v);
}
