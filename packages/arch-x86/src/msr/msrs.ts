/** The MSRs of one vCPU: the joined table, storage for rows that have none, and KVM's order of checks. */
import { type Contribution, FaultyardError, type Plain } from '@faultyard/core';
import type { Model } from '../model.ts';
import { type MsrQuestion, msr, unknownMsr } from '../points.ts';
import { join, type Pair } from '../state.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';
import type { MsrFilter } from './filter.ts';

/** Name of the architecture's own plugin. */
const OWN = 'x86';

/** The table of a VM, made of all contributions. */
export class MsrTable {
  readonly #single = new Map<number, MsrDef>();
  readonly #ranges: { readonly def: MsrDef; readonly own: boolean }[] = [];
  /** Rows with storage of their own, in order of index. */
  readonly stored: readonly MsrDef[];

  /** @throws FaultyardError FY_PLUGIN_CLASH for an index that two plugins define. */
  constructor(rows: readonly Contribution<MsrQuestion, readonly MsrDef[]>[], model: Model) {
    const owners = new Map<number, string>();
    for (const { plugin, fn } of rows)
      for (const def of fn({ model })) {
        for (let i = 0; i < (def.count ?? 1); i++) {
          const at = (def.index + i) >>> 0;
          const other = owners.get(at);
          if (other !== undefined && (other !== OWN || plugin === OWN)) {
            const fix = 'install only one of them; an MSR has one owner';
            const name = `0x${at.toString(16)}`;
            throw new FaultyardError('FY_PLUGIN_CLASH', { what: 'MSR', name, plugin, other, fix });
          }
          owners.set(at, plugin);
          if (def.count === undefined) this.#single.set(at, def);
          else this.#single.delete(at);
        }
        if (def.count !== undefined) this.#ranges.unshift({ def, own: plugin === OWN });
      }
    this.stored = [...this.#single.values()]
      .filter((d) => d.slot === undefined && !(d.read && d.write))
      .sort((a, b) => a.index - b.index);
  }
  /** The row of an index. */
  find(index: number): MsrDef | undefined {
    const one = this.#single.get(index >>> 0);
    if (one) return one;
    const n = index >>> 0;
    for (const { def } of this.#ranges) if (n >= def.index && n < def.index + (def.count ?? 1)) return def;
    return undefined;
  }
  /** Rows that stand for one register. */
  get rows(): readonly MsrDef[] {
    return [...this.#single.values()];
  }
  /** KVM_GET_MSR_INDEX_LIST. */
  get listed(): readonly number[] {
    const out: number[] = [];
    for (const d of this.#single.values()) if (d.listed) out.push(d.index);
    for (const { def } of this.#ranges)
      if (def.listed) for (let i = 0; i < (def.count ?? 1); i++) out.push(def.index + i);
    return out.sort((a, b) => a - b);
  }
}

/** The registers. */
export class Msrs {
  readonly table: MsrTable;
  readonly #v: X86Vcpu;
  readonly #access: MsrAccess;
  readonly #slots = new Map<MsrDef, number>();
  readonly #values: Int32Array;
  /** The VM's filter. */
  readonly filter: MsrFilter;

  constructor(v: X86Vcpu, table: MsrTable, filter: MsrFilter) {
    this.table = table;
    this.#v = v;
    this.filter = filter;
    this.#access = { vcpu: v, index: 0, host: false, lo: 0, hi: 0 };
    for (const [i, d] of table.stored.entries()) this.#slots.set(d, i);
    this.#values = new Int32Array(2 * table.stored.length);
  }

  /** RESET and INIT. */
  reset(init: boolean): void {
    for (const d of this.table.rows) {
      if (init && d.keepsOnInit) continue;
      if (d.slot === undefined && !this.#slots.has(d)) continue;
      const v = d.reset ?? 0n;
      this.#put(d, Number(BigInt.asIntN(32, v)), Number(BigInt.asIntN(32, v >> 32n)));
    }
  }
  #put(d: MsrDef, lo: number, hi: number): void {
    if (d.slot !== undefined) this.#v.state.setSys(d.slot, lo, hi);
    else {
      const i = this.#slots.get(d) as number;
      this.#values[2 * i] = lo;
      this.#values[2 * i + 1] = hi;
    }
  }
  #take(d: MsrDef, a: Pair): void {
    if (d.slot !== undefined) {
      a.lo = this.#v.state.sysLo(d.slot);
      a.hi = this.#v.state.sysHi(d.slot);
    } else {
      const i = this.#slots.get(d) as number;
      a.lo = this.#values[2 * i] as number;
      a.hi = this.#values[2 * i + 1] as number;
    }
  }
  /** Value of the last {@link read}. One object, reused. */
  get value(): Readonly<Pair> {
    return this.#access;
  }

  /** Reads an MSR; its value is in {@link value}. `host`: KVM_GET_MSRS, not the guest. */
  read(index: number, host: boolean = false): MsrResultCode {
    const a = this.#access;
    a.index = index >>> 0;
    a.host = host;
    a.lo = 0;
    a.hi = 0;
    if (!host && !this.filter.allows(a.index, false)) return MsrResult.Filtered;
    const d = this.table.find(index);
    if (!d || (d.exists && !d.exists(this.#v))) return this.#unknown(a, false, d);
    const r = d.read ? d.read(a) : this.#stored(d, a);
    return r === MsrResult.Unsupported ? this.#unknown(a, false, d) : r;
  }
  #stored(d: MsrDef, a: MsrAccess): MsrResultCode {
    this.#take(d, a);
    return MsrResult.Ok;
  }
  /** Writes an MSR. `host`: KVM_SET_MSRS, not the guest. */
  write(index: number, lo: number, hi: number, host: boolean = false): MsrResultCode {
    const a = this.#access;
    a.index = index >>> 0;
    a.host = host;
    a.lo = lo | 0;
    a.hi = hi | 0;
    if (!host && !this.filter.allows(a.index, true)) return MsrResult.Filtered;
    const d = this.table.find(index);
    if (!d || (d.exists && !d.exists(this.#v))) return this.#unknown(a, true, d);
    const r = d.write ? d.write(a) : (d.check?.(a) ?? MsrResult.Ok);
    if (r === MsrResult.Unsupported) return this.#unknown(a, true, d);
    if (r !== MsrResult.Ok || d.write) return r;
    this.#put(d, a.lo, a.hi);
    d.changed?.(a);
    return r;
  }
  /** Hosts read 0 and may write 0 where the index is advertised; plugins may ignore all (x86.c, kvm_do_msr_access). */
  #unknown(a: MsrAccess, write: boolean, d: MsrDef | undefined): MsrResultCode {
    const { index, host } = a;
    const harmless = !write || (a.lo | a.hi) === 0;
    if (!write) {
      a.lo = 0;
      a.hi = 0;
    }
    if (host && harmless && d?.listed) return MsrResult.Ok;
    const ignored = this.#v.vm.ask(unknownMsr)({ vcpu: this.#v, index, write, host });
    return ignored ? MsrResult.Ok : MsrResult.Unsupported;
  }

  /** Value of a row with storage of its own, by index; for rows of plugins that look at each other. */
  stored(index: number): Pair {
    const out = { lo: 0, hi: 0 };
    const d = this.table.find(index);
    if (d && (d.slot !== undefined || this.#slots.has(d))) this.#take(d, out);
    return out;
  }
  /** Stores it, without checks and effects. */
  store(index: number, lo: number, hi: number): void {
    const d = this.table.find(index);
    if (d && (d.slot !== undefined || this.#slots.has(d))) this.#put(d, lo, hi);
  }
  /** For cells: registers with storage of their own, by name. */
  save(): Plain {
    return Object.fromEntries(
      this.table.stored.map((d, i) => [
        d.name,
        join(this.#values[2 * i] as number, this.#values[2 * i + 1] as number),
      ]),
    );
  }
  /** For cells. */
  restore(v: Plain): void {
    const by = v as Readonly<Record<string, bigint>>;
    for (const d of this.table.stored) {
      const x = by[d.name] ?? d.reset ?? 0n;
      this.#put(d, Number(BigInt.asIntN(32, x)), Number(BigInt.asIntN(32, x >> 32n)));
    }
  }
}

/** Contributions of a VM joined. */
export function msrTable(v: Pick<X86Vcpu['vm'], 'contributions'>, model: Model): MsrTable {
  return new MsrTable(v.contributions(msr), model);
}
