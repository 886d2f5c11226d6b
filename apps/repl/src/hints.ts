/** What to do about the mistakes that JavaScript itself reports in words of its own. */
import type { Vm } from '@faultyard/core';
import { nearest } from './errors.ts';

/** What a hint may look at. */
export interface HintContext {
  /** The current machine's VM. */
  readonly vm: Vm | undefined;
  /** A line that makes a machine. */
  readonly example: string;
  /** Names that a line may use. */
  readonly names: () => readonly string[];
}

const didYouMean = (near: readonly string[]): string | undefined =>
  near.length > 0 ? `did you mean ${near.join(' or ')}?` : undefined;

/** A line to add below an error's message, if there is something to say. */
export function hintFor(error: unknown, { vm, example, names }: HintContext): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const unknown = /^(\w+) is not defined$/.exec(error.message)?.[1];
  if (error instanceof ReferenceError && unknown !== undefined)
    return didYouMean(nearest(unknown, names())) ?? 'help() lists what there is';
  if (!(error instanceof TypeError)) return undefined;
  if (vm === undefined && /^Cannot (read|set) properties of undefined/.test(error.message))
    return `there is no machine yet; make one: ${example}`;
  const member = /^Cannot add property (\w+), object is not extensible$/.exec(error.message)?.[1];
  if (member === undefined) return undefined;
  const registers = vm?.vcpus[0]?.arch.registers.map((r) => r.name) ?? [];
  return didYouMean(nearest(member, registers)) ?? "regs() and regs('system') list the registers";
}
