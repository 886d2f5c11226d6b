/** Where global interrupts (GSIs) lead: KVM_SET_GSI_ROUTING (arch/x86/kvm/irq.c; virt/kvm/irqchip.c), and what an MSI says. */
import type { Plain } from '@faultyard/core';
import type { ApicMessage, Destination } from './apic-registers.ts';
import { IOAPIC_PINS } from './io-apic.ts';

/** KVM_IRQCHIP_*. */
export const Chip = { PicMaster: 0, PicSlave: 1, IoApic: 2 } as const;

/** One route of a GSI: to a pin of a chip, or an MSI. */
export type GsiRoute =
  | { readonly gsi: number; readonly chip: number; readonly pin: number }
  | { readonly gsi: number; readonly address: bigint; readonly data: number };

/** KVM_MAX_IRQ_ROUTES. */
export const MAX_ROUTES = 4096;

/** KVM's own routes: 0 to 15 to the 8259s and the I/O APIC, 16 to 23 to the I/O APIC. */
export function defaultRoutes(): readonly GsiRoute[] {
  const routes: GsiRoute[] = [];
  for (let gsi = 0; gsi < IOAPIC_PINS; gsi++) {
    if (gsi < 16) routes.push({ gsi, chip: gsi < 8 ? Chip.PicMaster : Chip.PicSlave, pin: gsi & 7 });
    routes.push({ gsi, chip: Chip.IoApic, pin: gsi });
  }
  return routes;
}

/** Why KVM refuses a list of routes with EINVAL; `undefined`: it takes them. */
export function badRoutes(routes: readonly GsiRoute[]): string | undefined {
  if (routes.length > MAX_ROUTES) return `${routes.length} routes are more than ${MAX_ROUTES}`;
  const by = new Map<number, GsiRoute[]>();
  for (const r of routes) {
    if (r.gsi >= MAX_ROUTES) return `GSI ${r.gsi} is too high`;
    if ('chip' in r && (r.chip > Chip.IoApic || r.pin >= (r.chip === Chip.IoApic ? IOAPIC_PINS : 8)))
      return `chip ${r.chip} has no pin ${r.pin}`;
    const others = by.get(r.gsi) ?? [];
    const twice = others.some((o) => !('chip' in o) || !('chip' in r) || o.chip === r.chip);
    if (twice) return `GSI ${r.gsi} leads twice to the same chip, or to an MSI and something else`;
    by.set(r.gsi, [...others, r]);
  }
  return undefined;
}

/** The routes in force. */
export class Routing {
  #routes: readonly GsiRoute[] = defaultRoutes();
  #by: Map<number, GsiRoute[]> = index(this.#routes);

  /** All routes. */
  get routes(): readonly GsiRoute[] {
    return this.#routes;
  }
  set routes(r: readonly GsiRoute[]) {
    this.#routes = r.map((x) => ({ ...x }));
    this.#by = index(this.#routes);
  }
  /** Routes of a GSI. */
  of(gsi: number): readonly GsiRoute[] {
    return this.#by.get(gsi) ?? [];
  }
  /** The GSI that leads to a pin; -1: none. */
  gsi(chip: number, pin: number): number {
    return this.#routes.find((r) => 'chip' in r && r.chip === chip && r.pin === pin)?.gsi ?? -1;
  }
  /** For the VM's cell. */
  save(): Plain {
    return this.#routes.map((r): Plain => ({ ...r }));
  }
  /** For the VM's cell. */
  restore(v: Plain): void {
    this.routes = v as unknown as GsiRoute[];
  }
}

function index(routes: readonly GsiRoute[]): Map<number, GsiRoute[]> {
  const by = new Map<number, GsiRoute[]>();
  for (const r of routes) by.set(r.gsi, [...(by.get(r.gsi) ?? []), r]);
  return by;
}

/** What an MSI's address and data say (APM volume 2, 16.11; SDM volume 3A, 11.11; kvm_set_msi_irq). */
export function readMsi(
  address: bigint,
  data: number,
): { readonly m: ApicMessage; readonly to: Destination } {
  const lo = Number(BigInt.asUintN(32, address));
  return {
    m: {
      vector: data & 0xff,
      mode: (data >>> 8) & 7,
      level: (data & 0x8000) !== 0,
      assert: true,
      hint: (lo & 8) !== 0,
    },
    to: { id: (lo >>> 12) & 0xff, logical: (lo & 4) !== 0, shorthand: 0 },
  };
}
