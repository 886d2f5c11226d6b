/** What the VMM of one cell does about aborts: the knobs of its column as steps. */
import type { Vm } from '@faultyard/core';
import type { KnobSet } from '@faultyard/testkit';
import {
  guard,
  type Hole,
  type Inject,
  inject,
  type Observe,
  observe,
  type Replay,
  SeaPolicy,
  type SeaStep,
  stage1Table,
  type Threshold,
  threshold,
  unmap,
} from '../vmm/index.ts';

/** A VMM's policy with the parts that the lab reads. */
export interface CellPolicy {
  readonly policy: SeaPolicy;
  readonly observe: Observe;
  readonly inject: Inject;
  readonly threshold: Threshold | undefined;
}

/** Choices that are not knobs of the table. */
export interface PolicyOptions {
  /** The VMM walks the guest's stage 1 to find the bad table of a walk. */
  readonly walks: boolean;
  /** Claimed errors are replayed too, so that the guest gets on. */
  readonly replayClaimed: boolean;
}

/**
 * Composes the steps. With `hole` the page is taken away and only accesses to the hole are answered; with `threshold`
 * events are counted first; else every event is replayed, or ignored with `replay: none`.
 */
export function cellPolicy(vm: Vm, knobs: KnobSet, o: PolicyOptions): CellPolicy {
  const replay = (knobs['replay'] ?? 'events') as Replay;
  const most = knobs['threshold'];
  const counts = (knobs['unknownCounts'] ?? 'each') as 'each' | 'never' | 'byGva';
  const watching = observe();
  const counting = most === undefined ? undefined : threshold({ pages: Number(most), unknownCounts: counts });
  const hole = knobs['hole'] as Hole | undefined;
  const answering = hole
    ? inject({ replay, at: ['hole'] })
    : inject({ replay, at: o.replayClaimed ? ['exit', 'hole', 'sigbus'] : ['exit', 'hole'] });
  const steps: SeaStep[] = [watching];
  if (counting) steps.push(counting);
  if (replay !== 'none' && !counting) steps.push(guard());
  if (hole) steps.push(unmap({ hole, ...(o.walks ? { page: stage1Table } : {}) }));
  steps.push(answering);
  return { policy: new SeaPolicy(vm, steps), observe: watching, inject: answering, threshold: counting };
}
