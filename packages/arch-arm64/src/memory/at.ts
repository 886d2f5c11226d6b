/**
 * Address translation instructions AT S1E1R, S1E1W, S1E0R, S1E0W and their result in PAR_EL1 (DDI 0487, C5.4, D19.2
 * PAR_EL1). They walk as things are now; the TLB is not asked.
 */
import { type Arm64State, SR } from '../state.ts';
import { sysregKey } from '../sysregs/def.ts';
import { memoryType, PAGE, permitted, READ, shareability, WRITE } from './attributes.ts';
import { FSC, type TableReader, WalkEnd, type WalkEndCode, type WalkResult, walk } from './walk.ts';

const key = (crm: number, op2: number): number => sysregKey([1, 0, 7, crm, op2]);
/** AT S1E1R; S1E1W, S1E0R and S1E0W follow. */
const AT_S1E1R: number = key(8, 0);
/** AT S1E1RP, S1E1WP: as S1E1R and S1E1W with PSTATE.PAN taken into account (FEAT_PAN2; not in this CPU). */
const AT_LAST: number = key(8, 3);

/** Translation for AT and for KVM's look at a guest address; nothing is cached. */
export interface Probe {
  readonly state: Arm64State;
  readonly paBits: number;
  readonly reader: TableReader;
}

/** PAR_EL1.F, NS and the bit that reads as one. */
const F = 1;
const RES1 = 1 << 11;
const NS = 1 << 9;

/**
 * Stage 1 translation of an address with permissions, by a fresh walk. `out.fsc` is set when it ends in
 * {@link WalkEnd.Fault}, permission faults included.
 */
export function probe(
  p: Probe,
  lo: number,
  hi: number,
  write: boolean,
  el0: boolean,
  pan: boolean,
  out: WalkResult,
): WalkEndCode {
  const s = p.state;
  if ((s.lo(SR.SCTLR_EL1) & 1) === 0) return flat(p.paBits, lo, hi, false, out);
  const end = walk(s, p.paBits, lo, hi, p.reader, out);
  if (end !== WalkEnd.Done) return end;
  if (permitted(out.attributes, write ? WRITE : READ, el0, false, pan)) return end;
  out.fsc = FSC.Permission + out.level;
  return WalkEnd.Fault;
}

/** Translation with the MMU off: flat, Device-nGnRnE for data, Normal for fetches (DDI 0487, D5.2.9). */
export function flat(paBits: number, lo: number, hi: number, fetch: boolean, out: WalkResult): WalkEndCode {
  out.level = 0;
  out.table = 0;
  if (hi >>> (paBits - 32) !== 0) {
    out.fsc = FSC.AddressSize;
    return WalkEnd.Fault;
  }
  out.pa = hi * 0x1_0000_0000 + (lo >>> 0);
  out.attributes = fetch ? PAGE.El0 | (0xff << 8) : PAGE.El0 | PAGE.Device | (2 << 16);
  return WalkEnd.Done;
}

/** Whether the key (op0 = 1) names an AT of stage 1 that this CPU has. */
export function isAt(k: number): boolean {
  return k >= AT_S1E1R && k <= AT_LAST;
}

/**
 * Carries out AT: PAR_EL1 is written unless the walk could not read a table, which the caller turns into an abort of
 * the AT instruction itself.
 */
export function translateAddress(p: Probe, k: number, lo: number, hi: number, out: WalkResult): WalkEndCode {
  const op = k & 7;
  const end = probe(p, lo, hi, (op & 1) !== 0, op >= 2, false, out);
  if (end === WalkEnd.Done) {
    const mair = memoryType(out.attributes);
    const sh = out.attributes & PAGE.Device || mair === 0x44 ? 2 : shareability(out.attributes);
    const page = Math.floor(out.pa / 4096);
    const parLo = (page << 12) | RES1 | NS | (sh << 7);
    const parHi = (mair << 24) | (Math.floor(page / 0x10_0000) & 0xffff);
    p.state.put(SR.PAR_EL1, parLo, parHi);
  } else if (end === WalkEnd.Fault) {
    p.state.put(SR.PAR_EL1, F | (out.fsc << 1) | RES1, 0);
  }
  return end;
}
