/** Capabilities: supported is not enabled; both are KVM's, with its number and name. */
import { FaultyardError, KvmError } from './errors.ts';
import type { AnyPlugin } from './plugin.ts';

/** Capability names; plugins add theirs by declaration merging. */
export interface CapMap {
  'arm-nisv-to-user': true;
}
/** Name of a capability. */
export type CapName = keyof CapMap;

/** Definition of a capability. */
export interface CapDef {
  readonly name: string;
  /** KVM's name, `KVM_CAP_ARM_SEA_TO_USER`. */
  readonly kvm: string;
  /** KVM's number; a function of knobs where designs differ. */
  readonly number: number | ((knobs: Readonly<Record<string, unknown>>) => number);
  /** KVM_CHECK_EXTENSION's answer. */
  readonly check?: number;
  /** Whether KVM_ENABLE_CAP on the VM takes it; `sticky` ones cannot be taken back. */
  readonly enable?: 'vm' | 'vcpu';
  /** Bits of args[0] that KVM takes; others are EINVAL. Absent: arguments are not looked at. */
  readonly argument?: bigint;
  readonly meaning: string;
}

/** The capabilities of a VM. */
export class Capabilities {
  readonly #defs = new Map<string, CapDef>();
  readonly #knobs: Readonly<Record<string, unknown>>;
  /** Enabled ones, with args[0] of those that take it. */
  #enabled = new Map<string, bigint>();
  constructor(plugins: readonly AnyPlugin[], knobs: Readonly<Record<string, unknown>>) {
    this.#knobs = knobs;
    for (const p of plugins) for (const c of p.def.caps ?? []) this.#defs.set(c.name, c);
  }
  /** Every supported capability. */
  get all(): readonly CapDef[] {
    return [...this.#defs.values()];
  }
  /** KVM's number of a capability. */
  number(def: CapDef): number {
    return typeof def.number === 'number' ? def.number : def.number(this.#knobs);
  }
  /** Whether it is enabled. */
  enabled(name: string): boolean {
    return this.#enabled.has(name);
  }
  /** args[0] with which it was enabled; 0 if it is not, or takes none. */
  argument(name: string): bigint {
    return this.#enabled.get(name) ?? 0n;
  }
  /** KVM_CHECK_EXTENSION by name or number: 0 when unknown. */
  check(cap: string | number): number {
    const d = typeof cap === 'string' ? this.#defs.get(cap) : this.byNumber(cap);
    return d ? (d.check ?? 1) : 0;
  }
  /** The capability with KVM's number. */
  byNumber(n: number): CapDef | undefined {
    return this.all.find((d) => this.number(d) === n);
  }
  /**
   * KVM_ENABLE_CAP. There is no way back: KVM has none for these.
   * @throws FaultyardError FY_CAP_UNSUPPORTED for a name nobody here defines; KvmError EINVAL for flags, for one that is
   * only informational, or for an argument it does not take.
   */
  enable(name: string, o: { readonly flags?: number; readonly args?: readonly bigint[] } = {}): void {
    const d = this.#defs.get(name);
    if (!d)
      throw new FaultyardError('FY_CAP_UNSUPPORTED', {
        cap: name,
        known: [...this.#defs.keys()].sort().join(', ') || 'none',
      });
    if (o.flags) throw new KvmError('KVM_ENABLE_CAP', 'EINVAL', `flags ${o.flags} of ${d.kvm} must be 0`);
    if (!d.enable)
      throw new KvmError('KVM_ENABLE_CAP', 'EINVAL', `${d.kvm} only informs and cannot be enabled`);
    const argument = d.argument === undefined ? 0n : BigInt.asUintN(64, o.args?.[0] ?? 0n);
    if (argument & ~(d.argument ?? 0n))
      throw new KvmError('KVM_ENABLE_CAP', 'EINVAL', `args[0] 0x${argument.toString(16)} of ${d.kvm}`);
    this.#enabled.set(name, argument);
  }
  /** For snapshots: names, with `=argument` where it is not 0. */
  save(): string[] {
    return [...this.#enabled].map(([name, a]) => (a ? `${name}=${a}` : name)).sort();
  }
  /** For snapshots. */
  restore(names: readonly string[]): void {
    this.#enabled = new Map(
      names.map((n) => {
        const [name = '', a] = n.split('=');
        return [name, BigInt(a ?? 0)];
      }),
    );
  }
}
