/** CPUID of one vCPU: the entries that KVM_SET_CPUID2 gave, what follows the vCPU's state, and the instruction. */
import type { Plain } from '@faultyard/core';
import type { CpuidRow, Model } from '../model.ts';
import { type CpuidDef, cpuid } from '../points.ts';
import { CR4, SR } from '../state.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { CpuidReg, FEATURES } from './features.ts';
import { pkruOffset } from './supported.ts';

/** struct kvm_cpuid_entry2. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** KVM_CPUID_FLAG_SIGNIFICANT_INDEX is bit 0. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** Leaves whose index matters (cpuid.c, cpuid_function_is_indexed). */
const INDEXED: ReadonlySet<number> = new Set([
  4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1e, 0x1f, 0x24, 0x8000_001d,
]);

/** Rows of the model with what plugins say, and what follows the state. */
export interface CpuidTable {
  readonly rows: readonly CpuidRow[];
  readonly now: ReadonlyMap<string, NonNullable<CpuidDef['now']>[]>;
}

const key = (leaf: number, subleaf: number): string =>
  `${leaf >>> 0}.${INDEXED.has(leaf >>> 0) ? subleaf : 0}`;

/** Joins the model's rows and the plugins' (point `x86.cpuid`). */
export function cpuidTable(vm: X86Vcpu['vm'], model: Model): CpuidTable {
  const rows = new Map<string, number[]>();
  const now = new Map<string, NonNullable<CpuidDef['now']>[]>();
  for (const d of vm.ask(cpuid)({ model })) {
    const leaf = d.leaf >>> 0;
    const k = key(leaf, d.subleaf ?? 0);
    const r = rows.get(k) ?? [leaf, d.subleaf ?? 0, 0, 0, 0, 0];
    if (d.set || d.clear) rows.set(k, r);
    for (let i = 0; i < 4; i++)
      r[2 + i] = (((r[2 + i] as number) & ~(d.clear?.[i] ?? 0)) | (d.set?.[i] ?? 0)) >>> 0;
    if (d.now) now.set(k, [...(now.get(k) ?? []), d.now]);
  }
  // a plugin's leaf beyond the highest one moves that
  for (const [base, first] of [
    [0, 0],
    [0x8000_0000, 0x8000_0000],
  ] as const) {
    const top = rows.get(key(base, 0));
    if (!top) continue;
    for (const r of rows.values()) {
      const leaf = r[0] as number;
      const near = first === 0 ? leaf < 0x4000_0000 : leaf >= first && leaf < 0xc000_0000;
      if (near && leaf > (top[2] as number)) top[2] = leaf;
    }
  }
  return { rows: [...rows.values()] as unknown as readonly CpuidRow[], now };
}

/** The architecture's own part: what follows the state (cpuid.c, kvm_update_cpuid_runtime). */
export function ownCpuid(model: Model): readonly CpuidDef[] {
  const rows: readonly CpuidDef[] = model.cpuid.map(([leaf, subleaf, ...set]) => ({ leaf, subleaf, set }));
  const bit = (regs: Uint32Array, reg: number, n: number, on: boolean): void => {
    regs[reg] = on ? (regs[reg] as number) | (1 << n) : (regs[reg] as number) & ~(1 << n);
  };
  const size = (v: X86Vcpu, xcr0: number): number => (xcr0 & 0x200 ? pkruOffset(v.model.vendor) + 8 : 576);
  return [
    ...rows,
    {
      leaf: 1,
      now: (v, regs) => {
        bit(regs, CpuidReg.ECX, 27, v.cpuid.has('xsave') && (v.state.cr4 & CR4.OSXSAVE) !== 0);
        if ((regs[CpuidReg.EDX] as number) & (1 << 9))
          bit(regs, CpuidReg.EDX, 9, (v.state.sysLo(SR.APIC_BASE) & 0x800) !== 0);
      },
    },
    {
      leaf: 7,
      now: (v, regs) => bit(regs, CpuidReg.ECX, 4, v.cpuid.has('pku') && (v.state.cr4 & CR4.PKE) !== 0),
    },
    {
      leaf: 0xd,
      now: (v, regs) => {
        if (regs[CpuidReg.EAX]) regs[CpuidReg.EBX] = size(v, v.state.sysLo(SR.XCR0));
      },
    },
  ];
}

/** CPUID of a vCPU. */
export class Cpuid {
  readonly #v: X86Vcpu;
  readonly #table: CpuidTable;
  #entries = new Map<string, CpuidEntry>();
  #features: ReadonlySet<string> = new Set();
  /** Nobody has set other entries than {@link setDefaults}. */
  isDefault = false;
  /** Registers of the last {@link query}: EAX, EBX, ECX, EDX. */
  readonly regs: Uint32Array = new Uint32Array(4);

