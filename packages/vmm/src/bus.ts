/** The VMM's device bus: who answers KVM_EXIT_MMIO. */
import { answer, type Exit, FaultyardError, hex, resume, type Verdict, type Vm } from '@faultyard/core';
import type { Policy } from './policy.ts';

/** A device model in the VMM. Offsets and sizes in bytes, values as KVM_EXIT_MMIO carries them (little-endian). */
export interface MmioDevice {
  readonly name: string;
  /** First gpa. */
  readonly gpa: number;
  readonly size: number;
  /** A load of 1, 2, 4 or 8 bytes. */
  load(offset: number, size: number): bigint | number;
  /** A store; a verdict that stops the drive, or nothing. */
  store(offset: number, size: number, value: bigint): Verdict | undefined;
}

/** What a load outside every device reads: ones as an aborted PCI cycle does, or zero as QEMU's unassigned memory. */
export type Unassigned = 'ones' | 'zero' | 'leave';

/** Devices by address. */
export class MmioBus {
  readonly #vm: Vm;
  readonly #unassigned: Unassigned;
  readonly #devices: MmioDevice[] = [];

  /** With `unassigned: 'leave'` accesses outside every device are left to the next policy. */
  constructor(vm: Vm, o: { readonly unassigned?: Unassigned } = {}) {
    this.#vm = vm;
    this.#unassigned = o.unassigned ?? 'ones';
  }

  /** All devices, by address. */
  get devices(): readonly MmioDevice[] {
    return this.#devices;
  }

  /**
   * Plugs a device in; returns the disposer.
   * @throws FaultyardError FY_ADDRESS when it overlaps another one.
   */
  add(d: MmioDevice): () => void {
    const clash = this.#devices.find((e) => d.gpa < e.gpa + e.size && e.gpa < d.gpa + d.size);
    if (clash)
      throw new FaultyardError('FY_ADDRESS', {
        what: `device ${d.name} at`,
        value: hex(d.gpa),
        why: `overlaps ${clash.name}`,
        fix: 'choose another address',
      });
    this.#devices.push(d);
    this.#devices.sort((a, b) => a.gpa - b.gpa);
    return () => void this.#devices.splice(this.#devices.indexOf(d), 1);
  }

  /** Asks the device behind an exit; `undefined` when nobody is there and such accesses are left alone. */
  answer(e: Exit<'mmio'>): Verdict | undefined {
    const at = Number(e.gpa);
    const d = this.#devices.find((x) => at >= x.gpa && at + e.size <= x.gpa + x.size);
    if (d && e.write) return d.store(at - d.gpa, e.size, e.value) ?? resume;
    if (d) return answer(d.load(at - d.gpa, e.size));
    if (this.#unassigned === 'leave') return undefined;
    if (e.write) return resume;
    this.#vm.trace.emit({
      name: 'unmapped_read',
      time: this.#vm.clock.now,
      vcpu: e.vcpu,
      gpa: BigInt(e.gpa),
      size: e.size,
    });
    return answer(this.#unassigned === 'zero' ? 0 : BigInt.asUintN(8 * e.size, -1n));
  }

  /** The bus as a policy. */
  get policy(): Policy {
    return (e) => (e.kind === 'mmio' ? this.answer(e) : undefined);
  }
}
