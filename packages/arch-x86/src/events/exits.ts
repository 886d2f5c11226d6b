/** Exits of events, and what KVM keeps of them in kvm_run (arch/x86/kvm/x86.c, post_kvm_run_save; include/uapi/linux/kvm.h). */
import type { Exit, ExitCodec } from '@faultyard/core';
import type { Machine } from '../machine.ts';
import { SR } from '../state.ts';

declare module '@faultyard/core' {
  interface ExitMap {
    /** KVM_EXIT_IRQ_WINDOW_OPEN (7): kvm_run.request_interrupt_window is set and KVM_INTERRUPT would be taken at once. */
    'irq-window-open': Record<never, never>;
  }
  interface DebugExitArch {
    /**
     * struct kvm_debug_exit_arch: vector 1 or 3, linear address of the instruction, DR6 (active-low bits as they read) and
     * the DR7 in force; both 0 for vector 3.
     */
    readonly x86?: {
      readonly exception: number;
      readonly pc: bigint;
      readonly dr6: bigint;
      readonly dr7: bigint;
    };
  }
}

/** Codecs of the exits. `debug` replaces core's, whose payload belongs to the architecture. */
export const EVENT_EXITS: {
  readonly 'irq-window-open': ExitCodec<'irq-window-open'>;
  readonly debug: ExitCodec<'debug'>;
} = {
  'irq-window-open': {
    kind: 'irq-window-open',
    name: 'KVM_EXIT_IRQ_WINDOW_OPEN',
    number: () => 7,
    encode: () => {},
    decode: () => ({}),
  },
  debug: {
    kind: 'debug',
    name: 'KVM_EXIT_DEBUG',
    number: () => 4,
    // exception u32 @32, pc u64 @40, dr6 @48, dr7 @56
    encode: (e, run) => {
      const x = e.arch?.x86;
      run.setUint32(32, x?.exception ?? 0, true);
      run.setBigUint64(40, x?.pc ?? 0n, true);
      run.setBigUint64(48, x?.dr6 ?? 0n, true);
      run.setBigUint64(56, x?.dr7 ?? 0n, true);
    },
    decode: (run) => {
      const exception = run.getUint32(32, true);
      const dr6 = run.getBigUint64(48, true);
      const dr7 = run.getBigUint64(56, true);
      const hit = [0, 1, 2, 3].filter((n) => (dr6 >> BigInt(n)) & 1n);
      const data = hit.some((n) => (dr7 >> BigInt(16 + 4 * n)) & 3n);
      const step = exception === 1 && (dr6 & 0x4000n) !== 0n;
      return {
        why: step ? 'step' : data ? 'watchpoint' : 'breakpoint',
        arch: { x86: { exception, pc: run.getBigUint64(40, true), dr6, dr7 } },
      };
    },
  },
};

/** Members of kvm_run before the exit union: request_interrupt_window u8, …, cr8 and apic_base u64. */
const RUN = { RequestWindow: 0, Ready: 12, IfFlag: 13, Flags: 14, Cr8: 16, ApicBase: 24 } as const;
/** kvm_run.flags: KVM_RUN_X86_SMM. */
const RUN_SMM = 1;

/** What KVM_RUN leaves in kvm_run beside the exit. */
export function fillRunPage(m: Machine, run: DataView): void {
  const s = m.state;
  // with an 8259 in the kernel nobody waits for a window
  run.setUint8(RUN.Ready, Number(m.events.source !== undefined || m.events.readyForInterrupt()));
  run.setUint8(RUN.IfFlag, Number((s.other & 0x200) !== 0));
  run.setUint16(RUN.Flags, m.events.smi.smm ? RUN_SMM : 0, true);
  m.events.shownCr8 = s.sysLo(SR.CR8) & 15;
  run.setBigUint64(RUN.Cr8, BigInt(m.events.shownCr8), true);
  run.setInt32(RUN.ApicBase, s.sysLo(SR.APIC_BASE), true);
  run.setInt32(RUN.ApicBase + 4, s.sysHi(SR.APIC_BASE), true);
}

/**
 * What KVM_RUN takes from it: the wish for a window; CR8 where there is no interrupt controller, EINVAL above 15. KVM takes
 * whatever stands there; here a CR8 that userspace left alone gives way to one that it set otherwise.
 */
export function takeRunPage(m: Machine, run: DataView, shown: boolean): Exit | undefined {
  m.events.windowRequested = run.getUint8(RUN.RequestWindow) !== 0;
  if (!shown || m.events.source) return undefined;
  const cr8 = run.getBigUint64(RUN.Cr8, true);
  if (cr8 > 15n) return { kind: 'run-error', vcpu: m.id, ret: -1, errno: 'EINVAL' };
  if (Number(cr8) !== m.events.shownCr8) m.state.setSys(SR.CR8, Number(cr8), 0);
  return undefined;
}
