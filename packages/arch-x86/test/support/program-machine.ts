/** One vCPU of the engine on flat memory: short programs in every size of code, up to the first leave. */
import {
  type AccessInfo,
  type AccessPort,
  type Cpu,
  createEngine,
  type Engine,
  type LeaveReason,
  type Resolution,
} from '@faultyard/engine';
import { assemble } from '../../src/asm/assemble.ts';
import { type X86Isa, type X86IsaOptions, x86Isa } from '../../src/isa/isa.ts';
import { Seg, type SegNumber } from '../../src/isa/layout.ts';
import { Attr, CR0, EFER, SR, X86State } from '../../src/state.ts';
import { testHost } from './mini-machine.ts';

const PAGE = 4096;
const PAGES = 64;
/** Where programs are put, as an offset in CS. */
export const ORIGIN = 0x1000;
/** Initial stack pointer. */
export const STACK = 0x8000;

/** Code that a program is written for; `real` has segment bases of 0x10000 (code) and 0x20000 (data, stack). */
export type Code = 'long' | 'flat' | 'protected' | 'real';
const BITS: Readonly<Record<Code, 16 | 32 | 64>> = { long: 64, flat: 32, protected: 32, real: 16 };

/** What a run ended with. */
export interface End {
  readonly reason: LeaveReason;
  /** Slow operation or guard. */
  readonly op: number;
  readonly retired: number;
}

/** Memory of 256 KiB at 0; everything else is unmapped. */
export class ProgramMachine implements AccessPort {
  readonly engine: Engine;
  readonly cpu: Cpu;
  readonly state: X86State;
  readonly isa: X86Isa;
  readonly u8: Uint8Array;
  readonly dv: DataView;
  /** Linear address of the access that failed last, low half. */
  failed = 0;
  readonly #code: Code;
  readonly #frames: number;

  constructor(code: Code, options: X86IsaOptions = {}) {
    const host = testHost();
    this.#code = code;
    this.isa = x86Isa(options);
    this.engine = createEngine(host, this.isa);
    this.u8 = new Uint8Array(host.memory.buffer);
    this.dv = new DataView(host.memory.buffer);
    this.#frames = host.frame();
    for (let i = 1; i < PAGES; i++) host.frame();
    this.cpu = this.engine.createCpu(this);
    this.state = new X86State(this.cpu, new Int32Array(host.memory.buffer));
    this.#enter();
  }
  #enter(): void {
    const s = this.state;
    const code = this.#code;
    s.setSys(SR.CR0, code === 'real' ? 0 : CR0.PE, 0);
    s.setSys(SR.EFER, code === 'long' ? EFER.LMA | EFER.LME : 0, 0);
    const data = Attr.P | Attr.S | Attr.Writable | Attr.Accessed;
    const size = code === 'long' ? Attr.L : code === 'real' ? 0 : Attr.DB;
    for (const n of [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) {
      const base = code === 'real' ? (n === Seg.CS ? 0x1_0000 : 0x2_0000) : 0;
      // a data segment that is not flat keeps 32-bit code from being flat
      const limit = code === 'real' ? 0xffff : code === 'protected' ? 0xf_ffff : -1;
      const attr = n === Seg.CS ? data | Attr.Code | size : data | (code === 'real' ? 0 : Attr.DB);
      this.segment(n, { base, limit, attr });
    }
    s.flags = 2;
    s.set(4, STACK, 0);
  }
  /** Sets a segment's hidden part. */
  segment(n: SegNumber, to: { base?: number; limit?: number; attr?: number }): void {
    const s = this.state.segment(n);
    if (to.base !== undefined) s.baseLo = to.base;
    if (to.limit !== undefined) s.limit = to.limit;
    if (to.attr !== undefined) s.attr = to.attr;
    this.cpu.setMode(this.state.segmentsChanged());
  }
  /** Host offset of a linear address. */
  at(linear: number): number {
    return this.#frames + linear;
  }
  /** Writes code at {@link ORIGIN}: assembly or bytes; and starts there. */
  load(program: string | readonly number[], origin: number = ORIGIN): void {
    const bytes =
      typeof program === 'string' ? assemble(program, { origin, bits: BITS[this.#code] }).bytes : program;
    this.u8.set(bytes, this.at(origin + this.state.segment(Seg.CS).baseLo));
    this.engine.invalidateFrame(this.at(0) + ((origin + this.state.segment(Seg.CS).baseLo) & -PAGE));
    this.state.setIp(origin, 0);
  }
  /** Runs at most `budget` instructions. */
  run(program?: string | readonly number[], budget = 100_000): End {
    if (program !== undefined) this.load(program);
    const reason = this.cpu.run(budget);
    return { reason, op: this.cpu.slowOp, retired: this.cpu.retired };
  }
  /** A general register. */
  r(slot: number): bigint {
    return this.dv.getBigUint64(this.cpu.regAddr('r', slot), true);
  }
  setR(slot: number, v: bigint): void {
    this.dv.setBigUint64(this.cpu.regAddr('r', slot), BigInt.asUintN(64, v), true);
  }
  set guards(bits: number) {
    this.dv.setUint32(this.cpu.guardAddr, bits, true);
  }
  /** Low half of an argument of the slow operation. */
  arg(n: number): number {
    return this.dv.getInt32(this.cpu.slowArgs + 8 * n, true);
  }

  check(): number {
    return 0;
  }
  resolve(a: AccessInfo, out: Resolution): number {
    if (a.hi !== 0 || a.lo >>> 0 >= PAGES * PAGE) {
      this.failed = a.lo;
      return -1;
    }
    out.frame = this.#frames + (a.lo & -PAGE);
    out.cache = true;
    return 0;
  }
  deviceLoad(): number {
    return -1;
  }
  deviceStore(): number {
    return -1;
  }
}
