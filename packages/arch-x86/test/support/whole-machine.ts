/**
 * The user-mode vectors on a whole vCPU: the same world behind page tables, exceptions delivered through an IDT to
 * handlers that halt, and what became of the case read from the handler's stack and CR2.
 */
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { SR, type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0, CR4, EFER } from '../../src/state.ts';
import { loadSegments } from './mini-machine.ts';
import {
  CODE_BASE,
  CODE_PAGE,
  CODE_SIZE,
  FLAGS_KEPT,
  READ_ONLY,
  slotOf,
  type UserCase,
  type UserResult,
  WINDOW,
  WINDOW_PATTERN,
  WINDOW_SIZE,
} from './user-world.ts';

const PAGE = 4096;
const INT3 = 0xcc;
/** The handlers' linear addresses: those of RAM, far above everything that cases reach. */
const KERNEL = 0xffff_c800_0000_0000n;
/** Layout of RAM. */
const [PML4, PDPT, PD, IDT, TSS, HANDLERS, STACK] = [0x1000, 0x2000, 0x3000, 0x5000, 0x6000, 0x7000, 0x9000];
const [WINDOW_TABLE, CODE_TABLES, WINDOW_RAM, FILLER, OWN] = [0xa000, 0xb000, 0x20000, 0x30000, 0x31000];
const [KERNEL_PDPT, KERNEL_PD] = [0x1c000, 0x1d000];
const RAM = 2n ** 21n;

/** P, R/W, U/S; for the kernel's pages no U/S; PS for 2 MiB. */
const USER = 7n;
const USER_READ = 5n;
const KERNEL_LARGE = 0x83n;
const NX = 1n << 63n;
/** Pages with a frame of their own: where instructions stand, and what they may straddle. */
const OWN_PAGES = [CODE_PAGE, CODE_PAGE + PAGE];

const WITH_ERROR: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Runs cases on a vCPU of its own. */
export class WholeMachine {
  readonly vm: Vm;
  readonly #vcpu: Vcpu;
  readonly #arch: X86Vcpu;
  readonly #before: Uint8Array = new Uint8Array(WINDOW_SIZE);

  constructor() {
    this.vm = createVm({ arch: x86(), memslots: [{ gpa: 0n, size: RAM }] }) as unknown as Vm;
    this.#vcpu = this.vm.vcpus[0] as Vcpu;
    this.#arch = this.#vcpu.arch as X86Vcpu;
    this.#tables();
    this.#system();
  }
  dispose(): void {
    this.vm.dispose();
  }

