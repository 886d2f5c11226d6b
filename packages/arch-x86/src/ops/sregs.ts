/**
 * KVM_GET_SREGS, KVM_SET_SREGS and their second forms (struct kvm_sregs, kvm_sregs2; arch/x86/kvm/x86.c,
 * __get_sregs_common and __set_sregs_common).
 */
import { KvmError, type OpCodec, type OpDef, type Vcpu } from '@faultyard/core';
import { Seg, type SegNumber } from '../isa/layout.ts';
import { highMask } from '../memory/paging.ts';
import { MsrResult } from '../msr/def.ts';
import { Attr, CR0, CR4, EFER, high, join, low, type Segment, SR } from '../state.ts';
import { cr4Bits, loadPdptes } from '../system/control.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** struct kvm_segment, 24 bytes. */
export interface KvmSegment {
  readonly base: bigint;
  /** Last byte. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}
/** struct kvm_dtable. */
export interface KvmTable {
  readonly base: bigint;
  readonly limit: number;
}
type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr' | 'ldt';
type ControlName = 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'cr8' | 'efer' | 'apicBase';

/** What both forms have. */
export type KvmSregsCommon = Readonly<Record<SegmentName, KvmSegment>> &
  Readonly<Record<'gdt' | 'idt', KvmTable>> &
  Readonly<Record<ControlName, bigint>>;
/** struct kvm_sregs, 312 bytes. */
export type KvmSregs = KvmSregsCommon & {
  /** The vector that waits to be delivered, one bit of 256. */
  readonly interruptBitmap: readonly bigint[];
};
/** struct kvm_sregs2, 320 bytes. */
export type KvmSregs2 = KvmSregsCommon & {
  /** KVM_SREGS2_FLAGS_PDPTRS_VALID is bit 0. */
  readonly flags: bigint;
  readonly pdptrs: readonly bigint[];
};

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_SREGS: segments, tables, control registers, EFER, APIC base, the vector that waits. */
    'get-sregs': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: KvmSregs };
    /**
     * KVM_SET_SREGS: EINVAL for control registers that cannot stand together (long mode without PAE or LMA, LMA or CS.L
     * outside it, reserved bits) and for an APIC base that cannot be.
     */
    'set-sregs': { readonly on: 'vcpu'; readonly arg: KvmSregs; readonly result: 0 };
    /** KVM_GET_SREGS2: with PAE's page-directory pointers. */
    'get-sregs2': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: KvmSregs2 };
    /** KVM_SET_SREGS2: EINVAL as KVM_SET_SREGS, and for unknown flags or pointers without PAE paging. */
    'set-sregs2': { readonly on: 'vcpu'; readonly arg: KvmSregs2; readonly result: 0 };
  }
}

const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;

/** Segments and tables in the order of the structure. */
const SEGMENTS: readonly (readonly [SegmentName, SegNumber])[] = [
  ['cs', Seg.CS],
  ['ds', Seg.DS],
  ['es', Seg.ES],
  ['fs', Seg.FS],
  ['gs', Seg.GS],
  ['ss', Seg.SS],
  ['tr', Seg.TR],
  ['ldt', Seg.LDTR],
];
const TABLES = [
  ['gdt', SR.GDTR_BASE, SR.GDTR_LIMIT],
  ['idt', SR.IDTR_BASE, SR.IDTR_LIMIT],
] as const;
const CONTROLS = [
  ['cr0', SR.CR0],
  ['cr2', SR.CR2],
  ['cr3', SR.CR3],
  ['cr4', SR.CR4],
  ['cr8', SR.CR8],
  ['efer', SR.EFER],
  ['apicBase', SR.APIC_BASE],
] as const;

