/** What to do about the mistakes that JavaScript itself reports in words of its own. */
import { type AnyPlugin, FaultyardError, type Vm } from '@faultyard/core';
import { nearest } from './errors.ts';

/** What a hint may look at. */
export interface HintContext {
  /** The current machine's VM. */
  readonly vm: Vm | undefined;
  /** A line that makes a machine. */
  readonly example: string;
  /** Names that a line may use. */
  readonly names: () => readonly string[];
  /** Names of the functions of `lab`. */
  readonly architectures: readonly string[];
  /** Plugins that a machine could have, by the line that gives it one. */
  readonly plugins: () => readonly (readonly [plugin: AnyPlugin, made: string])[];
}

const didYouMean = (near: readonly string[]): string | undefined =>
  near.length > 0 ? `did you mean ${near.join(' or ')}?` : undefined;

/** A line to add below an error's message, if there is something to say. */
export function hintFor(error: unknown, context: HintContext): string | undefined {
  const { vm, example, names } = context;
  if (!(error instanceof Error)) return undefined;
  if (error instanceof FaultyardError) return pluginHint(error, context);
  const unknown = /^(\w+) is not defined$/.exec(error.message)?.[1];
  if (error instanceof ReferenceError && unknown !== undefined)
    return didYouMean(nearest(unknown, names())) ?? 'help() lists what there is';
  if (!(error instanceof TypeError)) return undefined;
  const architecture = /^lab\.(\w+) is not a function$/.exec(error.message)?.[1];
  if (architecture !== undefined) {
    const there = `architectures: ${context.architectures.map((name) => `lab.${name}()`).join(' ')}`;
    const near = didYouMean(nearest(architecture, context.architectures).map((name) => `lab.${name}`));
    return near === undefined ? there : `${near}\n${there}`;
  }
  if (vm === undefined && /^Cannot (read|set) properties of undefined/.test(error.message))
    return `there is no machine yet; make one: ${example}`;
  const member = /^Cannot add property (\w+), object is not extensible$/.exec(error.message)?.[1];
  if (member === undefined) return undefined;
  const registers: string[] = [];
  // those with names of their own, and the parts of them
  for (const name in vm?.vcpus[0] ?? {}) registers.push(name);
  return didYouMean(nearest(member, registers)) ?? "regs() and regs('system') list the registers";
}

/** The plugin that would bring a capability, where the machine lacks it. */
function pluginHint(
  { code, fields }: FaultyardError,
  { vm, plugins, architectures }: HintContext,
): string | undefined {
  if (code !== 'FY_CAP_UNSUPPORTED') return undefined;
  const brings = plugins().find(
    ([plugin]) =>
      vm?.plugins.every((p) => p.def.name !== plugin.def.name) &&
      (plugin.def.caps ?? []).some((c) => c.name === fields['cap']),
  );
  if (!brings) return undefined;
  const [plugin, made] = brings;
  const needed = plugin.def.needs?.find((n: string) => architectures.includes(n));
  return `the plugin ${plugin.def.name} brings it: lab.${needed ?? vm?.arch.name}({ plugins: [${made}] })`;
}
