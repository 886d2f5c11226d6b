/** A VM whose guest is in 64-bit mode with paging, IDT and TSS of its own; every handler halts. */
import { type AnyPlugin, createVm, type KnobValue, type Vcpu, type Vm } from '@faultyard/core';
import { assemble, SR, type X86PluginOptions, type X86Vcpu, x86 } from '../../src/index.ts';

/** Layout of RAM, which begins at 0. */
const PML4 = 0x1000;
const PDPT = 0x2000;
const GDT = 0x3000;
export const IDT = 0x4000;
const TSS = 0x5000;
const HANDLERS = 0x6000;
export const CODE = 0x8000;
/** Top of the stack of the code, and of the one that CPL 3 changes to. */
export const STACK = 0xa000;
const KERNEL_STACK = 0xb000;
const RAM = 2n ** 21n;

/** P, R/W, U/S, and PS for a 1 GiB page. */
const TABLE = 7n;
const GIB = 0x87n;

/** A VM and its first vCPU. */
export interface LongLab {
  readonly vm: Vm;
  readonly cpu: Vcpu;
  readonly arch: X86Vcpu;
  /** Runs to the next exit. */
  run(budget?: number): ReturnType<Vcpu['run']>;
  /** The vector whose handler halted, or `undefined`. */
  readonly vector: number | undefined;
  /** Words on the stack of the handler that halted: error code first if the vector has one. */
  pushed(n: number): bigint;
  /** Maps the GiB of linear addresses at `va` to that at `gpa`, for everybody. */
  gib(va: number, gpa: number): void;
  /** Makes the page directory of the GiB at `va` the page at `gpa`. */
  directory(va: number, gpa: number): void;
}

/** Options of {@link longLab}. */
export interface LongLabOptions extends X86PluginOptions {
  readonly cpl?: 0 | 3;
  readonly set?: Readonly<Record<string, KnobValue>>;
  readonly plugins?: readonly AnyPlugin[];
}

const made: Vm[] = [];
/** Disposes every VM that {@link longLab} made. */
export function closeLabs(): void {
  for (const vm of made.splice(0)) vm.dispose();
}

/** Makes the VM, with `text` at {@link CODE}; the first GiB is mapped one to one, for everybody. */
export function longLab(text: string, o: LongLabOptions = {}): LongLab {
  const { cpl = 0, set = {}, plugins = [], ...options } = o;
  const memslots = [{ gpa: 0n, size: RAM }];
  const vm = createVm({ arch: x86(options), plugins, memslots, set }) as unknown as Vm;
  made.push(vm);
  const cpu = vm.vcpus[0] as Vcpu;
  vm.write(CODE, assemble(text, { origin: CODE }).bytes);
  vm.poke(PML4, BigInt(PDPT) | TABLE);
  vm.poke(PDPT, GIB);
  // code and data of CPL 0 (08h, 10h) and 3 (18h, 20h), the TSS (28h)
  const descriptors = [
    0n,
    0x0020_9b00_0000_0000n,
    0x00cf_9300_0000_ffffn,
    0x0020_fb00_0000_0000n,
    0x00cf_f300_0000_ffffn,
  ];
  for (const [n, d] of descriptors.entries()) vm.poke(GDT + 8 * n, d);
  vm.poke(GDT + 40, 0x0000_8b00_5000_0067n);
  vm.poke(TSS + 4, BigInt(KERNEL_STACK));
  for (let n = 0; n < 256; n++) {
    const at = BigInt(HANDLERS + 16 * n);
    vm.poke(IDT + 16 * n, (at & 0xffffn) | (0x08n << 16n) | (0xee00n << 32n) | ((at >> 16n) << 48n));
    if (n < 32) vm.write(HANDLERS + 16 * n, Uint8Array.of(0xf4));
  }
  const dpl = cpl << 5;
  const registers: Readonly<Record<string, number | bigint>> = {
    cr3: PML4,
    cr4: 0x6a0,
    cr0: 0x8001_0033n,
    cs: cpl ? 0x1b : 0x08,
    'cs.base': 0,
    'cs.limit': 0xffff_ffffn,
    'cs.attr': 0x29b | dpl,
    ss: cpl ? 0x23 : 0x10,
    'ss.limit': 0xffff_ffffn,
    'ss.attr': 0xc93 | dpl,
    tr: 0x28,
    'tr.base': TSS,
    'tr.limit': 0x67,
    'tr.attr': 0x8b,
    'gdtr.base': GDT,
    'gdtr.limit': 0x37,
    'idtr.base': IDT,
    'idtr.limit': 0xfff,
    cpl,
    rflags: 2,
    rsp: STACK,
    rip: CODE,
  };
  // SCE, LME, LMA, NXE: LMA is not for MSR writes
  (cpu.arch as X86Vcpu).state.setSys(SR.EFER, 0xd01, 0);
  for (const [name, value] of Object.entries(registers)) cpu.set(name, value);
  return {
    vm,
    cpu,
    arch: cpu.arch as X86Vcpu,
    run: (budget = 10_000) => cpu.run(budget),
    get vector() {
      const at = Number(cpu.pc) - HANDLERS - 1;
      return at >= 0 && at < 512 && at % 16 === 0 ? at / 16 : undefined;
    },
    pushed: (n) => vm.peek(Number(cpu.get('rsp')) + 8 * n),
    gib: (va, gpa) => vm.poke(PDPT + (va / 2 ** 30) * 8, BigInt(gpa) | GIB),
    directory: (va, gpa) => vm.poke(PDPT + (va / 2 ** 30) * 8, BigInt(gpa) | TABLE),
  };
}
