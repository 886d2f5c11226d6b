/** Who owns which name and number of a VM: two plugins that define the same thing are refused when it is made. */
import { CORE_EXIT_CODECS } from './abi/kvm-run.ts';
import { FaultyardError } from './errors.ts';
import type { ExitCodec } from './exit.ts';
import type { KnobDef, Knobs } from './knob.ts';
import { CORE_OPS } from './ops.ts';
import type { AnyPlugin } from './plugin.ts';

/** Things by kind and name, each with its owner. */
class Claims {
  readonly #owner = new Map<string, string>();
  claim(what: string, name: string | number, plugin: string, fix: string): void {
    const key = `${what} ${name}`;
    const other = this.#owner.get(key);
    if (other !== undefined) throw new FaultyardError('FY_PLUGIN_CLASH', { what, name, plugin, other, fix });
    this.#owner.set(key, plugin);
  }
}

const RENAME = 'rename one; third parties prefix their names';
const RENUMBER = 'give one another number, or do not install both';

/** Knobs of all plugins by full id. */
export function knobsOf(plugins: readonly AnyPlugin[]): ReadonlyMap<string, KnobDef> {
  const all = new Map<string, KnobDef>();
  for (const { def } of plugins)
    for (const [k, d] of Object.entries(def.knobs ?? {})) all.set(`${def.name}.${k}`, d);
  return all;
}

/**
 * Codecs of the exits that plugins bring. An architecture may replace the codec of one of core's exits (`debug`,
 * whose payload is the architecture's).
 * @throws FaultyardError FY_PLUGIN_CLASH when a kind or an exit number is taken.
 */
export function exitsOf(plugins: readonly AnyPlugin[], knobs: Knobs): ReadonlyMap<string, ExitCodec> {
  const all = new Map<string, ExitCodec>();
  const claims = new Claims();
  const replaced = new Set(plugins.flatMap(({ def }) => (def.arch ? Object.keys(def.exits ?? {}) : [])));
  const add = (c: ExitCodec, plugin: string): void => {
    claims.claim('exit', c.kind, plugin, RENAME);
    claims.claim('exit number', c.number(knobs), plugin, RENUMBER);
  };
  for (const c of Object.values(CORE_EXIT_CODECS) as ExitCodec[]) if (!replaced.has(c.kind)) add(c, 'core');
  for (const { def } of plugins)
    for (const c of Object.values(def.exits ?? {}) as ExitCodec[]) {
      add(c, def.name);
      all.set(c.kind, c);
    }
  return all;
}

/**
 * Checks names and numbers of capabilities and operations.
 * @throws FaultyardError FY_PLUGIN_CLASH when one is taken.
 */
export function checkInterface(plugins: readonly AnyPlugin[], knobs: Knobs): void {
  const claims = new Claims();
  const ops = [{ name: 'core', ops: CORE_OPS }, ...plugins.map(({ def }) => def)];
  for (const { name, ops: list } of ops)
    for (const o of list ?? []) {
      claims.claim('operation', o.name, name, RENAME);
      claims.claim(`ioctl of a ${o.on}`, `0x${(o.ioctl >>> 0).toString(16)}`, name, RENUMBER);
    }
  for (const { def } of plugins)
    for (const c of def.caps ?? []) {
      claims.claim('capability', c.name, def.name, RENAME);
      const number = typeof c.number === 'number' ? c.number : c.number(knobs);
      claims.claim('capability number', number, def.name, RENUMBER);
    }
}