  constructor(v: X86Vcpu, table: CpuidTable) {
    this.#v = v;
    this.#table = table;
  }
  /** What KVM_GET_SUPPORTED_CPUID says. */
  get supported(): readonly CpuidEntry[] {
    return this.#table.rows.map(([leaf, subleaf, eax, ebx, ecx, edx]) => ({
      function: leaf,
      index: subleaf,
      flags: INDEXED.has(leaf) ? 1 : 0,
      eax,
      ebx,
      ecx,
      edx,
    }));
  }
  /** Entries as set, without what follows the state. */
  get entries(): readonly CpuidEntry[] {
    return [...this.#entries.values()];
  }
  /** Entries with the bits that follow the state, as KVM_GET_CPUID2 gives them (KVM keeps them in the entries). */
  get current(): readonly CpuidEntry[] {
    return this.entries.map((e) => {
      this.query(e.function, e.index);
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = this.regs;
      return { ...e, eax, ebx, ecx, edx };
    });
  }
  /** Replaces all entries (KVM_SET_CPUID2). */
  set(entries: readonly CpuidEntry[]): void {
    this.isDefault = false;
    this.#entries = new Map(entries.map((e) => [key(e.function, e.index), { ...e }]));
    const features = new Set<string>();
    for (const [name, b] of FEATURES) {
      const e = this.#entries.get(key(b.leaf, b.subleaf));
      if (e && (registers(e)[b.reg] as number) & (1 << b.bit)) features.add(name);
    }
    this.#features = features;
  }
  /** What a VMM sets that passes on what KVM supports: ids and counts of this vCPU, no APIC where there is none. */
  setDefaults(): void {
    const { id, vm, apic } = this.#v;
    const count = (vm as { readonly vcpuCount?: number }).vcpuCount ?? 1;
    this.set(this.supported.map((e) => placed(e, id, Math.max(count, id + 1), apic !== undefined)));
    this.isDefault = true;
  }
  /** Whether the guest's CPUID has a feature (a name of `cpuid/features.ts`). */
  has(feature: string): boolean {
    return this.#features.has(feature);
  }
  /** Vendor that the guest's CPUID names: what KVM goes by where the two differ (guest_cpuid_is_amd_compatible). */
  get vendor(): 'AMD' | 'Intel' {
    const ebx = this.#entries.get(key(0, 0))?.ebx ?? 0;
    // "Auth" of AuthenticAMD, "Hygo" of HygonGenuine
    return ebx === 0x6874_7541 || ebx === 0x6f67_7948 ? 'AMD' : 'Intel';
  }
  /** Whether KVM supports a feature here, whatever the guest's CPUID says. */
  supports(feature: string): boolean {
    const b = FEATURES.get(feature);
    const row = b && this.#table.rows.find(([leaf, subleaf]) => leaf === b.leaf && subleaf === b.subleaf);
    return b !== undefined && row !== undefined && ((row[2 + b.reg] as number) & (1 << b.bit)) !== 0;
  }
  /** Features of the guest's CPUID. */
  get features(): ReadonlySet<string> {
    return this.#features;
  }
  /** What CPUID gives now, in {@link regs}. Leaves beyond the highest: Intel answers with its highest, AMD with zeros. */
  query(leaf: number, subleaf: number): void {
    const r = this.regs;
    let e = this.#entries.get(key(leaf, subleaf));
    let k = key(leaf, subleaf);
    if (!e && this.#v.model.vendor === 'Intel') {
      const top = this.#beyond(leaf >>> 0);
      if (top !== undefined) {
        k = key(top, subleaf);
        e = this.#entries.get(k);
      }
    }
    r.fill(0);
    if (!e) return;
    r[0] = e.eax;
    r[1] = e.ebx;
    r[2] = e.ecx;
    r[3] = e.edx;
    for (const f of this.#table.now.get(k) ?? []) f(this.#v, r);
  }
  /** cpuid.c, get_out_of_range_cpuid_entry: the leaf answered instead, if this one is out of its class's range. */
  #beyond(leaf: number): number | undefined {
    const base =
      leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff ? 0x4000_0000 : leaf >= 0x8000_0000 ? 0x8000_0000 : 0;
    const max = this.#entries.get(key(base, 0))?.eax;
    if (max !== undefined && leaf <= max >>> 0) return undefined;
    return this.#entries.get(key(0, 0))?.eax;
  }
  /** For cells. */
  save(): Plain {
    return this.entries.map((e) => [e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx]);
  }
  /** For cells. */
  restore(v: Plain): void {
    const rows = v as readonly (readonly [number, number, number, number, number, number, number])[];
    this.set(
      rows.map(([f, index, flags, eax, ebx, ecx, edx]) => ({
        function: f,
        index,
        flags,
        eax,
        ebx,
        ecx,
        edx,
      })),
    );
  }
}

const registers = (e: CpuidEntry): readonly number[] => [e.eax, e.ebx, e.ecx, e.edx];

/** An entry as a VMM gives it to vCPU `id` of `count`: one socket, one thread per core; an APIC where there is one. */
function placed(e: CpuidEntry, id: number, count: number, apic: boolean): CpuidEntry {
  const apicOff = apic ? e.edx : e.edx & ~(1 << 9);
  switch (e.function) {
    case 1:
      return {
        ...e,
        ebx: ((e.ebx & 0xff00) | (count << 16) | (id << 24)) >>> 0,
        ecx: (apic ? e.ecx : e.ecx & ~((1 << 21) | (1 << 24))) >>> 0,
        edx: (count > 1 ? apicOff | (1 << 28) : apicOff) >>> 0,
      };
    case 0x8000_0001:
      return { ...e, ecx: count > 1 ? e.ecx | 2 : e.ecx, edx: e.edx ? apicOff >>> 0 : 0 };
    case 0x8000_0008:
      return { ...e, ecx: count > 1 ? count - 1 : 0 };
    case 4:
      return { ...e, eax: e.eax & 0x1f ? (e.eax | ((count - 1) << 26)) >>> 0 : e.eax };
    default:
      return e;
  }
}
