/** Devices that KVM keeps in the kernel: they answer without an exit, from inside generated code. */
import { FaultyardError } from './errors.ts';

/** An in-kernel device. Called from helpers of generated code: must not throw, and must not make mappings. */
export interface KernelDevice {
  readonly name: string;
  /** First gpa (or port) and size in bytes. */
  readonly gpa: number;
  readonly size: number;
  /**
   * Only served outside generated code, as an access may concern the vCPU itself at once (an interrupt controller).
   * Architectures that use such devices ask {@link KernelBus.loadInside} from inside.
   */
  readonly outside?: boolean;
  /** Load of `size` bytes at byte `offset`; the value goes to `out`. `false`: not mine, KVM exits to userspace. */
  load(offset: number, size: number, vcpu: number, out: { lo: number; hi: number }): boolean;
  /** Store; `false`: not mine. */
  store(offset: number, size: number, vcpu: number, lo: number, hi: number): boolean;
}

/** The in-kernel bus: devices by address, first refusal on every access outside memory. */
export class KernelBus {
  readonly #devices: KernelDevice[] = [];
  /** The device asked last, and the gpas it covers: [from, to). */
  #last: KernelDevice | undefined;
  #from = 0;
  #to = 0;
  /** There is a device of {@link KernelDevice.outside}. */
  #outside = false;
  /**
   * Adds a device; returns the disposer.
   * @throws FaultyardError FY_ADDRESS when it overlaps another one.
   */
  add(d: KernelDevice): () => void {
    const clash = this.#devices.find((e) => d.gpa < e.gpa + e.size && e.gpa < d.gpa + d.size);
    if (clash)
      throw new FaultyardError('FY_ADDRESS', {
        what: `in-kernel device ${d.name} at`,
        value: `0x${d.gpa.toString(16)}`,
        why: `overlaps ${clash.name}`,
        fix: 'choose another address',
      });
    this.#devices.push(d);
    if (d.outside) this.#outside = true;
    return () => {
      const i = this.#devices.indexOf(d);
      if (i >= 0) this.#devices.splice(i, 1);
      if (this.#last !== d) return;
      this.#last = undefined;
      this.#to = 0;
    };
  }
  /** The device that covers the access; kept, for the next one will go there, too. */
  #find(gpa: number, size: number): KernelDevice | undefined {
    for (const d of this.#devices) {
      if (gpa < d.gpa || gpa + size > d.gpa + d.size) continue;
      this.#last = d;
      this.#from = d.gpa;
      this.#to = d.gpa + d.size;
      return d;
    }
    return undefined;
  }
  /** Whether a device covers the access; it may refuse it all the same. */
  covers(gpa: number, size: number): boolean {
    return (gpa >= this.#from && gpa + size <= this.#to) || this.#find(gpa, size) !== undefined;
  }
  /** Whether a device answered the load. */
  load(gpa: number, size: number, vcpu: number, out: { lo: number; hi: number }): boolean {
    const d = gpa >= this.#from && gpa + size <= this.#to ? this.#last : this.#find(gpa, size);
    return d?.load(gpa - this.#from, size, vcpu, out) ?? false;
  }
  /** {@link load} from inside generated code: devices of {@link KernelDevice.outside} are left alone. */
  loadInside(gpa: number, size: number, vcpu: number, out: { lo: number; hi: number }): boolean {
    const d = gpa >= this.#from && gpa + size <= this.#to ? this.#last : this.#find(gpa, size);
    return d !== undefined && d.outside !== true && d.load(gpa - this.#from, size, vcpu, out);
  }
  /** {@link store} from inside generated code. */
  storeInside(gpa: number, size: number, vcpu: number, lo: number, hi: number): boolean {
    const d = gpa >= this.#from && gpa + size <= this.#to ? this.#last : this.#find(gpa, size);
    return d !== undefined && d.outside !== true && d.store(gpa - this.#from, size, vcpu, lo, hi);
  }
  /** Whether a device of {@link KernelDevice.outside} covers the access. */
  outside(gpa: number, size: number): boolean {
    if (!this.#outside) return false;
    const d = gpa >= this.#from && gpa + size <= this.#to ? this.#last : this.#find(gpa, size);
    return d?.outside === true;
  }
  /** Whether a device took the store. */
  store(gpa: number, size: number, vcpu: number, lo: number, hi: number): boolean {
    const d = gpa >= this.#from && gpa + size <= this.#to ? this.#last : this.#find(gpa, size);
    return d?.store(gpa - this.#from, size, vcpu, lo, hi) ?? false;
  }
}
