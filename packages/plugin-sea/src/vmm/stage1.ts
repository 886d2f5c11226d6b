/** The VMM's own walk of the guest's stage 1: which page of tables is bad when an abort names only a level. */
import type { Vcpu } from '@faultyard/core';
import { type SeaEvent, syndrome } from './event.ts';
import type { SeaPolicy } from './policy.ts';

/** Bits [47:12] of a descriptor or TTBR. */
const TABLE = 0xffff_ffff_f000n;

/**
 * gpa of the table page that the walk of `e.gva` met at the level the syndrome tells, for 4K granules and 48-bit
 * addresses; nothing for other aborts, other granules, or tables that cannot be read. The bad page itself is never
 * read.
 */
export function stage1Table(e: SeaEvent, p: SeaPolicy): bigint | undefined {
  if (e.esr === undefined || e.gva === undefined) return undefined;
  const s = syndrome(e.esr);
  if (!s.walk || s.level < 0) return undefined;
  const vcpu = p.vm.vcpus[e.vcpu] as Vcpu;
  const tcr = vcpu.get('tcr_el1');
  const upper = (e.gva >> 55n) & 1n;
  const granule = upper ? (tcr >> 30n) & 3n : (tcr >> 14n) & 3n;
  const size = 64n - ((upper ? tcr >> 16n : tcr) & 0x3fn);
  if (granule !== (upper ? 2n : 0n) || size !== 48n) return undefined;
  let table = vcpu.get(upper ? 'ttbr1_el1' : 'ttbr0_el1') & TABLE;
  for (let level = 0; level < s.level; level++) {
    const index = (e.gva >> BigInt(39 - 9 * level)) & 0x1ffn;
    const at = table + index * 8n;
    if (!p.vm.memory.slotAt(at)) return undefined;
    const descriptor = p.vm.peek(at);
    if ((descriptor & 3n) !== 3n) return undefined;
    table = descriptor & TABLE;
  }
  return table;
}
