/**
 * A vCPU of the engine with nothing around it: registers and segments of one of the test environments, user mode, the
 * test's own pages. Exceptions are not delivered but told.
 */
import {
  Access,
  type AccessInfo,
  type AccessPort,
  type Cpu,
  createEngine,
  type Engine,
  type EngineHost,
  Leave,
  type Resolution,
} from '@faultyard/engine';
import { Decoder, DecoderOptions, type Instruction } from 'iced-x86';
import { Guard } from '../../src/isa/guards.ts';
import { x86Isa } from '../../src/isa/isa.ts';
import { CTX_USER, Seg } from '../../src/isa/layout.ts';
import { Slow } from '../../src/isa/slow.ts';
import type { Machine } from '../../src/machine.ts';
import type { AccessFault } from '../../src/memory/access-fault.ts';
import { throughStack } from '../../src/memory/stack-access.ts';
import { Attr, CR0, CR4, EFER, SR, X86State } from '../../src/state.ts';
import {
  CODE_BASE,
  CODE_SIZE,
  type Environment,
  FLAGS_KEPT,
  READ_ONLY,
  segmentBase,
  slotOf,
  type TestSegment,
  type UserCase,
  type UserFault,
  type UserResult,
  WINDOW,
  WINDOW_PATTERN,
  WINDOW_SIZE,
} from './user-world.ts';

const PAGE = 4096;
const INT3 = 0xcc;
/** Instructions a case may take: it, and the INT3 after it; one REP iteration counts as one. */
const BUDGET = 1 << 20;

/** A host that hands out tables and frames from one memory. */
export function testHost(): EngineHost & { frame(): number } {
  const memory = new WebAssembly.Memory({ initial: 1024, maximum: 1024 });
  let table = PAGE;
  let frames = 32 << 20;
  const free = new Map<number, number[]>();
  return {
    memory,
    allocTable(bytes, align = 16) {
      const again = free.get(bytes)?.pop();
      if (again !== undefined) {
        new Uint8Array(memory.buffer).fill(0, again, again + bytes);
        return again;
      }
      const at = Math.ceil(table / align) * align;
      table = at + bytes;
      return at;
    },
    freeTable(offset, bytes) {
      free.set(bytes, [...(free.get(bytes) ?? []), offset]);
    },
    setCode: () => undefined,
    frame() {
      frames += PAGE;
      return frames - PAGE;
    },
  };
}

/** An exception of the processor, as it reached the machine. */
type Fault = UserFault;

/** What came of a case, or the mnemonic-free news that it needs a whole vCPU: a slow operation by number. */
export type Outcome = UserResult | { readonly slow: number };

/** Runs cases on the engine. */
export class MiniMachine implements AccessPort {
  readonly engine: Engine;
  readonly cpu: Cpu;
  readonly state: X86State;
  readonly #dv: DataView;
  readonly #u8: Uint8Array;
  /** First of the window's frames. */
  readonly #window: number;
  readonly #before: Uint8Array = new Uint8Array(WINDOW_SIZE);
  /** Frame full of INT3, standing for all code pages but those of instructions. */
  readonly #filler: number;
  readonly #code: Map<number, number> = new Map();
  readonly #frame: () => number;
  #env: Environment | undefined;
  #fault: Fault = { vector: 0, error: 0, address: 0n };
  readonly #v: number;
  /** The bytes of the case, for who decodes them again. */
  #bytes: Uint8Array = new Uint8Array();
  #slot = 0;
  #machine: Machine;
  /** The access that failed for its address alone. */
  #nonCanonical: AccessFault | undefined;

