/** Operations of KVM/x86. */
import type { OpDef } from '@faultyard/core';
import { EVENT_OPS } from '../events/ops.ts';

/** All of them. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const X86_OPS: readonly OpDef<any>[] = [...EVENT_OPS];
