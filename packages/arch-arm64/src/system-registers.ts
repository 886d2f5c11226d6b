/**
 * The system register table of EL0 and EL1: every row compiled, found by encoding or by name; anything else is
 * UNDEFINED. The rows are in `sysregs/`, by chapter.
 */
import type { Model } from './model.ts';
import { high, low, type Pair, SR } from './state.ts';
import { control } from './sysregs/control.ts';
import { debugRegisters } from './sysregs/debug.ts';
import { type SysregContext, type SysregDef, sysregKey } from './sysregs/def.ts';
import { exceptionRegisters } from './sysregs/exceptions.ts';
import { identification } from './sysregs/identification.ts';
import { rasRegisters } from './sysregs/ras.ts';
import { timerRegisters } from './sysregs/timer.ts';

/** Every row, whatever the model. */
export const SYSTEM_REGISTERS: readonly SysregDef[] = [
  ...identification,
  ...control,
  ...exceptionRegisters,
  ...rasRegisters,
  ...debugRegisters,
  ...timerRegisters,
];

/** A row with its values resolved for a model. */
export interface Sysreg {
  readonly def: SysregDef;
  /** op0:op1:CRn:CRm:op2. */
  readonly key: number;
  readonly slot: number | undefined;
  readonly maskLo: number;
  readonly maskHi: number;
  readonly oneLo: number;
  readonly oneHi: number;
  readonly resetLo: number;
  readonly resetHi: number;
}

/** Outcome of an access by the guest. */
export const SysAccess = {
  /** Done. */
  Ok: 0,
  /** UNDEFINED here: EC 0x00. */
  Undefined: 1,
  /** Trapped to EL1: EC 0x18 with the instruction's ISS. */
  Trap: 2,
  /** SIMD and floating point are trapped: EC 0x07. */
  Fp: 3,
} as const;
/** One of {@link SysAccess}. */
export type SysAccessResult = 0 | 1 | 2 | 3;

const resolve = (v: SysregDef['value'], m: Model, fallback: bigint): bigint =>
  v === undefined ? fallback : typeof v === 'function' ? v(m) : v;
const ALL = 0xffff_ffff_ffff_ffffn;

/** The registers of one model. */
export class SystemRegisters {
  readonly model: Model;
  readonly rows: readonly Sysreg[];
  readonly #byKey = new Map<number, Sysreg>();
  readonly #byName = new Map<string, Sysreg>();

  /**
   * @param extra rows that plugins add.
   * @throws Error when two rows have one encoding or one name.
   */
  constructor(model: Model, extra: readonly SysregDef[] = []) {
    this.model = model;
    const rows: Sysreg[] = [];
    for (const def of [...SYSTEM_REGISTERS, ...extra]) {
      if (def.exists && !def.exists(model)) continue;
      const row = compile(def, model);
      const clash = this.#byKey.get(row.key) ?? this.#byName.get(def.name.toLowerCase());
      if (clash) throw new Error(`system registers ${clash.def.name} and ${def.name} clash`);
      this.#byKey.set(row.key, row);
      this.#byName.set(def.name.toLowerCase(), row);
      rows.push(row);
    }
    this.rows = rows;
  }

  /** Row with this encoding, or `undefined`: UNDEFINED. */
  find(key: number): Sysreg | undefined {
    return this.#byKey.get(key);
  }
  /** Row by name, any case. */
  named(name: string): Sysreg | undefined {
    return this.#byName.get(name.toLowerCase());
  }

  /** Puts every register to its reset value. */
  reset(c: SysregContext): void {
    for (const r of this.rows) if (r.slot !== undefined) c.state.put(r.slot, r.resetLo, r.resetHi);
    c.state.put(SR.VSESR, 0, 0);
  }

  /** MRS by the guest at its exception level; the value is left in `out`. */
  read(c: SysregContext, key: number, out: Pair): SysAccessResult {
    const r = this.#byKey.get(key);
    if (!r) return SysAccess.Undefined;
    const d = r.def;
    if (c.state.el === 0) {
      if (d.el0 === undefined) return SysAccess.Undefined;
      if (d.trapEl0?.(c, false)) return SysAccess.Trap;
    } else if (d.el1 === 'wo') return SysAccess.Undefined;
    if (d.fp && fpTrapped(c)) return SysAccess.Fp;
    this.value(c, r, out);
    return SysAccess.Ok;
  }
  /** MSR (register) by the guest. */
  write(c: SysregContext, key: number, lo: number, hi: number): SysAccessResult {
    const r = this.#byKey.get(key);
    if (!r) return SysAccess.Undefined;
    const d = r.def;
    if (c.state.el === 0) {
      if (d.el0 !== 'rw') return SysAccess.Undefined;
      if (d.trapEl0?.(c, true)) return SysAccess.Trap;
    } else if (d.el1 === 'ro') return SysAccess.Undefined;
    if (d.fp && fpTrapped(c)) return SysAccess.Fp;
    this.assign(c, r, lo, hi);
    return SysAccess.Ok;
  }

  /** Value of a register, without access checks. */
  value(c: SysregContext, r: Sysreg, out: Pair): void {
    if (r.def.read) r.def.read(c, out);
    else if (r.slot !== undefined) {
      out.lo = c.state.lo(r.slot);
      out.hi = c.state.hi(r.slot);
    } else {
      out.lo = r.resetLo;
      out.hi = r.resetHi;
    }
  }
  /** Writes a register as the hardware would, without access checks. */
  assign(c: SysregContext, r: Sysreg, lo: number, hi: number): void {
    if (r.def.write) {
      r.def.write(c, lo, hi);
      return;
    }
    if (r.slot === undefined) return;
    c.state.put(
      r.slot,
      (c.state.lo(r.slot) & ~r.maskLo) | (lo & r.maskLo) | r.oneLo,
      (c.state.hi(r.slot) & ~r.maskHi) | (hi & r.maskHi) | r.oneHi,
    );
    r.def.changed?.(c);
  }
}

function compile(def: SysregDef, m: Model): Sysreg {
  const mask = resolve(def.mask, m, ALL);
  const one = resolve(def.res1, m, 0n);
  const value = resolve(def.value, m, 0n) | one;
  return {
    def,
    key: sysregKey(def.enc),
    slot: def.slot,
    maskLo: low(mask),
    maskHi: high(mask),
    oneLo: low(one),
    oneHi: high(one),
    resetLo: low(value),
    resetHi: high(value),
  };
}

/** Whether SIMD and floating point trap at the current exception level (CPACR_EL1.FPEN). */
export function fpTrapped(c: Pick<SysregContext, 'state'>): boolean {
  const fpen = (c.state.lo(SR.CPACR_EL1) >> 20) & 3;
  return c.state.el === 0 ? fpen !== 3 : (fpen & 1) === 0;
}