  constructor() {
    const host = testHost();
    this.#frame = () => host.frame();
    this.engine = createEngine(host, x86Isa());
    this.#dv = new DataView(host.memory.buffer);
    this.#u8 = new Uint8Array(host.memory.buffer);
    // frames come one after the other
    this.#window = host.frame();
    for (let at = PAGE; at < WINDOW_SIZE; at += PAGE) host.frame();
    this.#filler = host.frame();
    this.#u8.fill(INT3, this.#filler, this.#filler + PAGE);
    this.cpu = this.engine.createCpu(this);
    this.state = new X86State(this.cpu, new Int32Array(host.memory.buffer));
    this.#v = this.cpu.regAddr('v', 0);
    const { state } = this;
    state.setSys(SR.CR0, CR0.PE | CR0.PG | CR0.WP | CR0.NE | CR0.ET, 0);
    state.setSys(SR.CR4, CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT, 0);
    state.setSys(SR.EFER, EFER.LMA | EFER.LME | EFER.NXE, 0);
    state.cpl = 3;
    this.cpu.setContext(CTX_USER);
    // CPL 3 with IOPL 0
    this.#dv.setUint32(this.cpu.guardAddr, 1 << Guard.Iopl, true);
    const instruction = (): Instruction => {
      const bytes = this.#bytes.subarray(state.pcLo - this.#slot);
      const decoder = new Decoder(64, bytes, DecoderOptions.AMD);
      decoder.ip = BigInt(state.ipLo >>> 0);
      const i = decoder.decode();
      decoder.free();
      return i;
    };
    // of a machine, only what `throughStack` looks at
    this.#machine = { state, instruction } as unknown as Machine;
  }

