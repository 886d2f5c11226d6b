/** The flat machine for tests of segments and system instructions: exceptions are recorded, not delivered. */

import type { Machine } from '../../src/machine.ts';
import { Next, type NextStep } from '../../src/next.ts';
import type { Segment } from '../../src/state.ts';
import { dispatch } from '../../src/system/dispatch.ts';
import type { FakeMachine } from './fake-machine.ts';

/** What an instruction came to: the exception and its error code, or how the run loop goes on. */
export type Outcome = readonly [vector: number, errorCode: number | undefined] | 'run' | 'memory' | NextStep;

/** A flat machine that runs single system instructions. */
export interface SystemMachine {
  readonly m: FakeMachine;
  /** Calls of the TLB, in order: `all`, `non-global 3`, `page 1000 pcid 0 global`. */
  readonly flushes: string[];
  /** Port accesses that passed the permission check: `out 70 1`. */
  readonly ports: string[];
  /** What plugins may intercept was asked: names, in order. */
  readonly asked: string[];
  /** Puts the bytes at pc and performs them. */
  run(...bytes: readonly number[]): Outcome;
  /** Base, limit and attributes of a segment register, for comparison. */
  hidden(n: number): Pick<Segment, 'attr' | 'limit' | 'baseLo'>;
}

/** Makes one of a machine in a mode. */
export function systemMachine(m: FakeMachine): SystemMachine {
  const flushes: string[] = [];
  const ports: string[] = [];
  const asked: string[] = [];
  let raised: readonly [number, number | undefined] | undefined;
  let memory = false;
  const hex = (n: number): string => (n >>> 0).toString(16);
  const faulted = m.faulted.bind(m);
  Object.assign(m, {
    raise: (vector: number, errorCode?: number): NextStep => {
      raised = [vector, errorCode];
      return Next.Run;
    },
    faulted: (): NextStep => {
      memory = true;
      return faulted();
    },
    intercepted: (what: string): NextStep | undefined => {
      asked.push(what);
      return m.intercepts(what);
    },
    tlb: {
      dropAll: () => flushes.push('all'),
      dropNonGlobal: (pcid = -1) => flushes.push(`non-global ${pcid}`),
      dropPage: (lo: number, _hi: number, pcid: number, global = true) =>
        flushes.push(`page ${hex(lo)} pcid ${pcid}${global ? ' global' : ''}`),
    },
    tsc: { read: () => ({ lo: 0x1234_5678, hi: 0x9abc }) },
    portIo: (_i: unknown, port: number, size: number, write: boolean, string: boolean): NextStep => {
      ports.push(`${write ? 'out' : 'in'}${string ? 's' : ''} ${hex(port)} ${size}`);
      return Next.Device;
    },
  } satisfies Partial<Record<keyof Machine, unknown>>);
  m.events.raise = (vector: number, errorCode?: number): NextStep => {
    raised = [vector, errorCode];
    return Next.Run;
  };
  return {
    m,
    flushes,
    ports,
    asked,
    run(...bytes) {
      m.put(m.state.pcLo >>> 0, ...bytes);
      raised = undefined;
      memory = false;
      const i = m.instruction();
      const step = dispatch(m as unknown as Machine, i);
      if (memory) return 'memory';
      return raised ?? (step === Next.Run ? 'run' : step);
    },
    hidden(n) {
      const { attr, limit, baseLo } = m.state.segments[n] as Segment;
      return { attr, limit, baseLo };
    },
  };
}
