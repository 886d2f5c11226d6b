/** Where the toy leaves generated code: no stage 1, stage 2 from core, devices by re-execution. */
import { MemFlag, Miss, type Vcpu, type Vm } from '@faultyard/core';
import { Access, type AccessInfo, type AccessPort, type Resolution, Resolved } from '@faultyard/engine';

/** Why an access was not served. */
export const ToyCause = {
  None: 0,
  /** Stage 2 has no answer yet: KVM's fault path. */
  Stage2: 1,
  /** A load or fetch consumed poison. */
  Poison: 2,
  /** A device load or store for userspace: the pending access is filled. */
  Device: 3,
  /** A fetch from where no memory is. */
  NoCode: 4,
  /** An access that lies partly in a device. */
  Straddle: 5,
  /** The lab has no frame left. */
  NoMemory: 6,
} as const;

/** The toy's access port. A guest virtual address is a gpa; the top 16 bits are ignored. */
export class ToyPort implements AccessPort {
  readonly #vm: Vm;
  readonly #vcpu: Vcpu;
  /** Last access that was not served. */
  cause: number = ToyCause.None;
  /** Its address, as a gpa. */
  gpa = 0;
  /** {@link Access} kind. */
  kind = 0;
  /** Set while a device access is completed: data accesses go to the device, whatever is mapped by now. */
  completing = false;
  /** Returned by {@link resolve} instead of a kept translation: tests lose entries with it. */
  forgetful = false;

  constructor(vm: Vm, vcpu: Vcpu) {
    this.#vm = vm;
    this.#vcpu = vcpu;
  }

  check(): number {
    return 0;
  }
  resolve(a: AccessInfo, out: Resolution): number {
    const gpa = (a.hi & 0xffff) * 2 ** 32 + (a.lo >>> 0);
    const fetch = a.kind === Access.Exec;
    if (this.completing && !fetch) {
      out.gpa = gpa;
      return Resolved.Device;
    }
    const { stage2, host } = this.#vm;
    const gfn = Math.floor(gpa / 4096);
    const write = a.kind === Access.Write || a.kind === Access.ReadWrite;
    // A store does not consume poison here: it goes through, uncached.
    const frame = fetch ? stage2.lookupExec(gfn) : stage2.lookup(gfn, write, write);
    if (frame >= 0) {
      out.frame = frame;
      out.cache = !this.forgetful && host.cacheable(frame, write);
      return Resolved.Ram;
    }
    if (frame === Miss.NoMemory) return this.#no(ToyCause.NoMemory, gpa, a.kind);
    if (frame === Miss.Poison) return this.#no(ToyCause.Poison, gpa, a.kind);
    const slot = stage2.slots.find(gfn);
    if (slot === undefined && fetch) return this.#no(ToyCause.NoCode, gpa, a.kind);
    const device = slot === undefined || (write && !slot.invalid && (slot.flags & MemFlag.ReadOnly) !== 0);
    if (!device) return this.#no(ToyCause.Stage2, gpa, a.kind);
    out.gpa = gpa;
    return Resolved.Device;
  }
  #no(cause: number, gpa: number, kind: number): -1 {
    this.cause = cause;
    this.gpa = gpa;
    this.kind = kind;
    return Resolved.Fault;
  }

  deviceLoad(gpa: number, size: number, a: AccessInfo, value: { lo: number; hi: number }): number {
    const d = this.#vcpu.device;
    if (this.completing) {
      value.lo = d.lo;
      value.hi = d.hi;
      return 0;
    }
    if (size !== a.size) return this.#no(ToyCause.Straddle, gpa, a.kind);
    if (this.#vm.bus.load(gpa, size, this.#vcpu.id, value)) return 0;
    d.gpa = gpa;
    d.size = size;
    d.write = false;
    return this.#no(ToyCause.Device, gpa, a.kind);
  }
  deviceStore(gpa: number, size: number, a: AccessInfo, lo: number, hi: number): number {
    if (this.completing) return 0;
    if (size !== a.size) return this.#no(ToyCause.Straddle, gpa, a.kind);
    if (this.#vm.bus.store(gpa, size, this.#vcpu.id, lo, hi)) return 0;
    const d = this.#vcpu.device;
    d.gpa = gpa;
    d.size = size;
    d.write = true;
    d.lo = lo;
    d.hi = hi;
    return this.#no(ToyCause.Device, gpa, a.kind);
  }
}
