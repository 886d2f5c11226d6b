/** A guest in 64-bit mode whose handlers of #GP and #MC count, for tests that access MSRs and inject errors. */
import { asm, assemble, CR4, type ModelName, x86 } from '@faultyard/arch-x86';
import { createVm, type Exit, type Vcpu, type Vm } from '@faultyard/core';
import { type MceApi, mce } from '../../src/index.ts';

/** MCG_CAP of the fact sheet's observations: 10 banks, CTL_P, SER_P. */
export const CAP = 0x0100_010an;
const CODE = 0x1000;
const GP = 0x2000;
const MC = 0x2100;
const NMI = 0x2200;
const IRQ = 0x2300;
const MAIL = 0x4000;

/** The guest and what its handlers noted. */
export interface Guest {
  readonly vm: Vm;
  readonly cpu: Vcpu;
  readonly api: MceApi;
  /** How often #GP was taken; its handler steps over two bytes. */
  readonly gps: number;
  /** How often #MC was taken. */
  readonly mcs: number;
  /** RIP that the last #MC pushed, where an exception without error code has it. */
  readonly mcRip: bigint;
  /** How often vector 40h was taken. */
  readonly irqs: number;
  /** RIP that the last NMI pushed. */
  readonly nmiRip: bigint;
  /** RFLAGS that #MC pushed. */
  readonly mcFlags: bigint;
  /** CPL that it interrupted. */
  readonly mcCpl: number;
  /** Runs `text` from the beginning until it halts or leaves. */
  run(text: string): Exit;
  /** Runs `text` at CPL 3 for `budget` instructions at most, and stays there. */
  user(text: string, budget?: number): Exit;
  /** WRMSR by the guest. */
  wrmsr(index: number, value: bigint): 'ok' | 'gp';
  /** RDMSR by the guest. */
  rdmsr(index: number): bigint | 'gp';
  /** KVM_SET_MSRS of one. */
  set(index: number, value: bigint): 'ok' | 'refused';
  /** KVM_GET_MSRS of one. */
  get(index: number): bigint | 'refused';
}

/** What a guest is made of. */
export interface GuestOptions {
  readonly model?: ModelName;
  readonly set?: Readonly<Record<string, string>>;
  /** MCG_CAP; `undefined`: KVM_X86_SETUP_MCE is not called. */
  readonly cap?: bigint | undefined;
  readonly vcpus?: number;
  /** Interrupt controllers in the kernel. */
  readonly irqchip?: boolean;
  /** See {@link setCpuid}; default: what the model has. */
  readonly cpuid?: string;
}

const gate = (at: number): bigint => (BigInt(at) & 0xffffn) | (8n << 16n) | (0x8e00n << 32n);

function handlers(vm: Vm): void {
  const gp = `push rax
    mov rax, [rsp + 8]
    mov [4020h], rax
    pop rax
    inc qword ptr [4000h]
    add rsp, 8
    add qword ptr [rsp], 2
    iretq`;
  const mc = `push rax
    mov rax, [rsp + 8]
    mov [4010h], rax
    mov rax, [rsp + 16]
    mov [4018h], rax
    mov rax, [rsp + 24]
    mov [4028h], rax
    pop rax
    inc qword ptr [4008h]
    iretq`;
  const nmi = `push rax
    mov rax, [rsp + 8]
    mov [4030h], rax
    pop rax
    iretq`;
  const irq = `inc qword ptr [4038h]
    iretq`;
  vm.write(IRQ, assemble(irq, { origin: BigInt(IRQ) }).bytes);
  vm.write(NMI, assemble(nmi, { origin: BigInt(NMI) }).bytes);
  vm.write(GP, assemble(gp, { origin: BigInt(GP) }).bytes);
  vm.write(MC, assemble(mc, { origin: BigInt(MC) }).bytes);
  for (const [vector, at] of [
    [2, NMI],
    [0x40, IRQ],
    [13, GP],
    [18, MC],
  ] as const) {
    vm.poke(0x3000 + 16 * vector, gate(at));
    vm.poke(0x3008 + 16 * vector, 0n);
  }
}

const AMD = [0x6874_7541, 0x444d_4163, 0x6974_6e65] as const;
const INTEL = [0x756e_6547, 0x6c65_746e, 0x4965_6e69] as const;

/** A guest's CPUID: what KVM supports, with the vendor and with SMCA as `who` says (`AMD`, `AMD+SMCA`, `Intel`). */
export function setCpuid(cpu: Vcpu, who: string): void {
  const [b, c, d] = who.startsWith('AMD') ? AMD : INTEL;
  const entries = cpu.vm.op('get-supported-cpuid', {}).map((e) => {
    if (e.function === 0) return { ...e, ebx: b, ecx: c, edx: d };
    return e.function === 0x8000_0007 && who.includes('SMCA') ? { ...e, ebx: e.ebx | 8 } : e;
  });
  cpu.op('set-cpuid2', { entries });
}

