/** A minimal board: RAM, a UART, a debug port, and a VMM that answers for them. */
import type { Vm } from '@faultyard/core';
import { MmioBus, type Unassigned } from './bus.ts';
import { DebugPort } from './debug-port.ts';
import { Pl011, type Pl011Options } from './pl011.ts';
import { compose, endings, failures, type Handler, type Policy, total } from './policy.ts';

/** The memory map, in bytes; RAM and UART stand where QEMU's arm64 `virt` machine has them. */
export const VIRT = {
  uart: 0x0900_0000,
  debugPort: 0x0a00_0000,
  ram: 0x4000_0000,
} as const;

/** Options of {@link virtBoard}. */
export interface VirtBoardOptions {
  readonly uart?: Pl011Options;
  readonly unassigned?: Unassigned;
  /** Asked first, before the bus: a fault plugin's policies, or one's own. */
  readonly policies?: readonly Policy[];
}

/** A VM with its devices. */
export interface Board {
  readonly vm: Vm;
  readonly bus: MmioBus;
  readonly uart: Pl011;
  readonly debugPort: DebugPort;
  /** The VMM: policies, then the bus, then stopping. For `vm.drive`. */
  readonly handler: Handler;
}

/** Puts the board's devices around a VM whose RAM is there already; their state goes into the VM's cells. */
export function virtBoard(vm: Vm, o: VirtBoardOptions = {}): Board {
  const bus = new MmioBus(vm, o.unassigned === undefined ? {} : { unassigned: o.unassigned });
  const uart = new Pl011(VIRT.uart, o.uart);
  const debugPort = new DebugPort(VIRT.debugPort);
  for (const d of [uart, debugPort]) {
    bus.add(d);
    vm.keep(d.cell);
  }
  const handler = total(compose(...(o.policies ?? []), bus.policy, endings, failures));
  return { vm, bus, uart, debugPort, handler };
}