function toKvm(g: Segment): KvmSegment {
  const bit = (b: number): number => (g.attr & b ? 1 : 0);
  return {
    base: join(g.baseLo, g.baseHi),
    limit: g.limit >>> 0,
    selector: g.selector,
    type: g.attr & Attr.Type,
    present: bit(Attr.P),
    dpl: (g.attr >>> Attr.DplShift) & 3,
    db: bit(Attr.DB),
    s: bit(Attr.S),
    l: bit(Attr.L),
    g: bit(Attr.G),
    avl: bit(Attr.AVL),
    unusable: bit(Attr.Unusable),
  };
}
function fromKvm(g: Segment, k: KvmSegment): void {
  const bit = (on: number, b: number): number => (on ? b : 0);
  g.baseLo = low(k.base);
  g.baseHi = high(k.base);
  g.limit = k.limit | 0;
  g.selector = k.selector & 0xffff;
  g.attr =
    (k.type & Attr.Type) |
    bit(k.s, Attr.S) |
    ((k.dpl & 3) << Attr.DplShift) |
    bit(k.present, Attr.P) |
    bit(k.avl, Attr.AVL) |
    bit(k.l, Attr.L) |
    bit(k.db, Attr.DB) |
    bit(k.g, Attr.G) |
    bit(k.unusable, Attr.Unusable);
}

function getCommon(v: X86Vcpu): KvmSregsCommon {
  const s = v.state;
  const segments = Object.fromEntries(SEGMENTS.map(([name, n]) => [name, toKvm(s.segment(n))]));
  const tables = Object.fromEntries(
    TABLES.map(([name, base, limit]) => [
      name,
      { base: join(s.sysLo(base), s.sysHi(base)), limit: s.sysLo(limit) & 0xffff },
    ]),
  );
  const controls = Object.fromEntries(CONTROLS.map(([name, n]) => [name, join(s.sysLo(n), s.sysHi(n))]));
  return { ...segments, ...tables, ...controls } as unknown as KvmSregsCommon;
}

/** kvm_is_valid_sregs. */
function check(kvm: string, v: X86Vcpu, r: KvmSregsCommon): void {
  const no = (why: string): never => {
    throw new KvmError(kvm, 'EINVAL', why);
  };
  const cr0 = low(r.cr0);
  const cr4 = low(r.cr4);
  const efer = low(r.efer);
  if (efer & EFER.LME && cr0 & CR0.PG) {
    if (!(cr4 & CR4.PAE) || !(efer & EFER.LMA)) no('long mode wants CR4.PAE and EFER.LMA');
    const reserved = highMask(v.model.physicalBits) | 0xfff0_0000;
    if (high(r.cr3) & reserved) no('CR3 has bits above MAXPHYADDR');
  } else if (efer & EFER.LMA || r.cs.l) no('EFER.LMA or CS.L outside long mode');
  if (high(r.cr4) !== 0 || cr4 & ~cr4Bits(v)) no('CR4 has reserved bits');
  if (high(r.cr0) !== 0) no('CR0 has bits above 31');
  if ((cr0 & CR0.NW && !(cr0 & CR0.CD)) || (cr0 & CR0.PG && !(cr0 & CR0.PE)))
    no('CR0 has bits that exclude each other');
}

/** __set_sregs_common; PDPTEs are the caller's. */
function setCommon(kvm: string, v: X86Vcpu, r: KvmSregsCommon): void {
  check(kvm, v, r);
  const apic = v.msrs.write(0x1b, low(r.apicBase), high(r.apicBase), true);
  if (apic !== MsrResult.Ok) throw new KvmError(kvm, 'EINVAL', 'the APIC base cannot be');
  const s = v.state;
  const rip = v.pc;
  for (const [name, base, limit] of TABLES) {
    s.setSys(base, low(r[name].base), high(r[name].base));
    s.setSys(limit, r[name].limit & 0xffff, 0);
  }
  for (const [name, n] of CONTROLS) if (name !== 'apicBase') s.setSys(n, low(r[name]), high(r[name]));
  v.apic?.setCr8(low(r.cr8));
  s.setSys(SR.CR0, s.cr0 | CR0.ET, 0);
  for (const [name, n] of SEGMENTS) fromKvm(s.segment(n), r[name]);
  s.cpl = r.ss.dpl & 3;
  v.pc = rip;
  v.translationForced();
}

