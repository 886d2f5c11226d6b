/** Slow operations and guards: what generated code leaves to the vCPU (`isa/slow.ts`, `isa/guards.ts`). */
import { Vector } from './events/vectors.ts';
import { Guard, PLUGIN_GUARDS } from './isa/guards.ts';
import { Seg } from './isa/layout.ts';
import { Slow } from './isa/slow.ts';
import type { NextStep } from './next.ts';
import { intercept } from './points.ts';
import { CR0, CR4 } from './state.ts';
import { dispatch } from './system/dispatch.ts';
import type { X86Vcpu } from './vcpu.ts';

/** Performs slow operation `op`; its arguments are in the vCPU's slow argument area. */
export function slow(v: X86Vcpu, op: number): NextStep {
  switch (op) {
    case Slow.Port:
      return v.plainPort() ?? dispatch(v, v.instruction());
    case Slow.System:
      return dispatch(v, v.instruction());
    case Slow.SegmentLimit:
      return v.raise(v.slowLo(0) === Seg.SS ? Vector.SS : Vector.GP, 0);
    case Slow.GeneralProtection:
    case Slow.Unaligned:
      return v.raise(Vector.GP, 0);
    case Slow.DivideError:
      return v.raise(Vector.DE);
    case Slow.BoundRange:
      return v.raise(Vector.BR);
    case Slow.StackFault:
      return v.raise(Vector.SS, 0);
    default:
      return op >= Slow.Plugin ? v.operation(op - Slow.Plugin) : v.raise(Vector.UD);
  }
}

/** What a set guard bit means for the instruction that asked for it. */
export function guard(v: X86Vcpu, n: number): NextStep {
  const { cr0, cr4 } = v.state;
  switch (n) {
    case Guard.Sse:
      // EM and a missing OSFXSR come before TS (AMD64 APM volume 3, exceptions of SSE instructions)
      return v.raise(cr0 & CR0.EM || !(cr4 & CR4.OSFXSR) ? Vector.UD : Vector.NM);
    case Guard.X87:
      return v.raise(Vector.NM);
    case Guard.Iopl:
    case Guard.Rdtsc:
    case Guard.Pushf:
    case Guard.Pause:
      return dispatch(v, v.instruction());
    default: {
      // a plugin that sets its guard wants to see what meets it
      const next = n >= PLUGIN_GUARDS ? v.vm.ask(intercept)({ vcpu: v, what: 'guard', info: n }) : undefined;
      return next ?? v.raise(Vector.UD);
    }
  }
}