  /** Runs a case; with `single`, every instruction on the one-instruction path. */
  run(c: UserCase, single = false): Outcome {
    const { state } = this;
    this.#enter(c.env);
    const before = this.#before;
    before.set(WINDOW_PATTERN);
    for (const p of c.pokes) before.set(p.bytes, p.at);
    this.#u8.set(before, this.#window);
    const slot = slotOf(c);
    this.#bytes = c.bytes;
    this.#slot = slot;
    this.#lay(slot, c.bytes);
    const registers = this.cpu.regAddr('r', 0);
    this.#u8.set(new Uint8Array(c.start.gpr.buffer), registers);
    if (c.start.xmm) this.#u8.set(c.start.xmm, this.#v);
    // IF is set, IOPL is 0
    state.flags = c.start.flags | 0x202;
    state.setPc(slot, 0);
    const reason = this.#go(single);
    this.#lay(slot, new Uint8Array(c.bytes.length).fill(INT3));
    if (typeof reason === 'object' && 'slow' in reason) return reason;
    const gpr = new BigUint64Array(16);
    new Uint8Array(gpr.buffer).set(this.#u8.subarray(registers, registers + 128));
    return {
      fault: reason,
      state: {
        gpr,
        rip: BigInt(state.ipLo >>> 0) | (BigInt(state.ipHi >>> 0) * 0x1_0000_0000n),
        flags: state.flags & FLAGS_KEPT,
        xmm: c.start.xmm ? this.#u8.slice(this.#v, this.#v + 256) : undefined,
      },
      window: this.#changes(before),
    };
  }

  /** Until an INT3 of the code region (`undefined`), an exception, or something that only a whole vCPU can do. */
  #go(single: boolean): Fault | { readonly slow: number } | undefined {
    const { cpu } = this;
    for (let n = 0; n < BUDGET; n++) {
      const reason = single ? cpu.step() : cpu.run(BUDGET);
      if (reason === Leave.Budget) {
        if (!single) throw new Error('the budget is used up');
        continue;
      }
      if (reason === Leave.Fault) {
        const a = this.#nonCanonical;
        this.#nonCanonical = undefined;
        // only now the pc is that of the instruction
        return a ? { vector: throughStack(this.#machine, a) ? 12 : 13, error: 0, address: 0n } : this.#fault;
      }
      if (reason === Leave.Guard) return { slow: cpu.slowOp };
      return this.#slow(cpu.slowOp);
    }
    throw new Error('it does not end');
  }
  #slow(op: number): Fault | { readonly slow: number } | undefined {
    const plain = (vector: number): Fault => ({ vector, error: 0, address: 0n });
    switch (op) {
      case Slow.Undefined:
        return plain(6);
      case Slow.SegmentLimit:
        return plain(this.#dv.getInt32(this.cpu.slowArgs, true) === Seg.SS ? 12 : 13);
      case Slow.GeneralProtection:
      case Slow.Unaligned:
        return plain(13);
      case Slow.StackFault:
        return plain(12);
      case Slow.DivideError:
        return plain(0);
      case Slow.BoundRange:
        return plain(5);
      default: {
        const pc = this.state.pcLo >>> 0;
        const inCode = this.state.pcHi === 0 && pc >= CODE_BASE && pc < CODE_BASE + CODE_SIZE;
        const ends = inCode && this.#u8[this.#codeFrame(pc, false) + (pc & (PAGE - 1))] === INT3;
        return ends ? undefined : { slow: op };
      }
    }
  }

  #enter(env: Environment): void {
    if (this.#env === env) return;
    this.#env = env;
    const { state, cpu } = this;
    loadSegments(state, env);
    cpu.setMode(state.segmentsChanged());
  }

  /** Writes bytes into the code region and tells the engine. */
  #lay(at: number, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) {
      const frame = this.#codeFrame(at + i, true);
      this.#u8[frame + ((at + i) & (PAGE - 1))] = byte;
    }
    this.engine.invalidateFrame(this.#codeFrame(at, true));
    const last = this.#codeFrame(at + bytes.length - 1, true);
    this.engine.invalidateFrame(last);
  }
  #codeFrame(at: number, own: boolean): number {
    const page = Math.floor(at / PAGE);
    let frame = this.#code.get(page);
    if (frame === undefined && own) {
      frame = this.#frame();
      this.#u8.fill(INT3, frame, frame + PAGE);
      this.#code.set(page, frame);
      this.cpu.flush();
    }
    return frame ?? this.#filler;
  }
  #changes(before: Uint8Array): Map<number, number> {
    const changed = new Map<number, number>();
    const now = this.#u8.subarray(this.#window, this.#window + WINDOW_SIZE);
    if (Buffer.compare(before, now) === 0) return changed;
    for (let i = 0; i < WINDOW_SIZE; i++) {
      const byte = now[i] as number;
      if (byte !== before[i]) changed.set(i, byte);
    }
    return changed;
  }

  check(a: AccessInfo): number {
    // outside 64-bit mode the instruction pointer has 32 bits
    if (a.kind === Access.Exec && a.hi !== 0 && this.state.code !== 8) this.state.setPc(a.lo, 0);
    if (a.align === 1 || (a.lo & (a.align - 1)) === 0) return 0;
    this.#fault = { vector: 13, error: 0, address: 0n };
    return -1;
  }

  resolve(a: AccessInfo, out: Resolution): number {
    const lo = a.lo >>> 0;
    const write = a.kind === Access.Write || a.kind === Access.ReadWrite;
    const fetch = a.kind === Access.Exec;
    // bits 63 to 47 are not all equal
    if (a.hi >> 15 !== 0 && a.hi >> 15 !== -1) {
      const { kind, cls, lo, hi, size } = a;
      this.#nonCanonical = { kind, cls, lo, hi, size } as AccessFault;
      return -1;
    }
    const inWindow = a.hi === 0 && lo >= WINDOW && lo < WINDOW + WINDOW_SIZE;
    const inCode = a.hi === 0 && lo >= CODE_BASE && lo < CODE_BASE + CODE_SIZE;
    const allowed = inWindow ? !fetch && !(write && lo >= WINDOW + READ_ONLY) : inCode && !write;
    if (!allowed) {
      const error = (inWindow || inCode ? 1 : 0) | (write ? 2 : 0) | 4 | (fetch ? 16 : 0);
      const address = BigInt(lo) | (BigInt(a.hi >>> 0) * 0x1_0000_0000n);
      this.#fault = { vector: 14, error, address };
      return -1;
    }
    out.frame = inCode ? this.#codeFrame(lo, false) : this.#window + ((lo - WINDOW) & -PAGE);
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

/** Fills the hidden parts of the segment registers for an environment; who calls says that they changed. */
export function loadSegments(state: X86State, env: Environment): void {
  for (const n of [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) {
    const s = env.segments[n] as TestSegment;
    const base = segmentBase(env, n);
    Object.assign(state.segment(n), {
      selector: s.selector,
      attr: attributes(s, env.bits === 64 && n === Seg.CS),
      limit: (s.pages ? (s.limit << 12) | 0xfff : s.limit) | 0,
      baseLo: Number(BigInt.asIntN(32, base)),
      baseHi: Number(base / 0x1_0000_0000n) | 0,
    });
  }
}

function attributes(s: TestSegment, long: boolean): number {
  const present = Attr.P | Attr.S | (3 << Attr.DplShift) | Attr.Accessed;
  const size = long ? Attr.L : s.big ? Attr.DB : 0;
  return present | s.type | size | (s.pages ? Attr.G : 0) | (s.selector === 0 ? Attr.Unusable : 0);
}
