/**
 * Completion of a device access as KVM does it: the syndrome of the exit says which register takes the answer and how
 * it is extended (arch/arm64/kvm/mmio.c kvm_handle_mmio_return), then the pc moves on.
 */
import { SINK } from './isa/form.ts';
import type { FactsOf } from './isa/syndrome.ts';
import type { Arm64State } from './state.ts';

/** Syndrome of a store: nothing to write back. */
export const STORE = -1;
const SIGNED = 0x100;
const WIDE = 0x200;

/**
 * Packs what a load's answer needs, by instruction word: register slot in 7:0, sign extension, 64-bit register.
 */
export function loadSyndromes(facts: FactsOf): (word: number) => number {
  const known = new Map<number, number>();
  return (word) => {
    let packed = known.get(word);
    if (packed === undefined) {
      const s = facts(word)?.syndrome;
      packed = s ? (s.srt === 31 ? SINK : s.srt) | (s.sse ? SIGNED : 0) | (s.sf ? WIDE : 0) : SINK;
      if (known.size > 4096) known.clear();
      known.set(word, packed);
    }
    return packed;
  };
}

/** Writes a load's answer to its register, and retires the instruction. */
export function completeDevice(
  s: Arm64State,
  d: { readonly lo: number; readonly hi: number; readonly size: number },
  syndrome: number,
): void {
  if (syndrome !== STORE) {
    let lo = d.lo;
    let hi = d.size === 8 ? d.hi : 0;
    if (d.size < 4) {
      const shift = 32 - 8 * d.size;
      lo = syndrome & SIGNED ? (lo << shift) >> shift : (lo << shift) >>> shift;
    }
    if (d.size < 8 && syndrome & SIGNED && syndrome & WIDE) hi = lo >> 31;
    s.setX(syndrome & 0xff, lo, hi);
  }
  s.advance();
}
