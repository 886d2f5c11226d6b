/** Guard bits of generated code: the architecture's follow its state, plugins' are claimed and are state (a cell). */
import { type Contribution, FaultyardError } from '@faultyard/core';
import type { Intercepts } from './intercepts.ts';
import { FL } from './isa/flags.ts';
import { Guard, PLUGIN_GUARDS } from './isa/guards.ts';
import type { GuardDef } from './points.ts';
import { CR0, CR4, type X86State } from './state.ts';

/** Bits of the guard word that are the architecture's. */
const OWN_GUARDS = 2 ** PLUGIN_GUARDS - 1;

/** Guard bits for the current state (`isa/guards.ts` says what each means). */
function guardBits(s: X86State, i: Intercepts | undefined): number {
  const { cr0, cr4 } = s;
  let g = 0;
  if (i?.has('pushf') || i?.has('popf')) g |= 1 << Guard.Pushf;
  if (i?.has('pause')) g |= 1 << Guard.Pause;
  if (cr0 & (CR0.EM | CR0.TS) || !(cr4 & CR4.OSFXSR)) g |= 1 << Guard.Sse;
  if (cr0 & (CR0.EM | CR0.TS)) g |= 1 << Guard.X87;
  if (cr0 & CR0.PE && (s.other & FL.VM ? s.iopl < 3 : s.cpl > s.iopl)) g |= 1 << Guard.Iopl;
  if (!(cr0 & CR0.PE) || s.other & FL.VM) g |= 1 << Guard.Vex;
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
        if (!(Number.isInteger(bit) && bit >= PLUGIN_GUARDS && bit <= 31)) {
          const why = `it claims guard bit ${bit}; plugins have ${PLUGIN_GUARDS} to 31`;
          throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
        }
        if (other !== undefined) {
          const fix = `let one take another bit; there are ${PLUGIN_GUARDS} to 31`;
          throw new FaultyardError('FY_PLUGIN_CLASH', { what: 'guard bit', name: bit, plugin, other, fix });
        }
        this.#owner.set(bit, plugin);
      }
  }
  /** @throws FaultyardError FY_ARGUMENT for a bit that nobody claimed. */
  check(bit: number): void {
    if (this.#owner.has(bit)) return;
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'guard bit',
      value: bit,
      why: 'is claimed by no plugin',
      fix: 'claim it at the point x86.guards',
    });
  }
}

/** The guard word of one vCPU. */
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
  /** Replaces the architecture's bits: after a change of state, and of what plugins intercept. */
  follow(s: X86State, intercepts?: Intercepts): void {
    this.#i32[this.#at] = (this.#word & ~OWN_GUARDS) | guardBits(s, intercepts);
  }
  /** Sets or clears a plugin's bit. @throws FaultyardError FY_ARGUMENT for one that nobody claimed. */
  set(bit: number, on: boolean): void {
    this.#claims.check(bit);
    this.#i32[this.#at] = on ? this.#word | (1 << bit) : this.#word & ~(1 << bit);
  }
  /** Whether a bit is set. */
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