  #tables(): void {
    const { vm } = this;
    const entry = (table: number, n: number, value: bigint): void => vm.poke(table + 8 * n, value);
    entry(PML4, 0, BigInt(PDPT) | USER);
    entry(PDPT, 0, BigInt(PD) | USER);
    entry(PML4, Number((KERNEL >> 39n) & 511n), BigInt(KERNEL_PDPT) | 3n);
    entry(KERNEL_PDPT, 0, BigInt(KERNEL_PD) | 3n);
    entry(KERNEL_PD, 0, KERNEL_LARGE);
    const directory = (at: number): number => Math.floor(at / 2 ** 21) % 512;
    const table = (at: number): number => Math.floor(at / PAGE) % 512;
    entry(PD, directory(WINDOW), BigInt(WINDOW_TABLE) | USER);
    for (let at = 0; at < WINDOW_SIZE; at += PAGE) {
      const rights = at < READ_ONLY ? USER : USER_READ;
      entry(WINDOW_TABLE, table(WINDOW + at), BigInt(WINDOW_RAM + at) | rights | NX);
    }
    for (let at = CODE_BASE; at < CODE_BASE + CODE_SIZE; at += PAGE) {
      const tables = CODE_TABLES + Math.floor((at - CODE_BASE) / 2 ** 21) * PAGE;
      if ((at & 0x1f_ffff) === 0) entry(PD, directory(at), BigInt(tables) | USER);
      const own = OWN_PAGES.indexOf(at);
      entry(tables, table(at), BigInt(own < 0 ? FILLER : OWN + own * PAGE) | USER_READ);
    }
    vm.write(FILLER, new Uint8Array(PAGE).fill(INT3));
    vm.write(OWN, new Uint8Array(OWN_PAGES.length * PAGE).fill(INT3));
  }

  #system(): void {
    const { vm } = this;
    for (let n = 0; n < 32; n++) {
      const at = KERNEL + BigInt(HANDLERS + 16 * n);
      vm.poke(
        IDT + 16 * n,
        (at & 0xffffn) | 0x08_0000n | (0xee00n << 32n) | (((at >> 16n) & 0xffffn) << 48n),
      );
      vm.poke(IDT + 16 * n + 8, at >> 32n);
      vm.write(HANDLERS + 16 * n, Uint8Array.of(0xf4));
    }
    // a code segment of CPL 0 at 08h is all that delivery looks for
    vm.poke(TSS + 0x800 + 8, 0x0020_9b00_0000_0000n);
    vm.poke(TSS + 4, KERNEL + BigInt(STACK));
    // no I/O permission map
    vm.poke(TSS + 0x66, 0xffff, 2);
    const { state } = this.#arch;
    const table = (base: number, limit: number, at: number): void => {
      const linear = KERNEL + BigInt(at);
      state.setSys(base, Number(BigInt.asIntN(32, linear)), Number(BigInt.asIntN(32, linear >> 32n)));
      state.setSys(limit, 0xfff, 0);
    };
    table(SR.IDTR_BASE, SR.IDTR_LIMIT, IDT);
    table(SR.GDTR_BASE, SR.GDTR_LIMIT, TSS + 0x800);
    const tss = KERNEL + BigInt(TSS);
    Object.assign(state.segment(Seg.TR), {
      selector: 0x28,
      attr: 0x8b,
      limit: 0x67,
      baseLo: Number(BigInt.asIntN(32, tss)),
      baseHi: Number(BigInt.asIntN(32, tss >> 32n)),
    });
    state.setSys(SR.CR3, PML4, 0);
    state.setSys(SR.CR4, CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.FSGSBASE, 0);
    state.setSys(SR.EFER, EFER.LMA | EFER.LME | EFER.NXE, 0);
    state.setSys(SR.CR0, CR0.PE | CR0.PG | CR0.WP | CR0.NE | CR0.ET, 0);
    this.#arch.translationForced();
  }

  /** Runs a case to the handler of the exception that ends it. */
  run(c: UserCase): UserResult {
    const { vm } = this;
    const { state, cpu } = this.#arch;
    const before = this.#before;
    before.set(WINDOW_PATTERN);
    for (const p of c.pokes) before.set(p.bytes, p.at);
    vm.write(WINDOW_RAM, before);
    const slot = slotOf(c);
    vm.write(OWN + slot - CODE_PAGE, c.bytes);
    const { i32 } = state;
    const registers = cpu.regAddr('r', 0) >>> 2;
    i32.set(new Int32Array(c.start.gpr.buffer), registers);
    if (c.start.xmm) i32.set(new Int32Array(c.start.xmm.buffer), cpu.regAddr('v', 0) >>> 2);
    loadSegments(state, c.env);
    state.cpl = 3;
    state.flags = c.start.flags | 0x202;
    this.#arch.modeChanged();
    this.#vcpu.pc = c.start.rip;
    const exit = this.#vcpu.run(100_000);
    if (exit.kind !== 'hlt') throw new Error(`exit ${exit.kind}`);
    vm.write(OWN + slot - CODE_PAGE, new Uint8Array(c.bytes.length).fill(INT3));
    return this.#result(c, before);
  }

  #result(c: UserCase, before: Uint8Array): UserResult {
    const { state, cpu } = this.#arch;
    const vector = Number(this.#vcpu.pc - KERNEL - BigInt(HANDLERS) - 1n) / 16;
    const pushed = (n: number): bigint =>
      this.vm.peek(Number(BigInt(state.lo(4) >>> 0)) + 8 * (WITH_ERROR.has(vector) ? n + 1 : n));
    const gpr = new BigUint64Array(16);
    const registers = cpu.regAddr('r', 0) >>> 2;
    new Int32Array(gpr.buffer).set(state.i32.subarray(registers, registers + 32));
    gpr[4] = pushed(3);
    let xmm: Uint8Array | undefined;
    if (c.start.xmm) {
      const from = cpu.regAddr('v', 0) >>> 2;
      xmm = new Uint8Array(state.i32.slice(from, from + 64).buffer);
    }
    const done = vector === 3;
    const error = WITH_ERROR.has(vector) ? Number(pushed(-1)) : 0;
    const address =
      vector === 14 ? BigInt(state.sysLo(SR.CR2) >>> 0) | (BigInt(state.sysHi(SR.CR2) >>> 0) << 32n) : 0n;
    const now = this.vm.read(WINDOW_RAM, WINDOW_SIZE);
    const window = new Map<number, number>();
    if (Buffer.compare(now, before) !== 0)
      for (let i = 0; i < WINDOW_SIZE; i++) if (now[i] !== before[i]) window.set(i, now[i] as number);
    return {
      fault: done ? undefined : { vector, error, address },
      state: { gpr, rip: pushed(0) - (done ? 1n : 0n), flags: Number(pushed(2)) & FLAGS_KEPT, xmm },
      window,
    };
  }
}
