/** Who may use x87, MMX and SSE state (AMD64 APM volume 2, table 8-1 on #NM; volume 5 and 4, exceptions of each page). */
import type { Machine } from '../machine.ts';
import { type Fault, NO_DEVICE, UNDEFINED } from '../segments/fault.ts';
import { CR0, CR4 } from '../state.ts';

/** #MF. */
const PENDING: Fault = { vector: 16 };

/** SSE instructions; also what a set `Guard.Sse` means. */
export function sseFault(m: Machine): Fault | undefined {
  const { cr0, cr4 } = m.state;
  if (cr0 & CR0.EM || !(cr4 & CR4.OSFXSR)) return UNDEFINED;
  return cr0 & CR0.TS ? NO_DEVICE : undefined;
}

/**
 * x87 instructions. `waits`: they report a pending exception first. With CR0.NE = 0 that would go out by FERR# to an
 * interrupt controller; no board has that wire (nor has KVM), and the instruction goes on.
 */
export function x87Fault(m: Machine, waits: boolean): Fault | undefined {
  const { cr0 } = m.state;
  if (cr0 & (CR0.EM | CR0.TS)) return NO_DEVICE;
  return waits ? pendingFault(m) : undefined;
}

/** MMX instructions; also what a set `Guard.X87` means before one. */
export function mmxFault(m: Machine): Fault | undefined {
  const { cr0 } = m.state;
  if (cr0 & CR0.EM) return UNDEFINED;
  return cr0 & CR0.TS ? NO_DEVICE : pendingFault(m);
}

/** WAIT: CR0.TS counts only where CR0.MP says so. */
export function waitFault(m: Machine): Fault | undefined {
  const { cr0 } = m.state;
  return cr0 & CR0.MP && cr0 & CR0.TS ? NO_DEVICE : pendingFault(m);
}

function pendingFault(m: Machine): Fault | undefined {
  return m.x87.pending && m.state.cr0 & CR0.NE ? PENDING : undefined;
}
