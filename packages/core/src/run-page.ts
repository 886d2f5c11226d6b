/** The kvm_run page of a vCPU: `struct kvm_run` as userspace maps it, written only as far as somebody looks. */
import { encodeExit } from './abi/kvm-run.ts';
import type { Exit } from './exit.ts';
import type { DeviceAccess } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** sizeof(struct kvm_run), x86-64 and arm64. */
export const KVM_RUN_SIZE = 2352;
/** Offset of the mmio.data bytes in it (exit union at 32). */
const MMIO_DATA = 40;

/** The page. MMIO exits are frequent and keep only their data bytes; all others are encoded at once. */
export class RunPage {
  readonly #vm: Vm;
  #view: DataView | undefined;
  /** Bytes 40..47, as two int32. */
  #lo = 0;
  #hi = 0;
  constructor(vm: Vm) {
    this.#vm = vm;
  }
  /** A store exit puts its value where mmio.data is. */
  store(d: DeviceAccess): void {
    this.#lo = d.lo;
    this.#hi = d.size === 8 ? d.hi : 0;
  }
  /** Userspace wrote the low `size` bytes. */
  answer(d: DeviceAccess): void {
    if (d.size === 8) this.#hi = d.hi;
    const m = d.size >= 4 ? -1 : (1 << (d.size * 8)) - 1;
    this.#lo = (this.#lo & ~m) | (d.lo & m);
  }
  /** KVM takes what stands there: the bytes of the exit before. */
  stale(d: DeviceAccess): void {
    d.lo = this.#lo;
    d.hi = this.#hi;
  }
  /** The page with the last exit in it. */
  view(d: DeviceAccess, last: Exit | undefined): DataView {
    this.#view ??= new DataView(new ArrayBuffer(KVM_RUN_SIZE));
    if (last?.kind === 'mmio') {
      encodeExit(this.#vm, last, this.#view);
      this.#view.setInt32(MMIO_DATA, d.answered || d.write ? d.lo : this.#lo, true);
      this.#view.setInt32(MMIO_DATA + 4, this.#hi, true);
    }
    return this.#view;
  }
  /** Writes any other exit. */
  encode(e: Exit, d: DeviceAccess, last: Exit | undefined): void {
    const v = this.view(d, last);
    encodeExit(this.#vm, e, v);
    this.#lo = v.getInt32(MMIO_DATA, true);
    this.#hi = v.getInt32(MMIO_DATA + 4, true);
  }
}
