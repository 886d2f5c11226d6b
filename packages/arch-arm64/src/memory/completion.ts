/**
 * Completion of a device access as KVM does it: the syndrome of the exit says which register takes the answer and how
 * it is extended (arch/arm64/kvm/mmio.c kvm_handle_mmio_return), then the pc moves on.
 */
import { SINK } from '../isa/form.ts';
import type { FactsOf } from '../isa/syndrome.ts';
import type { Arm64State } from '../state.ts';

/** Syndrome of a store: nothing to write back. */
export const STORE = -1;
const SIGNED = 0x100;
const WIDE = 0x200;
/** Instruction words whose syndromes are kept. */
const KNOWN = 256;

/**
 * Packs what a load's answer needs, by instruction word: register slot in 7:0, sign extension, 64-bit register.
 */
export function loadSyndromes(facts: FactsOf): (word: number) => number {
  // a direct-mapped cache; word 0 is no load
  const words = new Int32Array(KNOWN);
  const packed = new Int32Array(KNOWN);
  return (word) => {
    const i = (word ^ (word >>> 8) ^ (word >>> 20)) & (KNOWN - 1);
    if (words[i] !== word || word === 0) {
      const s = facts(word)?.syndrome;
      words[i] = word;
      packed[i] = s ? (s.srt === 31 ? SINK : s.srt) | (s.sse ? SIGNED : 0) | (s.sf ? WIDE : 0) : SINK;
    }
    return packed[i] as number;
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
