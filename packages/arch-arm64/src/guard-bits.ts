/**
 * The architecture's guard bits as the state has them (`isa/guards.ts` says what each means), and those that plugins
 * claim.
 */
import { type Contribution, FaultyardError } from '@faultyard/core';
import { GUARD_EL0, GUARD_FP, GUARD_SP, GUARD_SP_EL0, GUARD_ZVA } from './isa/guards.ts';
import type { GuardDef } from './points.ts';
import { SR } from './state.ts';
import type { SysregContext } from './sysregs/def.ts';
import { fpTrapped } from './sysregs/system-registers.ts';

/** Bits of the guard word that are the architecture's; the others are plugins'. */
const OWN_GUARDS = 0xffff;

/** Bits of SCTLR_EL1. */
const SA = 1 << 3;
const SA0 = 1 << 4;
const DZE = 1 << 14;

/** Guard bits for the current state. */
function guardBits(c: Pick<SysregContext, 'state'>): number {
  const s = c.state;
  const el0 = s.el === 0;
  const sctlr = s.lo(SR.SCTLR_EL1);
  let g = 0;
  if (fpTrapped(c)) g |= 1 << GUARD_FP;
  if (sctlr & (el0 ? SA0 : SA)) g |= 1 << GUARD_SP;
  if (el0) g |= 1 << GUARD_EL0;
  if (el0 || (s.ps & 1) === 0) g |= 1 << GUARD_SP_EL0;
  if (el0 && (sctlr & DZE) === 0) g |= 1 << GUARD_ZVA;
  return g;
}

/** The guard bits that plugins claimed in one VM. */
export class PluginGuards {
  readonly #owner = new Map<number, string>();

  /** @throws FaultyardError FY_PLUGIN_INVALID for a bit that is none of plugins', FY_PLUGIN_CLASH for one claimed twice. */
  constructor(claims: readonly Contribution<void, readonly GuardDef[]>[]) {
    for (const { plugin, fn } of claims)
      for (const { bit } of fn()) {
        const other = this.#owner.get(bit);
        if (!(Number.isInteger(bit) && bit >= 16 && bit <= 31)) {
          const why = `it claims guard bit ${bit}; plugins have 16 to 31`;
          throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
        }
        if (other !== undefined) {
          const fix = 'let one take another bit; there are 16 to 31';
          throw new FaultyardError('FY_PLUGIN_CLASH', { what: 'guard bit', name: bit, plugin, other, fix });
        }
        this.#owner.set(bit, plugin);
      }
  }
  /** Whether `plugin` claimed the bit. */
  ownedBy(bit: number, plugin: string): boolean {
    return this.#owner.get(bit) === plugin;
  }
  /** @throws FaultyardError FY_ARGUMENT for a bit that nobody claimed. */
  check(bit: number): void {
    if (this.#owner.has(bit)) return;
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'guard bit',
      value: bit,
      why: 'is claimed by no plugin',
      fix: 'claim it at the point arm64.guards',
    });
  }
}

/** The guard word of one vCPU: the architecture's bits follow its state, plugins' are state (a cell). */
export class GuardWord {
  readonly #i32: Int32Array;
  /** Index of the word. */
  readonly #at: number;
  readonly #claims: PluginGuards;
  constructor(i32: Int32Array, at: number, claims: PluginGuards) {
    this.#i32 = i32;
    this.#at = at;
    this.#claims = claims;
  }
  get #word(): number {
    return this.#i32[this.#at] as number;
  }
  /** Replaces the architecture's bits. */
  follow(c: Pick<SysregContext, 'state'>): void {
    this.#i32[this.#at] = (this.#word & ~OWN_GUARDS) | guardBits(c);
  }
  /** Sets or clears a plugin's bit. @throws FaultyardError FY_ARGUMENT for one that nobody claimed. */
  set(bit: number, on: boolean): void {
    this.#claims.check(bit);
    this.#i32[this.#at] = on ? this.#word | (1 << bit) : this.#word & ~(1 << bit);
  }
  has(bit: number): boolean {
    return ((this.#word >>> bit) & 1) !== 0;
  }
  /** Plugins' bits. */
  get plugins(): number {
    return (this.#word & ~OWN_GUARDS) >>> 0;
  }
  set plugins(v: number) {
    this.#i32[this.#at] = (this.#word & OWN_GUARDS) | (v & ~OWN_GUARDS);
  }
}
