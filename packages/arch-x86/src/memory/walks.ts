/** The point `x86.walk`: what the guest's page walks stand on. `src/points.ts` exports it again. */
import type { Point, Stage2 } from '@faultyard/core';
import type { X86Vcpu } from '../vcpu.ts';
import type { SecondStage } from './port.ts';

/** Where guest physical addresses lead. */
export interface WalkGround {
  /** Stage 2 that they go through; default: the VM's own, of address space 0. */
  readonly stage2?: Stage2 | undefined;
  /**
   * A second stage of the guest's own (nested paging), between the walk and stage 2: `acting` sets accessed and dirty
   * bits and remembers why it failed, `silent` is the same without any effect, for observers.
   */
  readonly nested?: { readonly acting: SecondStage; readonly silent: SecondStage } | undefined;
}

/**
 * What the walks of a vCPU stand on now. Asked when that may have changed: SMM was entered or left, a plugin called
 * `X86Vcpu.walkChanged`, or state was restored. Later contributions override earlier ones. The architecture says what
 * SMM does: address space 1.
 */
export const walk: Point<{ readonly vcpu: X86Vcpu }, WalkGround | undefined> & {
  /** Joins the answers. */
  combine(
    f: readonly ((q: { readonly vcpu: X86Vcpu }) => WalkGround | undefined)[],
  ): (q: { readonly vcpu: X86Vcpu }) => WalkGround;
} = {
  id: 'x86.walk',
  combine: (fns) => (q) => Object.assign({}, ...fns.map((f) => f(q))) as WalkGround,
};
