/** What the CPU tells EL2 about an external abort: ESR_EL2 and FAR_EL2, made from the truth and the hardware knobs. */
import type { ExternalAbort } from '@faultyard/arch-arm64';
import type { SeaKnobs } from './knobs.ts';

/** Exception classes at EL2 (DDI 0487 ESR_ELx.EC). A guest's EL0 and EL1 both report the lower-EL codes. */
export const EC: Readonly<Record<'iabtLow' | 'iabtCur' | 'dabtLow' | 'dabtCur', number>> = {
  iabtLow: 0x20,
  iabtCur: 0x21,
  dabtLow: 0x24,
  dabtCur: 0x25,
};
/** Fault status: external abort not on a walk. */
export const FSC_SEA = 0x10;
/** Fault status: external abort on a walk, level 0; level n is n above. */
const FSC_SEA_WALK0 = 0x14;

/** Bits of an external abort's ISS. */
export const ISS: Readonly<Record<'S1PTW' | 'WnR' | 'CM' | 'EA' | 'FnV' | 'SET' | 'VNCR', number>> = {
  S1PTW: 1 << 7,
  WnR: 1 << 6,
  CM: 1 << 8,
  EA: 1 << 9,
  FnV: 1 << 10,
  SET: 3 << 11,
  VNCR: 1 << 13,
};
/** ESR.IL. */
const IL: number = 1 << 25;

/** Whether an FSC is an external abort on a walk as KVM counts them: 0x13..0x17 (level -1..3). */
export function isWalkFsc(fsc: number): boolean {
  return fsc >= 0x13 && fsc <= 0x17;
}

/** A report as EL2 reads it, before KVM looks at it. */
export interface Report {
  /** ESR_EL2[31:0]. */
  readonly esr: number;
  /** FAR_EL2. */
  readonly far: bigint;
}

/** The pattern that stands in FAR_EL2 (and in its tag bits) when hardware leaves them UNKNOWN. */
const FAR_PATTERN = 0xdead_beef_dead_b000n;

/** Shapes the report. */
export function report(a: ExternalAbort, k: SeaKnobs): Report {
  const walk = a.walk;
  let esr = ((a.forFetch ? EC.iabtLow : EC.dabtLow) << 26) | (k.trappedIL === '1' ? IL : 0);
  if (walk) esr |= (FSC_SEA_WALK0 + walk.level) | (walk.s1ptw ? ISS.S1PTW : 0);
  else {
    esr |= FSC_SEA | (Number(k.set) << 11);
    if (k.fnv === '1') esr |= ISS.FnV;
  }
  if (k.ea === '1') esr |= ISS.EA;
  if (a.cm) esr |= ISS.CM | ISS.WnR;
  else if (!a.forFetch && (a.cls === 'atomic' ? k.wnrOnAtomics === '1' : a.write)) esr |= ISS.WnR;
  let far = a.va;
  if (!walk && k.fnv === '1') far = FAR_PATTERN;
  else if (k.farTagBits === 'unknown') far = (far & ((1n << 56n) - 1n)) | (FAR_PATTERN & (0xffn << 56n));
  return { esr: esr >>> 0, far };
}