const pae = (v: X86Vcpu): boolean => {
  const { cr0, cr4, lma } = v.state;
  return (cr0 & CR0.PG) !== 0 && (cr4 & CR4.PAE) !== 0 && !lma;
};

function getSregs(v: X86Vcpu): KvmSregs {
  const { injected, soft, vector } = v.events.interrupt;
  const interruptBitmap = [0n, 0n, 0n, 0n];
  if (injected && !soft) interruptBitmap[vector >> 6] = 1n << BigInt(vector & 63);
  return { ...getCommon(v), interruptBitmap };
}
function setSregs(v: X86Vcpu, r: KvmSregs): 0 {
  setCommon('KVM_SET_SREGS', v, r);
  // pointers that cannot be read stay what they were (x86.c: load_pdptrs' result is not looked at)
  if (pae(v)) loadPdptes(v, low(r.cr3));
  const word = r.interruptBitmap.findIndex((w) => w !== 0n);
  if (word >= 0) {
    let vector = 64 * word;
    for (let w = r.interruptBitmap[word] ?? 0n; (w & 1n) === 0n; w >>= 1n) vector++;
    v.events.queueInterrupt(vector);
  }
  return 0;
}
function getSregs2(v: X86Vcpu): KvmSregs2 {
  const s = v.state;
  const on = pae(v);
  const pdptrs = [0, 1, 2, 3].map((n) => (on ? join(s.sysLo(SR.PDPTE0 + n), s.sysHi(SR.PDPTE0 + n)) : 0n));
  return { ...getCommon(v), flags: on ? 1n : 0n, pdptrs };
}
function setSregs2(v: X86Vcpu, r: KvmSregs2): 0 {
  const kvm = 'KVM_SET_SREGS2';
  const valid = (r.flags & 1n) !== 0n;
  const paging = (low(r.cr0) & CR0.PG) !== 0 && (low(r.cr4) & CR4.PAE) !== 0 && !(low(r.efer) & EFER.LMA);
  if (r.flags & ~1n) throw new KvmError(kvm, 'EINVAL', `flags ${r.flags} are not known`);
  if (valid && !paging) throw new KvmError(kvm, 'EINVAL', 'page-directory pointers without PAE paging');
  setCommon(kvm, v, r);
  if (valid)
    for (const [n, p] of r.pdptrs.entries()) if (n < 4) v.state.setSys(SR.PDPTE0 + n, low(p), high(p));
  return 0;
}

// ---- bytes -----------------------------------------------------------------------------------------------------------
const SEGMENT = 24;
const TABLE = 16;
const TABLES_AT = SEGMENTS.length * SEGMENT;
const CONTROLS_AT = TABLES_AT + 2 * TABLE;
const REST_AT = CONTROLS_AT + 8 * CONTROLS.length;
const BYTES = ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const;

