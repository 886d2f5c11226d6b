/**
 * The system register table of EL0 and EL1: every row compiled, found by encoding or by name; anything else is
 * UNDEFINED. The rows are in `sysregs/`, by chapter.
 */
import { FaultyardError } from '@faultyard/core';
import { systemRegisterKey } from '../isa/sysreg-names.ts';
import type { Model } from '../model.ts';
import { high, low, type Pair, SR, SR_COUNT } from '../state.ts';
import { control } from './control.ts';
import { debugRegisters } from './debug.ts';
import { type SysregContext, type SysregDef, sysregKey } from './def.ts';
import { exceptionRegisters } from './exceptions.ts';
import { identification } from './identification.ts';
import { rasRegisters } from './ras.ts';
import { timerRegisters } from './timer.ts';

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
  /** A guard of the plugin's is set: `arm64.intercept` decides. */
  Guard: 4,
} as const;
/** One of {@link SysAccess}. */
export type SysAccessResult = 0 | 1 | 2 | 3 | 4;

const resolve = (v: SysregDef['value'], m: Model, fallback: bigint): bigint =>
  v === undefined ? fallback : typeof v === 'function' ? v(m) : v;
const ALL = 0xffff_ffff_ffff_ffffn;

/** A register that a plugin adds. */
export interface AddedSysreg {
  readonly plugin: string;
  readonly def: SysregDef;
}

/** Names that mean something else where registers are named. */
const OTHER_NAMES = /^([xwvbhsdq]\d+|[xw]zr|w?sp|pc|lr|fp|pstate)$/i;

function refuseClash(row: Sysreg, plugin: string, other: string): never {
  const name = `${row.def.name} (${row.def.enc.join(', ')})`;
  const fix = 'give one another name or encoding; third parties prefix their names';
  throw new FaultyardError('FY_PLUGIN_CLASH', { what: 'system register', name, plugin, other, fix });
}

/** Checks what a plugin says of a register. */
function checkAdded(plugin: string, def: SysregDef): void {
  const bad = (why: string): never => {
    throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why: `its system register ${def.name} ${why}` });
  };
  const [op0, op1, crn, crm, op2] = def.enc;
  const fits = (n: number, below: number): boolean => Number.isInteger(n) && n >= 0 && n < below;
  if (!fits(op0 - 2, 2) || !fits(op1, 8) || !fits(crn, 16) || !fits(crm, 16) || !fits(op2, 8))
    bad(`has encoding ${def.enc.join(', ')}: op0 is 2 or 3, op1 and op2 0 to 7, CRn and CRm 0 to 15`);
  if (!/^[a-z_]\w*$/i.test(def.name) || OTHER_NAMES.test(def.name)) bad('cannot be written in assembly');
  if (def.slot !== undefined) bad('names a slot; it gets one of its own');
  const known = systemRegisterKey(def.name);
  if (known !== undefined && known !== sysregKey(def.enc))
    bad('has the name of another register of the manual');
}

/** The registers of one model. */
export class SystemRegisters {
  readonly model: Model;
  readonly rows: readonly Sysreg[];
  /** Registers of plugins that have a slot of their own: {@link SR_COUNT} and up. */
  readonly stored: readonly Sysreg[];
  readonly #byKey = new Map<number, Sysreg>();
  readonly #byName = new Map<string, Sysreg>();

  /**
   * @param extra rows that plugins add.
   * @throws FaultyardError FY_PLUGIN_CLASH when two rows have one encoding or one name, FY_PLUGIN_INVALID for a row of a
   * plugin that cannot be one.
   */
  constructor(model: Model, extra: readonly AddedSysreg[] = []) {
    this.model = model;
    const rows: Sysreg[] = [];
    const stored: Sysreg[] = [];
    const owner = new Map<Sysreg, string>();
    const add = (def: SysregDef, plugin: string, slot: number | undefined): Sysreg => {
      const row = compile(def, model, slot);
      const clash = this.#byKey.get(row.key) ?? this.#byName.get(def.name.toLowerCase());
      if (clash) refuseClash(row, plugin, `${owner.get(clash)} (${clash.def.name})`);
      this.#byKey.set(row.key, row);
      this.#byName.set(def.name.toLowerCase(), row);
      owner.set(row, plugin);
      rows.push(row);
      return row;
    };
    for (const def of SYSTEM_REGISTERS) if (!def.exists || def.exists(model)) add(def, 'arm64', def.slot);
    for (const { plugin, def } of extra) {
      if (def.exists && !def.exists(model)) continue;
      checkAdded(plugin, def);
      const keeps = def.el1 !== 'ro' && !def.read && !def.write;
      const row = add(def, plugin, keeps ? SR_COUNT + stored.length : undefined);
      if (keeps) stored.push(row);
    }
    this.rows = rows;
    this.stored = stored;
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
    for (const r of this.stored) r.def.changed?.(c, r.resetLo, r.resetHi);
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
    if (d.guard !== undefined && c.guarded(d.guard)) return SysAccess.Guard;
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
    if (d.guard !== undefined && c.guarded(d.guard)) return SysAccess.Guard;
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
    const newLo = (c.state.lo(r.slot) & ~r.maskLo) | (lo & r.maskLo) | r.oneLo;
    const newHi = (c.state.hi(r.slot) & ~r.maskHi) | (hi & r.maskHi) | r.oneHi;
    c.state.put(r.slot, newLo, newHi);
    r.def.changed?.(c, newLo, newHi);
  }
}

function compile(def: SysregDef, m: Model, slot: number | undefined): Sysreg {
  const mask = resolve(def.mask, m, ALL);
  const one = resolve(def.res1, m, 0n);
  const value = resolve(def.value, m, 0n) | one;
  return {
    def,
    key: sysregKey(def.enc),
    slot,
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
