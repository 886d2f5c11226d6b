/**
 * The actual outcome code of a run, from the guest's records, results of KVM_RUN and ioctls, and the VMM's own events. The
 * grammar is in data/README.md. Whatever does not fit becomes a token with a question mark.
 */
import { RELAY_BANK } from '../vmm/index.ts';
import type { GuestRecord } from './guest/record.ts';
import type { Seen } from './seen.ts';

/** Rounds that must be alike to be a loop. */
export const LOOP = 100;

const hex = (v: bigint | undefined): string => (v ?? 0n).toString(16).toUpperCase();
const NO_BANK = 0xffff_ffff_ffff_ffffn;

/** Code of what was seen of one vCPU. `repeat`: rounds that are written out before a loop. */
export function derive(seen: readonly Seen[], repeat: number = 0): string {
  const out = seen.map(token).filter((t) => t !== '');
  return (repeat ? looped(out, repeat) : out).join(' ');
}

function token(s: Seen): string {
  switch (s.saw) {
    case 'ioctl':
      return `${s.name}(${s.result})`;
    case 'event':
      return told(s);
    case 'line':
      return line(s);
    case 'record':
      return record(s.record);
    case 'reset':
      return 'RESET';
    case 'shutdown':
      return 'X8';
    case 'msr':
      return `${s.name}(${hex(s.value)})`;
    case 'other':
      return `${s.what.replaceAll(' ', '-')}?`;
  }
}

function told({ event: e }: Seen & { saw: 'event' }): string {
  if (e.recipient === 'hypervisor')
    return e.action === 'fatal' ? 'V(exit1)' : `QMP(${e.recipient},${e.action})`;
  // what the others of a broadcast get is no relay of the error
  return e.action === 'inject' && e.bank !== RELAY_BANK ? '' : `V(${e.action})`;
}

function line({ to, text }: Seen & { saw: 'line' }): string {
  if (to === 'warning') return text.includes('used by QEMU itself') ? 'V(warn)' : '';
  if (to !== 'monitor') return '';
  if (text === 'Invalid MCE bank number') return 'MON(bank)';
  if (text === 'Invalid MCE status code') return 'MON(status)';
  return /reporting disabled|is not enabled/.test(text) ? 'MON(disabled)' : '';
}

function record(r: GuestRecord): string {
  const [a, b, c, d] = r.values;
  switch (r.kind) {
    case 'trap':
      return a === 13n ? `GP(${hex(d)})` : `EXC(${hex(a)})?`;
    case 'poll':
      return a === BigInt(RELAY_BANK) ? `POLL(${hex(b)})` : `POLL(${hex(a)}:${hex(b)})?`;
    case 'cleared':
      return b === 1n ? 'CLR' : '';
    case 'panic':
      return 'PANIC';
    case 'machineCheck':
      return `MC(${hex(a)},${c === undefined ? '' : hex(b)},${c === NO_BANK ? 'none' : `${c}:${hex(d)}`})`;
    case 'kill':
      return 'KILL';
    case 'irq':
      return `IRQ(${hex(a)})`;
    case 'wrote':
      return `W(${hex(a)})`;
    case 'read':
      return `R(${hex(a)}=${hex(b)})`;
    case 'end':
      return 'LIVE';
  }
}

/** Replaces rounds of two tokens, of which the last {@link LOOP} are alike, by `repeat` of them and `LOOP`. */
function looped(out: readonly string[], repeat: number): readonly string[] {
  const rounds = out.findIndex((t) => /^[SMD]\(/.test(t));
  const body = rounds < 0 ? out : out.slice(0, rounds);
  const head = 2 * repeat;
  const tail = body.slice(head);
  const last = body.slice(head - 2, head);
  if (tail.length < 2 * LOOP || !tail.every((t, n) => t === last[n % 2])) return out;
  return [...body.slice(0, head), 'LOOP', ...out.slice(body.length)];
}
