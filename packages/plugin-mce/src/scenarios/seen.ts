/** The lab's notebook: what was seen of one vCPU, in order. Outcome codes are derived from nothing else. */
import type { MemoryFailureEvent } from '../vmm/index.ts';
import { type GuestRecord, showRecord } from './guest/record.ts';

/** One observation. */
export type Seen =
  /** An ioctl of machine checks returned. */
  | { readonly saw: 'ioctl'; readonly name: 'K' | 'SETUP'; readonly result: number }
  /** The VMM told its control socket. */
  | { readonly saw: 'event'; readonly event: MemoryFailureEvent }
  /** The VMM wrote a line to its log or its monitor. */
  | { readonly saw: 'line'; readonly to: 'error' | 'warning' | 'monitor'; readonly text: string }
  /** The guest wrote a record. */
  | { readonly saw: 'record'; readonly record: GuestRecord }
  /** The VMM reset the VM. */
  | { readonly saw: 'reset' }
  /** KVM_RUN returned 0 with exit 8. */
  | { readonly saw: 'shutdown' }
  /** Registers at the end, by KVM_GET_MSRS. */
  | { readonly saw: 'msr'; readonly name: 'S' | 'M' | 'D'; readonly value: bigint }
  /** Something nobody foresaw. */
  | { readonly saw: 'other'; readonly what: string };

/** An observation as one line. */
export function showSeen(s: Seen): string {
  switch (s.saw) {
    case 'ioctl':
      return `${s.name === 'K' ? 'KVM_X86_SET_MCE' : 'KVM_X86_SETUP_MCE'} = ${s.result}`;
    case 'event': {
      const { recipient, action, flags, bank } = s.event;
      const words = [flags.actionRequired ? 'action-required' : '', flags.recursive ? 'recursive' : ''];
      const where = bank === undefined ? '' : `bank ${bank}`;
      return ['MEMORY_FAILURE', recipient, action, where, ...words].filter((w) => w).join(' ');
    }
    case 'line':
      return `${s.to}: ${s.text}`;
    case 'record':
      return `guest ${showRecord(s.record)}`;
    case 'msr':
      return `${s.name} = ${s.value.toString(16)}`;
    case 'other':
      return s.what;
    default:
      return s.saw;
  }
}
