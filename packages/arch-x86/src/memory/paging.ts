/** Paging as the control registers set it up: what a walk needs to know beside the address. */
import type { Model } from '../model.ts';
import { CR0, CR4, EFER, SR, type X86State } from '../state.ts';

/** Parameters of a walk; one object, reused. nSVM fills one of its own for nested page tables. */
export interface Paging {
  /** 0: off. 2: 32-bit. 3: PAE. 4 and 5: long mode. */
  levels: 0 | 2 | 3 | 4 | 5;
  /** Physical address of the top table (PAE: of the four pointers). */
  root: number;
  /** PAE: the pointers as CR3's last load left them, four pairs lo, hi. */
  readonly pdptes: Int32Array;
  /** PAE: read the pointer from memory at {@link root} instead, as nested paging does. */
  pdptesInMemory: boolean;
  /** Bits of an entry's high half that must be 0: above MAXPHYADDR; NX without EFER.NXE. */
  reservedHigh: number;
  physicalBits: number;
  /** EFER.NXE (of PAE and long mode). */
  nx: boolean;
  /** CR0.WP: the supervisor may not write read-only pages either. */
  wp: boolean;
  smep: boolean;
  smap: boolean;
  /** Protection keys are on (CR4.PKE, long mode). */
  keys: boolean;
  pkru: number;
  /** CR4.PSE: 4 MiB pages of 32-bit paging. */
  pse: boolean;
  /** CR4.PGE. */
  global: boolean;
  /** The model has 1 GiB pages. */
  gib: boolean;
  /** AMD: bit 8 of PML4 and PML5 entries must be 0 (AMD64 APM volume 2, 5.3.3). */
  amd: boolean;
  /** CR0, CR4, EFER and PKRU that the rest follows; see {@link follow}. */
  readonly followed: Int32Array;
}

/** Paging that is off. */
export function noPaging(): Paging {
  return {
    levels: 0,
    root: 0,
    pdptes: new Int32Array(8),
    pdptesInMemory: false,
    reservedHigh: 0,
    physicalBits: 52,
    nx: false,
    wp: false,
    smep: false,
    smap: false,
    keys: false,
    pkru: 0,
    pse: false,
    global: false,
    gib: false,
    amd: false,
    followed: new Int32Array(4),
  };
}

/** What of a model paging depends on. */
export type PagingModel = Pick<Model, 'physicalBits' | 'vendor' | 'features'>;

/** Brings the parameters that never change in. */
export function pagingOf(model: PagingModel): Paging {
  const p = noPaging();
  p.physicalBits = model.physicalBits;
  p.gib = model.features.has('pdpe1gb');
  p.amd = model.vendor === 'AMD';
  return p;
}

/** Bits [51:bits] of an entry, in its high half. `bits` is 32 to 52. */
export function highMask(bits: number): number {
  return 0xf_ffff & ~((1 << (bits - 32)) - 1);
}

/**
 * Follows the registers as they are now: everything but {@link Paging.root} and {@link Paging.pdptes}. Cheap while they
 * stay the same.
 */
export function follow(p: Paging, s: X86State): void {
  const { cr0, cr4, efer } = s;
  const pkru = s.sysLo(SR.PKRU);
  const f = p.followed;
  if (f[0] === cr0 && f[1] === cr4 && f[2] === efer && f[3] === pkru) return;
  f[0] = cr0;
  f[1] = cr4;
  f[2] = efer;
  f[3] = pkru;
  p.wp = (cr0 & CR0.WP) !== 0;
  if ((cr0 & CR0.PG) === 0) {
    p.levels = 0;
    return;
  }
  p.smep = (cr4 & CR4.SMEP) !== 0;
  p.smap = (cr4 & CR4.SMAP) !== 0;
  p.pse = (cr4 & CR4.PSE) !== 0;
  p.global = (cr4 & CR4.PGE) !== 0;
  p.keys = false;
  if ((cr4 & CR4.PAE) === 0) {
    p.levels = 2;
    p.nx = false;
    return;
  }
  p.nx = (efer & EFER.NXE) !== 0;
  p.reservedHigh = highMask(p.physicalBits) | (p.nx ? 0 : 1 << 31);
  if ((efer & EFER.LMA) === 0) {
    p.levels = 3;
    // bits 62:52 are free in long mode only
    p.reservedHigh |= 0x7ff0_0000;
    return;
  }
  p.levels = cr4 & CR4.LA57 ? 5 : 4;
  p.keys = (cr4 & CR4.PKE) !== 0;
  p.pkru = pkru;
}

/** Follows CR3 and the PAE pointers, after {@link follow}. */
export function followRoot(p: Paging, s: X86State): void {
  const cr3 = s.sysLo(SR.CR3);
  if (p.levels === 2) p.root = (cr3 & -4096) >>> 0;
  else if (p.levels === 3) {
    p.root = (cr3 & -32) >>> 0;
    for (let i = 0; i < 8; i++) p.pdptes[i] = s.sys[2 * SR.PDPTE0 + i] as number;
  } else p.root = ((cr3 & -4096) >>> 0) + (s.sysHi(SR.CR3) & 0xf_ffff) * 0x1_0000_0000;
}

/** The PCID in use: CR3 bits 11:0 with CR4.PCIDE, else 0. */
export function pcidOf(s: X86State): number {
  return s.cr4 & CR4.PCIDE ? s.sysLo(SR.CR3) & 0xfff : 0;
}

/** Whether an address is canonical under the linear address width in use (48 bits, 57 with CR4.LA57). */
export function canonical(s: X86State, hi: number): boolean {
  const shift = s.cr4 & CR4.LA57 ? 7 : 16;
  return (hi << shift) >> shift === hi;
}
