/** The word `mce` of a VMM's monitor, with its messages. */
import { McaMsr, Status } from '../bits.ts';
import { broadcasts, getMsr, guestCpu } from './guest-cpu.ts';
import type { MceRelay } from './relay.ts';
import { FILLER } from './shape.ts';

/** How the word is written. */
export const MCE_USAGE = 'mce [-b] cpu bank status mcgstatus addr misc';

/**
 * Carries `mce [-b] cpu bank status mcgstatus addr misc` out (numbers as C writes them) and returns what the monitor
 * prints: nothing, when all went well. The error is forced: nobody asks whether its action is optional. With `-b` every
 * other vCPU gets the filler.
 */
export function monitorMce(relay: MceRelay, words: readonly string[]): readonly string[] {
  const before = relay.log.length;
  const refused = carryOut(relay, words);
  if (refused !== undefined) relay.say('monitor', refused);
  return relay.log.slice(before).flatMap((l) => (l.to === 'monitor' ? [l.text] : []));
}

/** Does it, or says why not. */
function carryOut(relay: MceRelay, words: readonly string[]): string | undefined {
  const broadcast = words[0] === '-b';
  const given = broadcast ? words.slice(1) : words;
  const numbers = given.map(number);
  const bad = numbers.indexOf(undefined);
  if (bad >= 0) return `mce: ${given[bad]} is not a number of 64 bits; usage: ${MCE_USAGE}`;
  const [cpu, bank, status, mcgStatus, addr, misc] = numbers as bigint[];
  if (given.length !== 6 || cpu === undefined) return `usage: ${MCE_USAGE}`;
  const vcpu = cpu < BigInt(relay.vm.vcpus.length) ? relay.vm.vcpus[Number(cpu)] : undefined;
  if (!vcpu) return `CPU ${cpu}: there is none`;

  const count = (getMsr(relay.cpu(vcpu.id), McaMsr.MCG_CAP) ?? 0n) & 0xffn;
  if (!haveMce(relay) || count === 0n) return 'MCE injection not supported';
  if ((bank as bigint) >= count) return 'Invalid MCE bank number';
  if (!((status as bigint) & Status.VAL)) return 'Invalid MCE status code';
  if (broadcast && !broadcasts(guestCpu(relay.cpu(vcpu.id))))
    return 'Guest CPU does not support MCA broadcast';

  const mce = { bank: Number(bank), status, mcgStatus, addr, misc } as Parameters<MceRelay['put']>[1];
  relay.put(vcpu.id, mce, true);
  if (broadcast) for (const { id } of relay.vm.vcpus) if (id !== vcpu.id) relay.put(id, FILLER, true);
  return undefined;
}

/** Whether KVM has machine checks at all. */
function haveMce(relay: MceRelay): boolean {
  return relay.vm.checkExtension('mce') > 0;
}

/** A number as C writes it, of 64 bits. */
function number(text: string): bigint | undefined {
  if (!/^(0[xX][0-9a-fA-F]+|\d+)$/.test(text)) return undefined;
  const n = BigInt(text);
  return n < 1n << 64n ? n : undefined;
}
