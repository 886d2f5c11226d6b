/**
 * A vCPU set up by hand as the reference vectors of section 7.1 want it: V = 0x400128 on page I = 0x80123000, a load at
 * PC = 0x400800 on the same page, vectors at 0xFFFF000000010800. Fetches do not report errors there, or the load would
 * never come to execute.
 */
import { type Arm64Vcpu, arm64, assemble } from '@faultyard/arch-arm64';
import { createVm, type KnobValue, type Vcpu, type Vm } from '@faultyard/core';
import { sea } from '../../src/plugin.ts';
import { AT, KERNEL, OFFSET, RAM, tableGpa, VECTORS, VICTIMS } from '../../src/scenarios/guest/layout.ts';
import { STIMULI } from '../../src/scenarios/guest/stimuli.ts';
import { tables } from '../../src/scenarios/guest/tables.ts';

export const V: bigint = VICTIMS.D.va + OFFSET;
export const I: bigint = VICTIMS.D.gpa;
export const PC = 0x40_0800n;
/** The same code in the upper half, for when the lower tables or page I itself are not to be walked for it. */
export const ELSEWHERE: bigint = KERNEL + AT.user;
export const VBAR: bigint = VECTORS;
/** FAR_EL1 and the like before anything happens. */
export const UNTOUCHED = 0x1234_5678n;

const SCTLR = 0x30d0_1805n;
export const SPAN: bigint = 1n << 23n;

export interface BenchOptions {
  readonly set?: Readonly<Record<string, KnobValue>>;
  readonly df2?: boolean;
  readonly init?: boolean;
  /** What stands at PC; default a 64-bit load through x0 = V. */
  readonly text?: string;
  readonly vcpus?: number;
  /** KVM_MEM_* flags of the slot. */
  readonly flags?: number;
}

export interface Bench {
  readonly vm: Vm;
  readonly cpu: Vcpu;
  readonly arm: Arm64Vcpu;
}

/** Makes it; the page is good until `vm.poison(I)`. */
export function bench(o: BenchOptions = {}): Bench {
  const vm = createVm({
    arch: arm64({ df2: o.df2 ?? false, init: o.init ?? true, secondaries: 'on' }),
    plugins: [sea()],
    vcpus: o.vcpus ?? 1,
    memslots: [{ gpa: 0x8000_0000n, size: 0x4000_0000n, flags: o.flags ?? 0 }],
    set: { 'sea.deliverFetch': 'none', ...o.set },
  }) as unknown as Vm;
  const cpu = vm.vcpus[0] as Vcpu;
  const setup = { stimulus: STIMULI['ldr x']!, el: 0, touches: [V], ras: false, cpus: 1 } as const;
  for (const [gpa, d] of tables(setup)) vm.poke(gpa, d);
  const text = o.text ?? 'ldr x1, [x0]\nnop\nnop';
  for (const page of [AT.text, AT.text + 0x1000n])
    vm.write(RAM.gpa + page, assemble('nop\n'.repeat(1024)).bytes);
  vm.write(I + 0x800n, assemble(text, { origin: PC }).bytes);
  vm.write(RAM.gpa + AT.user, assemble(text, { origin: ELSEWHERE }).bytes);
  if (o.init !== false) for (const v of vm.vcpus) start(v);
  return { vm, cpu, arm: cpu.arch as Arm64Vcpu };
}

/** Registers of a process about to load from V. */
export function start(cpu: Vcpu, sctlr: bigint = SCTLR): void {
  cpu.set('mair_el1', 0xff);
  cpu.set('tcr_el1', 0x5_b510_3510n);
  cpu.set('ttbr0_el1', tableGpa(0));
  cpu.set('ttbr1_el1', tableGpa(0) - 0xc000n);
  cpu.set('sctlr_el1', sctlr);
  cpu.set('vbar_el1', VBAR);
  cpu.set('pstate', 0);
  cpu.set('x0', V);
  for (const r of ['far_el1', 'elr_el1', 'esr_el1']) cpu.set(r, UNTOUCHED);
  cpu.pc = PC;
}
