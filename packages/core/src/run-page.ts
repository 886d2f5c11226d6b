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
/** Offset and bytes of port data in the mapping (KVM_PIO_PAGE_OFFSET). */
const PORT_DATA = 4096;

/** Bytes of the page that a later run can depend on. */
export interface RunPageImage {
  /** Bytes 40..47, as two int32. */
  readonly lo: number;
  readonly hi: number;
  /** Port data up to the last byte that is not 0; absent when there is none. */
  readonly ports?: Uint8Array;
}

/**
 * The page. MMIO exits are frequent and keep only their data bytes until somebody looks at the page; all others are
 * encoded at once. Once shown, the page is the truth: bytes that userspace writes there count.
 */
export class RunPage {
  readonly #vm: Vm;
  readonly #bytes: number;
  /** Fills in what the architecture keeps beside the exit. */
  fill: ((page: DataView) => void) | undefined = undefined;
  /** Bytes of port accesses; part of the mapping, so that it is always current. */
  readonly ports: Uint8Array;
  #view: DataView | undefined;
  /** The page shows the last exit. */
  #shown = false;
  /** Bytes 40..47, as two int32, while the page is not shown. */
  #lo = 0;
  #hi = 0;
  constructor(vm: Vm, bytes: number = KVM_RUN_SIZE) {
    this.#vm = vm;
    this.#bytes = bytes;
    if (bytes < PORT_DATA + PORT_DATA) this.ports = new Uint8Array(0);
    else {
      this.#view = new DataView(new ArrayBuffer(bytes));
      this.ports = new Uint8Array(this.#view.buffer, PORT_DATA, PORT_DATA);
    }
  }
  /** A port exit: its single value goes to the port data; those of strings stand there already. */
  io(d: DeviceAccess): void {
    if (this.#shown) this.#hide();
    if (d.write && d.count === 1) this.#putPort(0, d.size, d.lo);
  }
  /** Values of the port data as unsigned numbers. */
  portValues(d: DeviceAccess): readonly number[] {
    if (d.count === 1) return [this.#takePort(0, d.size)];
    return Array.from({ length: d.count }, (_, i) => this.#takePort(i * d.size, d.size));
  }
  /** Userspace wrote answers to port loads. */
  answerPorts(d: DeviceAccess, values: readonly (bigint | number)[]): void {
    const n = Math.min(values.length, d.count);
    for (let i = 0; i < n; i++)
      this.#putPort(i * d.size, d.size, Number(BigInt.asIntN(32, BigInt(values[i] ?? 0))));
    d.lo = this.#takePort(0, d.size) | 0;
    d.hi = 0;
  }
  #putPort(at: number, size: number, v: number): void {
    for (let i = 0; i < size; i++) this.ports[at + i] = v >>> (8 * i);
  }
  #takePort(at: number, size: number): number {
    let v = 0;
    for (let i = size - 1; i >= 0; i--) v = (v << 8) | (this.ports[at + i] ?? 0);
    return v >>> 0;
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
    if (d.port) {
      d.lo = this.#takePort(0, d.size) | 0;
      d.hi = 0;
      return;
    }
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
    this.#view ??= new DataView(new ArrayBuffer(this.#bytes));
    if (!this.#shown) {
      this.#show();
      if (last) encodeExit(this.#vm, last, this.#view);
      this.fill?.(this.#view);
    }
    return this.#view;
  }
  /** The page if it exists, and whether it shows the last exit: for what userspace may have written there. */
  get written(): { readonly page: DataView; readonly shown: boolean } | undefined {
    return this.#view && { page: this.#view, shown: this.#shown };
  }
  /** Writes any other exit. */
  encode(e: Exit): void {
    if (e.kind === 'budget') return;
    if (!this.#shown) {
      this.#view ??= new DataView(new ArrayBuffer(this.#bytes));
      this.#show();
    }
    encodeExit(this.#vm, e, this.#view as DataView);
    this.fill?.(this.#view as DataView);
  }
  /** For snapshots. */
  save(): RunPageImage {
    const v = this.#view;
    const lo = this.#shown && v ? v.getInt32(MMIO_DATA, true) : this.#lo;
    const hi = this.#shown && v ? v.getInt32(MMIO_DATA + 4, true) : this.#hi;
    const used = this.ports.findLastIndex((b) => b !== 0) + 1;
    return used === 0 ? { lo, hi } : { lo, hi, ports: this.ports.slice(0, used) };
  }
  /** For snapshots; the page is encoded again when somebody looks. */
  restore(s: RunPageImage): void {
    this.#shown = false;
    this.#lo = s.lo;
    this.#hi = s.hi;
    this.ports.fill(0);
    if (s.ports) this.ports.set(s.ports);
  }
}
