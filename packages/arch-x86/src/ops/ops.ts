/** Operations of KVM/x86. */
import { IRQ_LINE_OPS, type OpDef } from '@faultyard/core';
import { EVENT_OPS } from '../events/ops.ts';
import { CONTROL_OPS } from './control.ts';
import { CPUID_OPS } from './cpuid.ts';
import { FPU_OPS } from './fpu.ts';
import { IRQCHIP_OPS } from './irqchip.ts';
import { MSR_OPS } from './msrs.ts';
import { REGISTER_OPS } from './registers.ts';
import { SREGS_OPS } from './sregs.ts';

/** All of them. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const X86_OPS: readonly OpDef<any>[] = [
  ...REGISTER_OPS,
  ...SREGS_OPS,
  ...MSR_OPS,
  ...CPUID_OPS,
  ...FPU_OPS,
  ...CONTROL_OPS,
  ...EVENT_OPS,
  ...IRQCHIP_OPS,
  ...IRQ_LINE_OPS,
];
