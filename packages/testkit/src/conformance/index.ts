/** What every architecture must do, as plain functions that any test runner can call. */
import { devices } from './devices.ts';
import { memory } from './memory.ts';
import { running } from './running.ts';
import { state } from './state.ts';
import type { Case, Subject } from './subject.ts';

export type { Case, Code, Step, Subject } from './subject.ts';

/**
 * The vCPU conformance suite. Each case makes its own VMs from a fresh subject and throws an Error when the
 * architecture does something else: `for (const c of conformance(subject)) test(c.name, c.run)`.
 */
export function conformance(make: () => Subject): Case[] {
  return [...running(make), ...devices(make), ...memory(make), ...state(make)];
}
