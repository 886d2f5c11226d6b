/** The world of the user-mode vectors on the engine: same addresses, same contents, one vCPU at EL0. */
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
import { CONTEXT_EL0 } from '../../src/isa/contexts.ts';
import { a64 } from '../../src/isa/isa.ts';
import { Slow } from '../../src/isa/slow.ts';
import {
  CODE_BASE,
  CODE_SIZE,
  CODE_SLOT,
  codeFiller,
  startState,
  type UserCase,
  type UserEnd,
  type UserResult,
  WINDOW,
  WINDOW_PATTERN,
  WINDOW_SIZE,
} from './user-world.ts';

const PAGE = 4096;

/** A host that hands out tables and frames from one memory. */
function testHost(): EngineHost & { frame(): number } {
  const memory = new WebAssembly.Memory({ initial: 512, maximum: 512 });
  let table = PAGE;
  let frames = 24 << 20;
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

/** Runs cases on the engine. */
export class UserMachine implements AccessPort {
  readonly engine: Engine;
  readonly cpu: Cpu;
  readonly #dv: DataView;
  readonly #u8: Uint8Array;
  readonly #window: number;
  /** Frames of the code region, by page; made when first touched. */
  readonly #code = new Map<number, number>();
  readonly #frame: () => number;
  /** Where registers and state lie in the host's memory. */
  readonly #at: Readonly<Record<'x' | 'v' | 'fn' | 'fz' | 'fc' | 'fv' | 'exclusiveSize', number>>;
  #fault: 'segv' | 'bus' = 'segv';

  constructor() {
    const host = testHost();
    this.#frame = () => host.frame();
    this.engine = createEngine(host, a64());
    this.#dv = new DataView(host.memory.buffer);
    this.#u8 = new Uint8Array(host.memory.buffer);
    this.#window = host.frame();
    this.cpu = this.engine.createCpu(this);
    this.cpu.setContext(CONTEXT_EL0);
    const state = (name: string): number => this.cpu.stateAddr(name);
    this.#at = {
      x: this.cpu.regAddr('x', 0),
      v: this.cpu.regAddr('v', 0),
      fn: state('fn'),
      fz: state('fz'),
      fc: state('fc'),
      fv: state('fv'),
      exclusiveSize: state('exclusiveSize'),
    };
  }

  /** Runs a case; with `single`, every instruction on the one-instruction path. */
  run(c: UserCase, single = false): UserResult {
    const { cpu } = this;
    const s = startState(c);
    this.#u8.set(WINDOW_PATTERN, this.#window);
    const slot = this.#codeFrame(Number(CODE_SLOT)) + Number(CODE_SLOT % BigInt(PAGE));
    for (const [i, w] of c.words.entries()) this.#dv.setUint32(slot + 4 * i, w, true);
    this.engine.invalidateFrame(slot & -PAGE);
    const { x, v } = this.#at;
    for (const [n, value] of s.x.entries()) this.#put(x + 8 * n, value);
    this.#put(x + 8 * 31, s.sp);
    this.#u8.set(s.v, v);
    this.#put(cpu.pcAddr, s.pc);
    this.#flags(s.nzcv);
    this.#put(this.#at.exclusiveSize, 0n, 4);
    let end = this.#go(c.words.length, single);
    if (end === 'done' && single && c.words.length > 1) end = this.#go(1, true);
    const window = this.#changedBytes();
    for (let i = 0; i < c.words.length; i++)
      this.#dv.setUint32(slot + 4 * i, codeFiller(Number(CODE_SLOT) + 4 * i), true);
    return {
      end,
      window,
      state: {
        x: s.x.map((_, n) => this.#get(x + 8 * n)),
        sp: this.#get(x + 8 * 31),
        pc: this.#get(cpu.pcAddr),
        nzcv: this.#readFlags(),
        v: this.#u8.slice(v, v + 512),
      },
    };
  }

  #go(budget: number, single: boolean): UserEnd {
    const reason = single ? this.cpu.step() : this.cpu.run(budget);
    if (reason === Leave.Budget) return 'done';
    if (reason === Leave.Fault) return this.#fault;
    if (reason === Leave.Slow && this.cpu.slowOp === Slow.Undefined) return 'ill';
    throw new Error(`left with reason ${reason}, operation ${this.cpu.slowOp}`);
  }

  #changedBytes(): ReadonlyMap<number, number> {
    const changed = new Map<number, number>();
    const now = this.#u8.subarray(this.#window, this.#window + WINDOW_SIZE);
    if (Buffer.compare(now, WINDOW_PATTERN) === 0) return changed;
    const before = WINDOW_PATTERN;
    for (const [i, byte] of now.entries()) if (byte !== before[i]) changed.set(i, byte);
    return changed;
  }

  check(a: AccessInfo): number {
    if (a.align === 1 || (a.lo & (a.align - 1)) === 0) return 0;
    this.#fault = 'bus';
    return -1;
  }

  resolve(a: AccessInfo, out: Resolution): number {
    const at = BigInt.asUintN(32, BigInt(a.lo)) | (BigInt.asUintN(32, BigInt(a.hi)) << 32n);
    const write = a.kind === Access.Write || a.kind === Access.ReadWrite;
    if (at >= WINDOW && at < WINDOW + BigInt(WINDOW_SIZE) && a.kind !== Access.Exec) {
      out.frame = this.#window;
    } else if (at >= CODE_BASE && at < CODE_BASE + BigInt(CODE_SIZE) && !write) {
      out.frame = this.#codeFrame(Number(at));
    } else {
      this.#fault = 'segv';
      return -1;
    }
    out.cache = true;
    return 0;
  }

  deviceLoad(): number {
    return -1;
  }
  deviceStore(): number {
    return -1;
  }

  #codeFrame(address: number): number {
    const page = Math.floor(address / PAGE);
    let frame = this.#code.get(page);
    if (frame === undefined) {
      frame = this.#frame();
      const filler = codeFiller;
      for (let i = 0; i < PAGE; i += 4) this.#dv.setUint32(frame + i, filler(page * PAGE + i), true);
      this.#code.set(page, frame);
    }
    return frame;
  }

  #get(at: number): bigint {
    return this.#dv.getBigUint64(at, true);
  }
  #put(at: number, value: bigint, size: 4 | 8 = 8): void {
    if (size === 8) this.#dv.setBigUint64(at, value, true);
    else this.#dv.setUint32(at, Number(value), true);
  }

  /** See `src/isa/flags.ts`: N = sign of fn, Z = (fz = 0), C = fc, V = sign of fv. */
  #flags(nzcv: number): void {
    const at = this.#at;
    const bits = BigInt(nzcv >>> 0);
    this.#put(at.fn, BigInt.asUintN(64, bits << 32n));
    this.#put(at.fz, (nzcv >>> 30) & 1 ? 0n : 1n);
    this.#put(at.fc, (bits >> 29n) & 1n, 4);
    this.#put(at.fv, BigInt.asUintN(64, bits << 35n));
  }
  #readFlags(): number {
    const at = this.#at;
    const n = this.#get(at.fn) >> 63n;
    const z = this.#get(at.fz) === 0n ? 1 : 0;
    const c = this.#dv.getUint32(at.fc, true);
    const v = this.#get(at.fv) >> 63n;
    return ((Number(n) << 31) | (z << 30) | (c << 29) | (Number(v) << 28)) >>> 0;
  }
}
