/** The kvm_run page of a vCPU: `struct kvm_run` as userspace maps it, written only as far as somebody looks. */
import { encodeExit } from './abi/kvm-run.ts';
import type { Exit } from './exit.ts';
import type { DeviceAccess } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** sizeof(struct kvm_run), x86-64 and arm64. */
export const KVM_RUN_SIZE = 2352;
/** Offset of immediate_exit in it. */
const IMMEDIATE_EXIT = 1;
/** Offset of the mmio.data bytes in it (exit union at 32). */
const MMIO_DATA = 40;

/** Bytes of the page that a later run can depend on. */
export interface RunPageImage {
  /** Bytes 40..47, as two int32. */
  readonly lo: number;
  readonly hi: number;
}

/**
 * The page. MMIO exits are frequent and keep only their data bytes until somebody looks at the page; all others are
 * encoded at once. Once shown, the page is the truth: bytes that userspace writes there count.
 */
export class RunPage {
  readonly #vm: Vm;
  #view: DataView | undefined;
  /** The page shows the last exit. */
  #shown = false;
  /** Bytes 40..47, as two int32, while the page is not shown. */
  #lo = 0;
  #hi = 0;
  constructor(vm: Vm) {
    this.#vm = vm;
  }
  /** An MMIO exit: a store puts its value where mmio.data is. */
  mmio(d: DeviceAccess): void {
    if (this.#shown) this.#hide();
    if (!d.write) return;
    this.#put(d);
  }
  /** Userspace wrote the low `size` bytes of the answer. */
  answer(d: DeviceAccess): void {
    const shown = this.#shown;
    if (shown) this.#hide();
    this.#put(d);
    if (shown) this.#show();
  }
  #put(d: DeviceAccess): void {
    if (d.size === 8) this.#hi = d.hi;
    const m = d.size >= 4 ? -1 : (1 << (d.size * 8)) - 1;
    this.#lo = (this.#lo & ~m) | (d.lo & m);
  }
  /** KVM takes what stands there: what userspace wrote, or the bytes of the exit before. */
  stale(d: DeviceAccess): void {
    if (this.#shown) this.#hide();
    d.lo = this.#lo;
    d.hi = this.#hi;
  }
  /** kvm_run.immediate_exit, if userspace ever looked at the page. */
  get immediateExit(): boolean {
    return this.#view !== undefined && this.#view.getUint8(IMMEDIATE_EXIT) !== 0;
  }
  #hide(): void {
    const v = this.#view as DataView;
    this.#lo = v.getInt32(MMIO_DATA, true);
    this.#hi = v.getInt32(MMIO_DATA + 4, true);
    this.#shown = false;
  }
  #show(): void {
    const v = this.#view as DataView;
    v.setInt32(MMIO_DATA, this.#lo, true);
    v.setInt32(MMIO_DATA + 4, this.#hi, true);
    this.#shown = true;
  }
  /** The page with the last exit in it. */
  view(last: Exit | undefined): DataView {
    this.#view ??= new DataView(new ArrayBuffer(KVM_RUN_SIZE));
    if (!this.#shown) {
      this.#show();
      if (last) encodeExit(this.#vm, last, this.#view);
    }
    return this.#view;
  }
  /** Writes any other exit. */
  encode(e: Exit): void {
    if (e.kind === 'budget') return;
    if (!this.#shown) {
      this.#view ??= new DataView(new ArrayBuffer(KVM_RUN_SIZE));
      this.#show();
    }
    encodeExit(this.#vm, e, this.#view as DataView);
  }
  /** For snapshots. */
  save(): RunPageImage {
    const v = this.#view;
    return this.#shown && v
      ? { lo: v.getInt32(MMIO_DATA, true), hi: v.getInt32(MMIO_DATA + 4, true) }
      : { lo: this.#lo, hi: this.#hi };
  }
  /** For snapshots; the page is encoded again when somebody looks. */
  restore(s: RunPageImage): void {
    this.#shown = false;
    this.#lo = s.lo;
    this.#hi = s.hi;
  }
}
