/** One vCPU of the engine without an arch around it: what the rows do, access by access and leave by leave. */
import {
  Access,
  type AccessInfo,
  type AccessPort,
  type Cpu,
  createEngine,
  type EngineHost,
  type LeaveReason,
  type Resolution,
} from '@faultyard/engine';
import { assemble } from '../../src/asm/assemble.ts';
import { a64 } from '../../src/isa/isa.ts';

const PAGE = 4096;
const FRAMES = 16 << 20;

/** Address of the code page. */
export const CODE = 0x4000_0000n;
/** Address of the first of two data pages; before and behind them nothing is mapped. */
export const DATA = 0x5000_0000n;

const isa = a64({ features: ['lse', 'crc32', 'pan', 'ras', 'lor', 'uao', 'fpsimd', 'sb'] });

/** A host with one memory, tables from the bottom and frames from the middle. */
function bareHost(): EngineHost {
  const memory = new WebAssembly.Memory({ initial: 512, maximum: 512 });
  let table = PAGE;
  return {
    memory,
    allocTable(bytes, align = 16) {
      const at = Math.ceil(table / align) * align;
      table = at + bytes;
      return at;
    },
    freeTable: () => undefined,
    setCode: () => undefined,
  };
}

export class BareMachine implements AccessPort {
  readonly cpu: Cpu;
  /** Every data access that reached the slow path, in order. */
  readonly accesses: AccessInfo[] = [];
  readonly #host = bareHost();
  readonly #engine = createEngine(this.#host, isa);
  readonly #dv = new DataView(this.#host.memory.buffer);

  constructor() {
    this.cpu = this.#engine.createCpu(this);
  }

  /** Runs assembly text from {@link CODE}, at most as many instructions as it has words. */
  run(text: string): LeaveReason {
    const { bytes } = assemble(text, { origin: CODE, table: isa.table });
    const code = new Uint8Array(this.#host.memory.buffer);
    code.fill(0, FRAMES, FRAMES + PAGE);
    code.set(bytes, FRAMES);
    this.#engine.invalidateFrame(FRAMES);
    this.cpu.flush();
    this.accesses.length = 0;
    this.pc = CODE;
    return this.cpu.run(bytes.length / 4);
  }

  x(n: number): bigint {
    return this.#dv.getBigUint64(this.cpu.regAddr('x', n), true);
  }
  setX(n: number, value: bigint): void {
    this.#dv.setBigUint64(this.cpu.regAddr('x', n), BigInt.asUintN(64, value), true);
  }
  /** V register as 32 hexadecimal digits, most significant first. */
  v(n: number): string {
    const at = this.cpu.regAddr('v', n);
    const half = (k: number): string =>
      this.#dv
        .getBigUint64(at + k, true)
        .toString(16)
        .padStart(16, '0');
    return half(8) + half(0);
  }
  get pc(): bigint {
    return this.#dv.getBigUint64(this.cpu.pcAddr, true);
  }
  set pc(value: bigint) {
    this.#dv.setBigUint64(this.cpu.pcAddr, value, true);
  }
  set guards(bits: number) {
    this.#dv.setUint32(this.cpu.guardAddr, bits, true);
  }
  state(name: string): bigint {
    return this.#dv.getBigUint64(this.cpu.stateAddr(name), true);
  }
  setState(name: string, value: bigint): void {
    this.#dv.setBigUint64(this.cpu.stateAddr(name), value, true);
  }
  /** Argument `n` of the slow operation. */
  arg(n: number): bigint {
    return this.#dv.getBigUint64(this.cpu.slowArgs + 8 * n, true);
  }
  peek(address: bigint): bigint {
    return this.#dv.getBigUint64(this.#data(address), true);
  }
  poke(address: bigint, value: bigint): void {
    this.#dv.setBigUint64(this.#data(address), value, true);
  }
  #data(address: bigint): number {
    return FRAMES + PAGE + Number(address - DATA);
  }

  check(a: AccessInfo): number {
    if (a.kind === Access.Exec) return 0;
    this.accesses.push({ ...a });
    return a.align > 1 && (a.lo & (a.align - 1)) !== 0 ? -1 : 0;
  }
  resolve(a: AccessInfo, out: Resolution): number {
    const at = BigInt(a.lo >>> 0) | (BigInt(a.hi >>> 0) << 32n);
    const page = at & ~4095n;
    if (page === CODE) out.frame = FRAMES;
    else if (page === DATA || page === DATA + BigInt(PAGE)) out.frame = FRAMES + PAGE + Number(page - DATA);
    else return -1;
    out.cache = a.kind === Access.Exec;
    return 0;
  }
  deviceLoad(): number {
    return -1;
  }
  deviceStore(): number {
    return -1;
  }
}
