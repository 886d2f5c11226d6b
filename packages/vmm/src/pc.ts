/** A small PC: memory, COM1, an exit port, CMOS, reset, and a VMM that answers for them. */
import type { InitialMemslot, Vm } from '@faultyard/core';
import { MmioBus, type Unassigned } from './bus.ts';
import { Cmos, ExitPort, ResetPorts } from './pc-ports.ts';
import { compose, endings, failures, type Handler, type Policy, total } from './policy.ts';
import { PortBus } from './port-bus.ts';
import { Uart16550, type Uart16550Options } from './uart16550.ts';

/** The PC's addresses and ports. */
export const PC = {
  /** First gpas (in bytes): conventional memory ends, ROMs begin, memory above 1 MiB, the hole for devices, and above it. */
  lowEnd: 0xa_0000,
  rom: 0xf_0000,
  high: 0x10_0000,
  hole: 0xc000_0000,
  above: 0x1_0000_0000,
  /** I/O ports. */
  cmos: 0x70,
  exit: 0xf4,
  com1: 0x3f8,
  /** Global interrupt of COM1. */
  com1Irq: 4,
} as const;

/**
 * Memslots for `size` bytes of memory: from 0 up to the hole below 4 GiB, the rest from 4 GiB on. The area of video memory
 * and ROMs below 1 MiB is plain memory too.
 */
export function pcMemory(size: number | bigint): InitialMemslot[] {
  const bytes = BigInt(size);
  const hole = BigInt(PC.hole);
  const low = { gpa: 0n, size: bytes < hole ? bytes : hole };
  return bytes > hole ? [low, { gpa: BigInt(PC.above), size: bytes - hole }] : [low];
}

/** Options of {@link pcBoard}. */
export interface PcBoardOptions {
  readonly uart?: Uart16550Options;
  /** What a load outside memory and devices reads. Default: ones. */
  readonly unassigned?: Unassigned;
  /** The clock at virtual time 0, in seconds since 1970 (UTC). Default 2000-01-01. */
  readonly start?: number;
  /** Asked first, before the buses: a fault plugin's policies, or one's own. */
  readonly policies?: readonly Policy[];
}

/** A VM with its devices. */
export interface PcBoard {
  readonly vm: Vm;
  readonly bus: MmioBus;
  readonly ports: PortBus;
  readonly uart: Uart16550;
  readonly exitPort: ExitPort;
  readonly cmos: Cmos;
  /** The VMM: policies, then the buses, then stopping. For `vm.drive`. */
  readonly handler: Handler;
}

/** COM1's line: to whoever listens, and to the interrupt controllers in the kernel, if there are any. */
function raise(vm: Vm, level: boolean, also: Uart16550Options['irq']): void {
  also?.(level);
  if (vm.irqchip) vm.op('gsi-line', { irq: PC.com1Irq, level });
}

/**
 * Puts the PC's devices around a VM whose memory is there already; their state goes into the VM's cells. With interrupt
 * controllers in the kernel (`x86({ irqchip: 'kernel' })`) COM1 raises IRQ 4.
 */
export function pcBoard(vm: Vm, o: PcBoardOptions = {}): PcBoard {
  const bus = new MmioBus(vm, o.unassigned === undefined ? {} : { unassigned: o.unassigned });
  const ports = new PortBus(vm);
  const uart = new Uart16550(PC.com1, { ...o.uart, irq: (level) => raise(vm, level, o.uart?.irq) });
  const exitPort = new ExitPort(PC.exit);
  const memory = memoryOf(vm);
  const cmos = new Cmos(PC.cmos, {
    below4g: Math.max(0, ...memory.filter((m) => m.from < PC.hole).map((m) => m.to)),
    above4g: memory.filter((m) => m.from >= PC.above).reduce((n, m) => n + m.to - m.from, 0),
    now: () => vm.clock.now,
    ...(o.start === undefined ? {} : { start: o.start }),
  });
  const resets = new ResetPorts();
  for (const d of [uart, exitPort, cmos, resets.controlA, resets.control]) ports.add(d);
  for (const d of [uart, exitPort, cmos]) vm.keep(d.cell);
  const handler = total(compose(...(o.policies ?? []), ports.policy, bus.policy, endings, failures));
  return { vm, bus, ports, uart, exitPort, cmos, handler };
}

/** Guest physical memory as [from, to), neighbours joined. */
export function memoryOf(vm: Vm): readonly { readonly from: number; readonly to: number }[] {
  const joined: { from: number; to: number }[] = [];
  for (const s of vm.memslots.all()) {
    if (s.asId !== 0) continue;
    const from = s.baseGfn * 4096;
    const to = from + s.npages * 4096;
    const last = joined.at(-1);
    if (last?.to === from) last.to = to;
    else joined.push({ from, to });
  }
  return joined;
}