/** Puts a vCPU into 64-bit mode at CODE, the first GiB identity-mapped, CR4.MCE set. */
export function start(cpu: Vcpu): void {
  const names: Record<string, bigint | number> = {
    cr3: 0xd000,
    cr4: 0x620 | CR4.MCE,
    efer: 0xd00,
    cr0: 0x8005_0033n,
    'gdtr.base': 0x700,
    'gdtr.limit': 0x7f,
    'idtr.base': 0x3000,
    'idtr.limit': 0xfff,
    cs: 8,
    'cs.attr': 0xa9b,
    ss: 16,
    'ss.attr': 0xc93,
    'tr.base': 0x6000,
    'tr.limit': 0x67,
    rsp: 0x8000,
    rip: CODE,
    rflags: 2,
  };
  for (const [name, value] of Object.entries(names)) cpu.set(name, value);
}

/** Makes the guest. */
export function guest(o: GuestOptions = {}): Guest {
  const set = Object.fromEntries(Object.entries(o.set ?? {}).map(([k, v]) => [`mce.${k}`, v]));
  const vm = createVm({
    arch: x86({ model: o.model ?? 'zen3', irqchip: o.irqchip ? 'kernel' : 'none' }),
    plugins: [mce()],
    memslots: [{ gpa: 0n, size: 0x1_0000n }],
    vcpus: o.vcpus ?? 1,
    set,
  }) as unknown as Vm;
  vm.poke(0xd000, 0xe027n);
  vm.poke(0xe000, 0xf027n);
  vm.poke(0xf000, 0xe7n);
  vm.poke(0x708, 0x00af_9b00_0000_ffffn);
  vm.poke(0x710, 0x00cf_9300_0000_ffffn);
  vm.poke(0x718, 0x00af_fb00_0000_ffffn);
  vm.poke(0x720, 0x00cf_f300_0000_ffffn);
  vm.poke(0x6004, 0x7800n);
  handlers(vm);
  const cpu = vm.vcpus[0] as Vcpu;
  start(cpu);
  if (o.cpuid !== undefined) setCpuid(cpu, o.cpuid);
  vm.write(CODE, asm`hlt`.bytes);
  const cap = 'cap' in o ? o.cap : CAP;
  if (cap !== undefined) cpu.op('x86-setup-mce', { mcgCap: cap });
  const mail = (at: number): bigint => vm.peek(MAIL + at) as bigint;
  const put = (name: string, v: bigint): void => void cpu.set(name, v);
  const run = (text: string): Exit => {
    vm.write(CODE, assemble(`${text}\nhlt`, { origin: BigInt(CODE) }).bytes);
    cpu.set('rip', CODE);
    return cpu.run() as Exit;
  };
  return {
    vm,
    cpu,
    api: vm.api<never, MceApi>('mce'),
    get gps() {
      return Number(mail(0));
    },
    get mcs() {
      return Number(mail(8));
    },
    get mcRip() {
      return mail(0x10);
    },
    get irqs() {
      return Number(mail(0x38));
    },
    get nmiRip() {
      return mail(0x30);
    },
    get mcFlags() {
      return mail(0x28);
    },
    get mcCpl() {
      return Number(mail(0x18) & 3n);
    },
    run,
    user(text, budget = 100) {
      vm.write(CODE, assemble(text, { origin: BigInt(CODE) }).bytes);
      const registers = { cs: 0x1b, 'cs.attr': 0xafb, ss: 0x23, 'ss.attr': 0xcf3, cpl: 3, rip: CODE };
      for (const [name, v] of Object.entries(registers)) cpu.set(name, v);
      return cpu.run(budget) as Exit;
    },
    wrmsr(index, value) {
      const before = mail(0);
      put('rcx', BigInt(index));
      put('rax', value & 0xffff_ffffn);
      put('rdx', value >> 32n);
      const e = run('wrmsr');
      if (e.kind !== 'hlt') throw new Error(`exit ${e.kind}`);
      return mail(0) === before ? 'ok' : 'gp';
    },
    rdmsr(index) {
      const before = mail(0);
      put('rcx', BigInt(index));
      const e = run('rdmsr');
      if (e.kind !== 'hlt') throw new Error(`exit ${e.kind}`);
      return mail(0) === before ? (cpu.get('rdx') << 32n) | cpu.get('rax') : 'gp';
    },
    set: (index, data) => (cpu.op('set-msrs', { msrs: [{ index, data }] }) === 1 ? 'ok' : 'refused'),
    get: (index) => cpu.op('get-msrs', { indices: [index] })[0] ?? 'refused',
  };
}

const made = new Map<string, { readonly g: Guest; readonly at: ReturnType<Vm['snapshot']> }>();

/** A guest as {@link guest} makes it; one for all who ask alike, put back to its beginning. */
export function fresh(o: GuestOptions = {}): Guest {
  const key = JSON.stringify(o, (_, v) =>
    typeof v === 'bigint' || v === undefined ? `${v}` : (v as unknown),
  );
  const known = made.get(key);
  if (known) {
    known.g.vm.restore(known.at);
    return known.g;
  }
  const g = guest(o);
  made.set(key, { g, at: g.vm.snapshot() });
  return g;
}
