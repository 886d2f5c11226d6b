/** The lab's notebook: what was seen of one vCPU, in order. Outcome codes are derived from nothing else. */
import { showRecord, type TrapRecord } from './guest/record.ts';

/** One observation. */
export type Seen =
  /** KVM_EXIT_ARM_SEA: KVM_RUN returned 0. */
  | {
      readonly saw: 'sea';
      readonly esr: bigint;
      readonly flags: bigint;
      readonly gva: bigint;
      readonly gpa: bigint;
      /** The whole kvm_run page is byte for byte that of the exit before. */
      readonly same: boolean;
    }
  /** The VMM set an abort pending, or wrote one into the registers. */
  | { readonly saw: 'replay' }
  /** An access to a hole, by the door it came through. */
  | {
      readonly saw: 'hole';
      readonly door: 'mmio';
      readonly gpa: bigint;
      readonly write: boolean;
      readonly size: number;
    }
  | { readonly saw: 'hole'; readonly door: 'nisv' | 'userfault'; readonly gpa: bigint }
  | { readonly saw: 'hole'; readonly door: 'enosys' }
  /** SIGBUS to the vCPU's thread, with KVM_RUN = -1/EINTR. */
  | { readonly saw: 'signal'; readonly code: string; readonly lsb: number }
  /** The guest wrote a record. `hole`: what its FAR leads to, or a table on the way, is in no memslot. */
  | { readonly saw: 'record'; readonly record: TrapRecord; readonly hole: boolean }
  /** KVM_GET_VCPU_EVENTS reports a pending SError; `moved`: the pc is not that of the touch any more. */
  | { readonly saw: 'pending'; readonly esr: bigint; readonly moved: boolean }
  /** SIGBUS to the VMM for a load of its own. */
  | { readonly saw: 'host-signal'; readonly code: string }
  /** The host failed. */
  | { readonly saw: 'host'; readonly how: 'oops' | 'panic' }
  /** The VMM killed the VM. */
  | { readonly saw: 'kill' }
  /** An exit nobody foresaw. */
  | { readonly saw: 'other'; readonly kind: string };

/** An observation as one line. */
export function showSeen(s: Seen): string {
  const h = (v: bigint): string => v.toString(16);
  switch (s.saw) {
    case 'sea':
      return `exit arm-sea esr=${h(s.esr)} flags=${s.flags} gva=${h(s.gva)} gpa=${h(s.gpa)}`;
    case 'record':
      return `guest ${showRecord(s.record)}`;
    case 'hole':
      return `hole ${s.door}`;
    case 'signal':
      return `SIGBUS ${s.code} lsb ${s.lsb}`;
    case 'pending':
      return `SError pending, esr ${h(s.esr)}`;
    case 'other':
      return s.kind;
    default:
      return s.saw;
  }
}