function encodeCommon(r: KvmSregsCommon, out: DataView): void {
  for (const [i, [name]] of SEGMENTS.entries()) {
    const at = SEGMENT * i;
    const g = r[name];
    out.setBigUint64(at, BigInt.asUintN(64, g.base), true);
    out.setUint32(at + 8, g.limit, true);
    out.setUint16(at + 12, g.selector, true);
    for (const [k, b] of BYTES.entries()) out.setUint8(at + 14 + k, g[b]);
    out.setUint8(at + 23, 0);
  }
  for (const [i, [name]] of TABLES.entries()) {
    const at = TABLES_AT + TABLE * i;
    out.setBigUint64(at, BigInt.asUintN(64, r[name].base), true);
    out.setBigUint64(at + 8, BigInt(r[name].limit & 0xffff), true);
  }
  for (const [i, [name]] of CONTROLS.entries())
    out.setBigUint64(CONTROLS_AT + 8 * i, BigInt.asUintN(64, r[name]), true);
}
function decodeCommon(a: DataView): KvmSregsCommon {
  const segments = SEGMENTS.map(([name], i) => {
    const at = SEGMENT * i;
    const bytes = Object.fromEntries(BYTES.map((b, k) => [b, a.getUint8(at + 14 + k)]));
    const rest = { limit: a.getUint32(at + 8, true), selector: a.getUint16(at + 12, true) };
    return [name, { base: a.getBigUint64(at, true), ...rest, ...bytes }] as const;
  });
  const tables = TABLES.map(([name], i) => {
    const at = TABLES_AT + TABLE * i;
    return [name, { base: a.getBigUint64(at, true), limit: a.getUint16(at + 8, true) }] as const;
  });
  const controls = CONTROLS.map(([name], i) => [name, a.getBigUint64(CONTROLS_AT + 8 * i, true)] as const);
  return Object.fromEntries([...segments, ...tables, ...controls]) as unknown as KvmSregsCommon;
}
const words = (a: DataView, at: number): bigint[] =>
  [0, 1, 2, 3].map((n) => a.getBigUint64(at + 8 * n, true));
const putWords = (out: DataView, at: number, w: readonly bigint[]): void => {
  for (let n = 0; n < 4; n++) out.setBigUint64(at + 8 * n, BigInt.asUintN(64, w[n] ?? 0n), true);
};
const encode1 = (r: KvmSregs, out: DataView): void => {
  encodeCommon(r, out);
  putWords(out, REST_AT, r.interruptBitmap);
};
const encode2 = (r: KvmSregs2, out: DataView): void => {
  encodeCommon(r, out);
  out.setBigUint64(REST_AT, BigInt.asUintN(64, r.flags), true);
  putWords(out, REST_AT + 8, r.pdptrs);
};

const get1: OpCodec<'get-sregs'> = { size: 312, decode: () => ({}), encode: () => {}, result: encode1 };
const set1: OpCodec<'set-sregs'> = {
  size: 312,
  decode: (a) => ({ ...decodeCommon(a), interruptBitmap: words(a, REST_AT) }),
  encode: encode1,
};
const get2: OpCodec<'get-sregs2'> = { size: 320, decode: () => ({}), encode: () => {}, result: encode2 };
const set2: OpCodec<'set-sregs2'> = {
  size: 320,
  decode: (a) => ({
    ...decodeCommon(a),
    flags: a.getBigUint64(REST_AT, true),
    pdptrs: words(a, REST_AT + 8),
  }),
  encode: encode2,
};

/** Operations of this chapter. */
export const SREGS_OPS: readonly [
  OpDef<'get-sregs'>,
  OpDef<'set-sregs'>,
  OpDef<'get-sregs2'>,
  OpDef<'set-sregs2'>,
] = [
  {
    name: 'get-sregs',
    kvm: 'KVM_GET_SREGS',
    ioctl: 0x8138_ae83,
    on: 'vcpu',
    codec: get1,
    run: (v) => getSregs(of(v)),
  },
  {
    name: 'set-sregs',
    kvm: 'KVM_SET_SREGS',
    ioctl: 0x4138_ae84,
    on: 'vcpu',
    codec: set1,
    run: (v, r) => setSregs(of(v), r),
  },
  {
    name: 'get-sregs2',
    kvm: 'KVM_GET_SREGS2',
    ioctl: 0x8140_aecc,
    on: 'vcpu',
    cap: 'sregs2',
    codec: get2,
    run: (v) => getSregs2(of(v)),
  },
  {
    name: 'set-sregs2',
    kvm: 'KVM_SET_SREGS2',
    ioctl: 0x4140_aecd,
    on: 'vcpu',
    cap: 'sregs2',
    codec: set2,
    run: (v, r) => setSregs2(of(v), r),
  },
];
