/** x86 in a session: assembly for the mode the vCPU is in, a start in a mode of one's choice, KVM's events, ports by name. */
import {
  type AssemblyText,
  assemble,
  type Bits,
  instructionForms,
  type X86PluginOptions,
  x86,
} from '@faultyard/arch-x86';
import type { Vcpu, Vm } from '@faultyard/core';
import { enterLong, enterProtected, enterReal, PageTables } from '@faultyard/vmm';
import { UserError } from '../errors.ts';
import type { Architecture, InjectEvent, Instruction } from './architecture.ts';

/** Every option of {@link x86}, once: a new one that is forgotten here does not compile. */
const OPTIONS: Readonly<Record<keyof X86PluginOptions, true>> = {
  model: true,
  features: true,
  physicalBits: true,
  tscKhz: true,
  irqchip: true,
};

/** Modes in which a machine can start. */
const STARTS = ['long', 'protected', 'real', 'reset'] as const;
type Start = (typeof STARTS)[number];

/** Room at the end of the lowest memory for a GDT and page tables; the stack grows down from it. */
const SCRATCH = 0x2_0000;

/** Brings every vCPU to the mode it is to start in, with interrupts off and no IDT: an exception is a shutdown. */
function prepare(vm: Vm, { start = 'long' }: Readonly<Record<string, unknown>>): void {
  if (!STARTS.includes(start as Start))
    throw UserError.unknown('start', String(start), STARTS, `lab.x86 starts in one of: ${STARTS.join(' ')}`);
  if (start === 'reset') return;
  for (const v of vm.vcpus) if (start === 'real') enterReal(v as Vcpu, 0, 0);
  if (start === 'real') return;
  const slot = vm.memslots.list().find((s) => s.size >= 2 * SCRATCH && s.gpa + s.size <= 0x1_0000_0000n);
  if (!slot)
    throw new UserError(
      `no memslot of 256 KiB lies below 4 GiB for the tables of ${start} mode\nadd one, or lab.x86({ start: 'reset' })`,
    );
  const end = Number(slot.gpa + slot.size);
  const gdt = end - SCRATCH;
  const tables = start === 'long' ? new PageTables(vm, gdt + 0x1000, end) : undefined;
  tables?.map(0n, 0n, 0x1_0000_0000n);
  for (const v of vm.vcpus as readonly Vcpu[]) {
    if (tables) enterLong(v, 0n, tables.root, gdt);
    else enterProtected(v, 0n, gdt);
    v.set('rsp', gdt);
  }
}

/** Size of the code that the vCPU runs now. */
function codeSize(vcpu: Vcpu | undefined): Bits {
  if (!vcpu) return 64;
  if ((vcpu.get('cr0') & 1n) === 0n) return 16;
  const attr = vcpu.get('cs.attr');
  // CS.L counts with EFER.LMA, CS.D otherwise
  if (attr & 0x200n && vcpu.get('efer') & 0x400n) return 64;
  return attr & 0x400n ? 32 : 16;
}

/** Assembly that is made where it is loaded, for the mode of vCPU 0 until it says `.code16`, `.code32` or `.code64`. */
function code(text: string, vm?: Vm): AssemblyText {
  const bits = codeSize(vm?.vcpus[0]);
  const at: AssemblyText['at'] = (origin, symbols = {}) => assemble(text, { origin, symbols, bits });
  return {
    text,
    at,
    get bytes() {
      return at(0n).bytes;
    },
    get symbols() {
      return at(0n).symbols;
    },
  };
}

/** Every syntax that the assembler knows, with its opcode. */
function instructions(): readonly Instruction[] {
  return instructionForms().map(({ opcode, ...form }) => ({ ...form, ref: opcode }));
}

/** Parts of registers that a vCPU knows by their own names. */
function aliases(): string[] {
  const legacy = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
  const parts = legacy.flatMap((r) => [r, `e${r}`]);
  const bytes = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh', 'spl', 'bpl', 'sil', 'dil'];
  const numbered = Array.from({ length: 8 }, (_, n) => ['b', 'w', 'd'].map((part) => `r${n + 8}${part}`));
  return [...parts, ...bytes, ...numbered.flat(), 'eip', 'eflags'];
}

/** Vector of an event, as a number of 8 bits. */
function vectorOf(name: string, vector: unknown): number {
  const n = Number(vector);
  if (vector !== undefined && Number.isInteger(n) && n >= 0 && n <= 255) return n;
  throw new UserError(`inject('${name}') needs a vector\ne.g. inject('${name}', { vector: 0x20 })`);
}

const EVENTS: Readonly<Record<string, InjectEvent>> = {
  nmi: (vcpu) => {
    vcpu.op('nmi', {});
  },
  smi: (vcpu) => {
    vcpu.op('smi', {});
  },
  interrupt: (vcpu, { vector }) => {
    vcpu.op('interrupt', { irq: vectorOf('interrupt', vector) });
  },
  exception: (vcpu, { vector, errorCode }) => {
    const events = vcpu.op('x86-get-vcpu-events', {});
    vcpu.op('x86-set-vcpu-events', {
      ...events,
      exception: {
        ...events.exception,
        injected: true,
        nr: vectorOf('exception', vector),
        hasErrorCode: errorCode !== undefined,
        errorCode: Number(errorCode ?? 0),
      },
    });
  },
};

/** Ports of a PC by first number: what stands there. */
const PORTS: readonly (readonly [from: number, to: number, name: string])[] = [
  [0x20, 0x21, 'PIC1'],
  [0x40, 0x43, 'PIT'],
  [0x60, 0x60, 'KBD'],
  [0x64, 0x64, 'KBD'],
  [0x70, 0x71, 'CMOS'],
  [0x80, 0x80, 'POST'],
  [0x92, 0x92, 'PORT_A'],
  [0xa0, 0xa1, 'PIC2'],
  [0xf4, 0xf7, 'EXIT'],
  [0x2f8, 0x2ff, 'COM2'],
  [0x3f8, 0x3ff, 'COM1'],
  [0xcf8, 0xcf8, 'PCI_ADDR'],
  [0xcf9, 0xcf9, 'RESET'],
  [0xcfc, 0xcff, 'PCI_DATA'],
];

/** KVM_INTERNAL_ERROR_* (include/uapi/linux/kvm.h). */
const SUBERRORS: Readonly<Record<number, string>> = {
  1: 'EMULATION',
  2: 'SIMUL_EX',
  3: 'DELIVERY_EV',
  4: 'UNEXPECTED_EXIT_REASON',
};

/** x86 for `lab`. */
export const x86Architecture: Architecture = {
  name: 'x86',
  options: [...Object.keys(OPTIONS), 'start'],
  memory: { gpa: 0n, size: 64n << 20n },
  encoding: 'bytes',
  plugin: ({ start: _start, ...options }) => x86(options),
  prepare,
  aliases: aliases(),
  assemble: code,
  instructions,
  events: EVENTS,
  decoders: {
    port: (value) => PORTS.find(([from, to]) => Number(value) >= from && Number(value) <= to)?.[2],
    suberror: (value) => SUBERRORS[Number(value)],
  },
};
