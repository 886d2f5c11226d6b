/** One process, one core: a second copy would have its own plugins, errors and host memory. */
import { FaultyardError } from './errors.ts';

const CORE: unique symbol = Symbol.for('faultyard.core') as never;

/** This copy; its identity is what counts, its place is for the message. */
const THIS: { readonly url: string } = { url: import.meta.url };

/**
 * Says that this copy of core is in use; called whenever a plugin or a VM is made.
 * @throws FaultyardError FY_TWO_CORES naming both copies when another one is in use already.
 */
export function claimCore(): void {
  const scope = globalThis as { [CORE]?: typeof THIS };
  const first = scope[CORE] ?? THIS;
  scope[CORE] = first;
  if (first !== THIS) throw new FaultyardError('FY_TWO_CORES', { first: first.url, second: THIS.url });
}
