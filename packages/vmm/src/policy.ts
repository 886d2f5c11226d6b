/** What a VMM does with exits, as functions that compose: each answers what it knows and leaves the rest. */
import { type Exit, type ExitKind, FaultyardError, stop, type Verdict, type Vm } from '@faultyard/core';

/** Answers an exit, or leaves it (`undefined`) to the next. */
export type Policy<E extends ExitKind = ExitKind> = (exit: Exit<E>, vm: Vm) => Verdict | undefined;

/** Answers every exit: what `vm.drive` wants. */
export type Handler<E extends ExitKind = ExitKind> = (exit: Exit<E>, vm: Vm) => Verdict;

/** The first policy that answers decides. */
export function compose<E extends ExitKind = ExitKind>(...policies: readonly Policy<E>[]): Policy<E> {
  return (exit, vm) => {
    for (const p of policies) {
      const v = p(exit, vm);
      if (v) return v;
    }
    return undefined;
  };
}

/** A policy for these kinds of exit only. */
export function on<const K extends ExitKind>(
  kinds: K | readonly K[],
  answer: (exit: Exit<K>, vm: Vm) => Verdict | undefined,
): Policy {
  const list: readonly ExitKind[] = typeof kinds === 'string' ? [kinds] : kinds;
  return (exit, vm) => (list.includes(exit.kind) ? answer(exit as Exit<K>, vm) : undefined);
}

/** Stops at these kinds of exit, naming them. */
export function stopAt(...kinds: readonly ExitKind[]): Policy {
  return on(kinds, (e) => stop(e.kind));
}

/** Exits by which a guest or its user ends a run. */
export const endings: Policy = stopAt('hlt', 'intr', 'budget', 'debug', 'system-event');

/** Exits after which no VMM goes on by itself. */
export const failures: Policy = on(
  ['memory-fault', 'arm-nisv', 'shutdown', 'internal-error', 'run-error'],
  (e) => stop(`fatal: ${e.kind}${e.errno ? ` ${e.errno}` : ''}`),
);

/**
 * Closes a composition: an exit that nobody answers is the VMM author's omission, not something to ignore.
 * @throws FaultyardError FY_POLICY (from the handler) naming the kind.
 */
export function total<E extends ExitKind = ExitKind>(policy: Policy<E>): Handler<E> {
  return (exit, vm) => {
    const v = policy(exit, vm);
    if (v) return v;
    throw new FaultyardError('FY_POLICY', {
      policy: 'handler',
      why: `nobody answers exit ${exit.kind} of vcpu ${exit.vcpu}`,
      fix: `compose a policy on('${exit.kind}', …)`,
    });
  };
}
