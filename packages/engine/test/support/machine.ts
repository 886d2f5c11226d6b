/** A little machine for tests: guest pages by address, devices, faults; everything a port can be asked for. */
import {
  Access,
  type AccessInfo,
  type AccessPort,
  type Cpu,
  createEngine,
  type Engine,
  type Isa,
  type Resolution,
} from '../../src/index.ts';
import { type TestHost, testHost } from './host.ts';

/** What an access met. */
export interface Fault {
  readonly lo: number;
  readonly hi: number;
  readonly size: number;
  readonly kind: number;
  readonly why: 'unmapped' | 'device' | 'checked' | 'readonly';
}

/** A page of guest virtual memory. */
export interface GuestPage {
  frame: number;
  writable: boolean;
  cache: boolean;
}

export class Machine implements AccessPort {
  readonly host: TestHost;
  readonly engine: Engine;
  readonly cpu: Cpu;
  readonly pages: Map<string, GuestPage> = new Map();
  readonly faults: Fault[] = [];
  readonly accesses: AccessInfo[] = [];
  /** Device stores and loads as `w gpa size value` / `r gpa size`. */
  readonly bus: string[] = [];
  /** Pages (address / 4096) that are devices. */
  readonly devices: Set<number> = new Set();
  deviceAnswers = true;
  deviceValue = { lo: 0x11223344, hi: 0x55667788 };
  /** Called on every resolve. */
  onResolve: (a: AccessInfo) => void = () => undefined;
  onCheck: (a: AccessInfo) => number = () => 0;

  constructor(isa: Isa, host: TestHost = testHost(), engine: Engine = createEngine(host, isa)) {
    this.host = host;
    this.engine = engine;
    this.cpu = engine.createCpu(this);
  }
  static key(lo: number, hi: number): string {
    return `${hi >>> 0}:${lo >>> 12}`;
  }
  /** Maps fresh memory of `n` pages at an address. */
  map(va: bigint, n = 1, options: { writable?: boolean; cache?: boolean } = {}): void {
    for (let i = 0n; i < n; i++) {
      const at = BigInt.asUintN(64, va + i * 4096n);
      const [lo, hi] = halves(at);
      this.pages.set(Machine.key(lo, hi), {
        frame: this.host.frame(),
        writable: options.writable ?? true,
        cache: options.cache ?? true,
      });
    }
  }
  page(va: bigint): GuestPage {
    const [lo, hi] = halves(BigInt.asUintN(64, va));
    const p = this.pages.get(Machine.key(lo, hi));
    if (!p) throw new Error(`nothing mapped at ${va.toString(16)}`);
    return p;
  }
  at(va: bigint): number {
    return this.page(va).frame + Number(va & 4095n);
  }
  poke(va: bigint, bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.host.u8[this.at(va + BigInt(i))] = bytes[i] ?? 0;
  }
  peek(va: bigint, n: number): number[] {
    return Array.from({ length: n }, (_, i) => this.host.u8[this.at(va + BigInt(i))] ?? 0);
  }
  words(va: bigint, words: readonly number[]): void {
    for (const [i, w] of words.entries()) this.host.dv.setUint32(this.at(va + BigInt(4 * i)), w, true);
  }
  x(n: number): bigint {
    return this.host.dv.getBigUint64(this.cpu.regAddr('x', n), true);
  }
  setX(n: number, v: bigint): void {
    this.host.dv.setBigUint64(this.cpu.regAddr('x', n), BigInt.asUintN(64, v), true);
  }
  get pc(): bigint {
    return this.host.dv.getBigUint64(this.cpu.pcAddr, true);
  }
  set pc(v: bigint) {
    this.host.dv.setBigUint64(this.cpu.pcAddr, BigInt.asUintN(64, v), true);
  }
  /** Registers, state and pc as text. */
  state(): string {
    const { isa } = this.engine;
    const parts = [`pc=${this.pc.toString(16)}`];
    for (const [file, f] of Object.entries(isa.files))
      for (let i = 0; i < f.count; i++)
        for (let k = 0; k < f.size; k += 8)
          parts.push(this.host.dv.getBigUint64(this.cpu.regAddr(file, i) + k, true).toString(16));
    for (const [name, v] of Object.entries(isa.state)) {
      const at = this.cpu.stateAddr(name);
      parts.push(
        (v.ty === 'i32' ? this.host.dv.getUint32(at, true) : this.host.dv.getBigUint64(at, true)).toString(
          16,
        ),
      );
    }
    return parts.join(' ');
  }
  /** All mapped memory, hashed (FNV-1a). */
  memory(): number {
    let h = 0x811c9dc5;
    for (const p of this.pages.values())
      for (let i = 0; i < 4096; i++) h = Math.imul(h ^ (this.host.u8[p.frame + i] ?? 0), 0x01000193);
    return h >>> 0;
  }

  check(a: AccessInfo): number {
    if (this.accesses.length < 1000) this.accesses.push({ ...a });
    if (a.align > 1 && (a.lo & (a.align - 1)) !== 0) return this.#fault(a, 'checked');
    return this.onCheck(a);
  }
  resolve(a: AccessInfo, out: Resolution): number {
    this.onResolve(a);
    const p = this.pages.get(Machine.key(a.lo, a.hi));
    if (p) {
      if (a.kind !== Access.Read && a.kind !== Access.Exec && !p.writable) return this.#fault(a, 'readonly');
      out.frame = p.frame;
      out.cache = p.cache;
      return 0;
    }
    const gfn = (a.lo >>> 12) + (a.hi >>> 0) * 2 ** 20;
    if (this.devices.has(gfn)) {
      out.gpa = gfn * 4096 + (a.lo & 4095);
      return 1;
    }
    return this.#fault(a, 'unmapped');
  }
  #fault(a: AccessInfo, why: Fault['why']): number {
    this.faults.push({ lo: a.lo, hi: a.hi, size: a.size, kind: a.kind, why });
    return -1;
  }
  deviceLoad(gpa: number, size: number, a: AccessInfo, value: { lo: number; hi: number }): number {
    if (!this.deviceAnswers) return this.#fault(a, 'device');
    this.bus.push(`r ${gpa.toString(16)} ${size}`);
    value.lo = this.deviceValue.lo;
    value.hi = this.deviceValue.hi;
    return 0;
  }
  deviceStore(gpa: number, size: number, a: AccessInfo, lo: number, hi: number): number {
    if (!this.deviceAnswers) return this.#fault(a, 'device');
    const v = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    this.bus.push(`w ${gpa.toString(16)} ${size} ${v.toString(16)}`);
    return 0;
  }
}

/** A 64-bit number as two int32. */
function halves(v: bigint): [number, number] {
  return [Number(BigInt.asIntN(32, v)), Number(BigInt.asIntN(32, BigInt.asUintN(64, v) >> 32n))];
}
