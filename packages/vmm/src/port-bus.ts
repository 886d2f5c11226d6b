/** The VMM's I/O ports: who answers KVM_EXIT_IO. */
import { answer, type Exit, FaultyardError, hex, resume, type Verdict, type Vm } from '@faultyard/core';
import type { Policy } from './policy.ts';

declare module '@faultyard/core' {
  interface TraceMap {
    /** The guest read a port where nothing is; it got ones. */
    unmapped_port: { readonly port: number; readonly size: number };
  }
}

/** A device model behind I/O ports. Offsets and sizes in bytes. */
export interface PortDevice {
  readonly name: string;
  /** First port. */
  readonly port: number;
  /** How many ports. */
  readonly size: number;
  /** Widest access it takes; the bus splits wider ones, lowest port first, as an ISA bridge does. */
  readonly width: 1 | 2 | 4;
  /** IN of `size` bytes. */
  load(offset: number, size: number): number;
  /** OUT; a verdict that stops the drive, or nothing. */
  store(offset: number, size: number, value: number): Verdict | undefined;
}

/** Devices by port. */
export class PortBus {
  readonly #vm: Vm;
  readonly #devices: PortDevice[] = [];

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** All devices, by port. */
  get devices(): readonly PortDevice[] {
    return this.#devices;
  }

  /**
   * Plugs a device in; returns the disposer.
   * @throws FaultyardError FY_ADDRESS when it overlaps another one.
   */
  add(d: PortDevice): () => void {
    const clash = this.#devices.find((e) => d.port < e.port + e.size && e.port < d.port + d.size);
    if (clash)
      throw new FaultyardError('FY_ADDRESS', {
        what: `device ${d.name} at port`,
        value: hex(d.port),
        why: `overlaps ${clash.name}`,
        fix: 'choose another port',
      });
    this.#devices.push(d);
    this.#devices.sort((a, b) => a.port - b.port);
    return () => void this.#devices.splice(this.#devices.indexOf(d), 1);
  }

  /**
   * Does the accesses of an exit: every element of a string instruction, even if one of them stops the drive (KVM has
   * done with the instruction's elements when it exits).
   */
  answer(e: Exit<'io'>): Verdict {
    if (e.write) {
      let verdict: Verdict | undefined;
      for (const value of e.data) verdict = this.#store(e.port, e.size, value) ?? verdict;
      return verdict ?? resume;
    }
    const values = Array.from({ length: e.count }, () => this.#load(e.port, e.size, e.vcpu));
    return answer(values.length === 1 ? (values[0] ?? 0) : values);
  }

  #load(port: number, size: number, vcpu: number): number {
    const d = this.#at(port);
    if (d && size <= d.width && port + size <= d.port + d.size)
      return (d.load(port - d.port, size) & (size === 4 ? -1 : (1 << (8 * size)) - 1)) >>> 0;
    if (size > 1) {
      const half = size / 2;
      const low = this.#load(port, half, vcpu);
      return (low | (this.#load(port + half, half, vcpu) << (8 * half))) >>> 0;
    }
    this.#vm.trace.emit({ name: 'unmapped_port', time: this.#vm.clock.now, vcpu, port, size });
    return 0xff;
  }

  #store(port: number, size: number, value: number): Verdict | undefined {
    const d = this.#at(port);
    if (d && size <= d.width && port + size <= d.port + d.size) return d.store(port - d.port, size, value);
    if (size === 1) return undefined;
    const half = size / 2;
    const mask = 2 ** (8 * half) - 1;
    const first = this.#store(port, half, (value & mask) >>> 0);
    return this.#store(port + half, half, (value >>> (8 * half)) & mask) ?? first;
  }

  #at(port: number): PortDevice | undefined {
    return this.#devices.find((d) => port >= d.port && port < d.port + d.size);
  }

  /** The bus as a policy. */
  get policy(): Policy {
    return (e) => (e.kind === 'io' ? this.answer(e) : undefined);
  }
}
