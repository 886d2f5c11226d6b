/** CPUID rows of a model, as KVM_GET_SUPPORTED_CPUID gives them (arch/x86/kvm/cpuid.c). */
import type { CpuidRow, Model } from '../model.ts';
import { AMD_REPEATED, FEATURES } from './features.ts';
import type { CpuFacts } from './models.ts';

/** Bytes of the XSAVE area that the supported components need: legacy and header, then PKRU where the vendor has it. */
function xsaveSize(vendor: Model['vendor'], pkru: boolean): number {
  return pkru ? pkruOffset(vendor) + 8 : 576;
}
/** Offset of PKRU in the standard XSAVE area: behind the room for AVX-512, which Intel's MPX state moves on. */
export function pkruOffset(vendor: Model['vendor']): number {
  return vendor === 'AMD' ? 0x980 : 0xa80;
}

const word = (text: string, at: number): number =>
  [0, 1, 2, 3].reduce((v, i) => v | ((text.charCodeAt(at + i) || 0) << (8 * i)), 0);

/** KVM's signature leaves: "KVMKVMKVM", and KVM_FEATURE_NOP_IO_DELAY; paravirtual clocks are not there. */
const KVM_ROWS: readonly CpuidRow[] = [
  [0x4000_0000, 0, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d],
  [0x4000_0001, 0, 2, 0, 0, 0],
];

/** Rows of a model. */
export function supportedRows(m: Omit<Model, 'cpuid'>, cpu: CpuFacts): readonly CpuidRow[] {
  const rows = new Map<string, [number, number, number, number, number, number]>();
  const row = (leaf: number, subleaf = 0): [number, number, number, number, number, number] => {
    const key = `${leaf}.${subleaf}`;
    let r = rows.get(key);
    if (!r) {
      r = [leaf, subleaf, 0, 0, 0, 0];
      rows.set(key, r);
    }
    return r;
  };
  const put = (leaf: number, subleaf: number, ...v: readonly number[]): void => {
    const r = row(leaf, subleaf);
    for (const [i, x] of v.entries()) r[(2 + i) as 2] = (r[(2 + i) as 2] as number) | x;
  };
  const amd = cpu.vendor === 'AMD';
  for (let leaf = 0; leaf <= cpu.maxLeaf; leaf++) row(leaf);
  for (let leaf = 0x8000_0000; leaf <= cpu.maxExtended; leaf++) row(leaf);
  for (const f of m.features) {
    const b = FEATURES.get(f);
    if (!b || (b.leaf >= 0x8000_0000 ? b.leaf > cpu.maxExtended : b.leaf > cpu.maxLeaf)) continue;
    const r = row(b.leaf, b.subleaf);
    r[(2 + b.reg) as 2] = (r[(2 + b.reg) as 2] as number) | (1 << b.bit);
  }
  const id = amd ? 'AuthcAMDenti' : 'GenuntelineI';
  const vendor = [word(id, 0), word(id, 4), word(id, 8)];
  put(0, 0, cpu.maxLeaf, ...vendor);
  put(1, 0, cpu.signature, 8 << 8);
  if (!amd) {
    put(2, 0, 0x7603_6301, 0x00f0_b5ff, 0, 0x00c3_0000);
    put(4, 0, 0x121, 0x01c0_003f, 0x3f);
    put(4, 1, 0x122, 0x01c0_003f, 0x3f);
    put(4, 2, 0x143, 0x03c0_003f, 0x3ff);
    put(4, 3, 0x163, 0x0280_003f, 0x7fff, 4);
    put(4, 4);
  }
  if (m.features.has('xsave')) {
    const pku = m.features.has('pku');
    put(0xd, 0, pku ? 0x203 : 3, 576, xsaveSize(cpu.vendor, pku));
    put(0xd, 1);
    if (pku) put(0xd, 9, 8, pkruOffset(cpu.vendor));
  }
  put(0x8000_0000, 0, cpu.maxExtended, ...(amd ? vendor : []));
  if (amd) {
    put(0x8000_0001, 0, cpu.signature, 0, 0, (row(1)[5] as number) & AMD_REPEATED);
    // L1: 64-entry TLBs, 32 KiB data and instructions, 64-byte lines; L2 512 KiB, 8-way
    put(0x8000_0005, 0, 0xff40_ff40 | 0, 0xff40_ff40 | 0, 0x2008_0140, 0x2008_0140);
    put(0x8000_0006, 0, 0, 0x4200_4200, 0x0200_6140, 0);
  } else put(0x8000_0006, 0, 0, 0, 0x0400_8040);
  for (let i = 0; i < 3; i++) {
    const at = 16 * i;
    put(0x8000_0002 + i, 0, ...[0, 4, 8, 12].map((k) => word(cpu.brand, at + k)));
  }
  put(0x8000_0008, 0, m.physicalBits | (m.linearBits << 8));
  return [...rows.values(), ...KVM_ROWS].map(
    ([leaf, sub, ...v]) => [leaf >>> 0, sub, ...v.map((x) => x >>> 0)] as unknown as CpuidRow,
  );
}
