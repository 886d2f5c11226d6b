/** The word `mce` of a VMM's monitor, with its messages. */
import type { Vcpu, Vm } from '@faultyard/core';
import { McaMsr, Status } from '../bits.ts';
import { broadcasts, getMsr, guestCpu } from './guest-cpu.ts';
import { injectMachineCheck } from './inject.ts';
import { MceRelay } from './relay.ts';
import { FILLER, type MachineCheck } from './shape.ts';

/** How the word is written. */
export const MCE_USAGE = 'mce [-b] cpu bank status mcgstatus addr misc';

/**
 * Carries `mce [-b] cpu bank status mcgstatus addr misc` out (numbers as C writes them) and returns what the monitor
 * prints: nothing, when all went well. The error is forced: nobody asks whether its action is optional. With `-b` every
 * other vCPU gets the filler. Where the VM has a relay, its log and its control socket hear of it.
 */
export function monitorMce(where: MceRelay | Vm, words: readonly string[]): readonly string[] {
  const lines: string[] = [];
  const vm = where instanceof MceRelay ? where.vm : where;
  const relay = where instanceof MceRelay ? where : undefined;
  const put = (vcpu: number, mce: MachineCheck): void => {
    const r = relay?.put(vcpu, mce, true) ?? injectMachineCheck(vm.vcpus[vcpu] as Vcpu, mce, true);
    if (r.said) lines.push(r.said.text);
  };
  const refused = carryOut(vm, words, put);
  if (refused === undefined) return lines;
  relay?.say('monitor', refused);
  return [refused];
}

/** Does it, or says why not. */
function carryOut(
  vm: Vm,
  words: readonly string[],
  put: (vcpu: number, mce: MachineCheck) => void,
): string | undefined {
  const broadcast = words[0] === '-b';
  const given = broadcast ? words.slice(1) : words;
  const numbers = given.map(number);
  const bad = numbers.indexOf(undefined);
  if (bad >= 0) return `mce: ${given[bad]} is not a number of 64 bits; usage: ${MCE_USAGE}`;
  const [cpu, bank, status, mcgStatus, addr, misc] = numbers as bigint[];
  if (given.length !== 6 || cpu === undefined) return `usage: ${MCE_USAGE}`;
  const vcpu = cpu < BigInt(vm.vcpus.length) ? (vm.vcpus[Number(cpu)] as Vcpu) : undefined;
  if (!vcpu) return `CPU ${cpu}: there is none`;

  // KVM without machine checks, or of another architecture
  const known = vm.checkExtension('mce') > 0;
  const count = known ? (getMsr(vcpu, McaMsr.MCG_CAP) ?? 0n) & 0xffn : 0n;
  if (count === 0n) return 'MCE injection not supported';
  if ((bank as bigint) >= count) return 'Invalid MCE bank number';
  if (!((status as bigint) & Status.VAL)) return 'Invalid MCE status code';
  if (broadcast && !broadcasts(guestCpu(vcpu))) return 'Guest CPU does not support MCA broadcast';

  put(vcpu.id, { bank: Number(bank), status, mcgStatus, addr, misc } as MachineCheck);
  if (broadcast) for (const { id } of vm.vcpus) if (id !== vcpu.id) put(id, FILLER);
  return undefined;
}

/** A number as C writes it, of 64 bits. */
function number(text: string): bigint | undefined {
  if (!/^(0[xX][0-9a-fA-F]+|\d+)$/.test(text)) return undefined;
  const n = BigInt(text);
  return n < 1n << 64n ? n : undefined;
}
