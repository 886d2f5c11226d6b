/** Operations of KVM/x86. */
import type { OpDef } from '@faultyard/core';

/** All of them. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const X86_OPS: readonly OpDef<any>[] = [];
