/**
 * KVM's interrupt controllers of a VM (KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2): two 8259s, an I/O APIC, a local APIC for
 * every vCPU, an 8254 (arch/x86/kvm/irq.c, irq_comm.c).
 */
import { type IrqChip, KvmError, type Plain, type Vm } from '@faultyard/core';
import type { X86Vcpu } from '../vcpu.ts';
import { Apic, type ApicMessage, type Destination } from './apic-registers.ts';
import { deliver } from './delivery.ts';
import { apicPage, ioApicWindow, type PortDevice, ports } from './devices.ts';
import { IoApic } from './io-apic.ts';
import { LocalApic } from './local-apic.ts';
import { Pic } from './pic.ts';
import { Pit } from './pit.ts';
import { apicPlace, waitsForStartup } from './placing.ts';
import { badRoutes, Chip, type GsiRoute, Routing, readMsi } from './routing.ts';

/** GSI of the 8254. */
const PIT_GSI = 0;

/** The controllers of a VM. */
export class X86IrqChip implements IrqChip {
  readonly name = 'KVM irqchip';
  readonly pic: Pic;
  readonly ioApic: IoApic;
  readonly routing: Routing = new Routing();
  /** The 8254, once made. */
  pit: Pit | undefined = undefined;
  readonly #vm: Vm;
  readonly #vcpus: X86Vcpu[] = [];
  #apics: readonly LocalApic[] = [];
  readonly #remove: (() => void)[] = [];
  /** The vCPU whose access is under way: its time counts. */
  #accessing: X86Vcpu | undefined = undefined;

  /** @param vm gets the windows on its buses. */
  constructor(vm: Vm) {
    this.#vm = vm;
    this.pic = new Pic({
      changed: () => this.#attendAll(),
      acknowledged: (line) => this.#acknowledged(line < 8 ? Chip.PicMaster : Chip.PicSlave, line & 7),
      maskChanged: (line, masked) =>
        this.#masked(line < 8 ? Chip.PicMaster : Chip.PicSlave, line & 7, masked),
      listened: () => this.#apics.some((a) => a.passesPic),
    });
    this.ioApic = new IoApic({
      send: (m, to) => this.deliver(undefined, m, to),
      acknowledged: (pin) => this.#acknowledged(Chip.IoApic, pin),
      maskChanged: (pin, masked) => this.#masked(Chip.IoApic, pin, masked),
    });
    this.#remove.push(vm.bus.add(apicPage((n) => this.#vcpus[n])), vm.bus.add(ioApicWindow(this.ioApic)));
    for (const [first, n] of [
      [0x20, 2],
      [0xa0, 2],
      [0x4d0, 2],
    ] as const)
      this.#addPorts('8259', first, n, this.pic, true);
  }
  #addPorts(name: string, first: number, size: number, device: PortDevice, bytesOnly: boolean): void {
    const around = (n: number, access: () => number): number => this.#during(n, access);
    this.#remove.push(this.#vm.ports.add(ports(name, first, size, device, { bytesOnly, around })));
  }
  #during(n: number, access: () => number): number {
    const v = this.#vcpus[n];
    this.#accessing = v;
    const out = access();
    this.#accessing = undefined;
    v?.attend();
    v?.retime();
    return out;
  }
  /** KVM_CREATE_PIT2. `speaker`: port 61h too (KVM_PIT_SPEAKER_DUMMY). @throws KvmError EEXIST. */
  createPit(speaker: boolean): void {
    if (this.pit) throw new KvmError('KVM_CREATE_PIT2', 'EEXIST', 'there is one already');
    const { clock } = this.#vm;
    const pit = new Pit(
      clock,
      () => this.#accessing?.now() ?? clock.now,
      () => this.#tick(),
    );
    this.pit = pit;
    this.#addPorts('8254', 0x40, 4, pit, false);
    if (speaker) this.#addPorts('port 61h', 0x61, 1, pit, false);
  }
  #tick(): void {
    this.setLine(PIT_GSI, true);
    this.setLine(PIT_GSI, false);
    // the watchdog of old: LINT0 as NMI on any vCPU, and every LINT0 gets the tick (pit_do_work)
    if (this.#apics.some((a) => a.takesPitAsNmi)) for (const a of this.#apics) a.local(Apic.LvtLint0);
  }
  /** Gives a vCPU its local APIC (KVM_CREATE_VCPU). All but the first wait for INIT and SIPI. */
  attach(v: X86Vcpu): void {
    const apic = new LocalApic(apicPlace(v, this));
    v.attachApic(apic, {
      pending: () => (this.pic.output && apic.passesPic) || apic.requested >= 0,
      acknowledge: () => (this.pic.output && apic.passesPic ? this.pic.acknowledge() : apic.acknowledge()),
    });
    this.#vcpus[v.id] = v;
    this.#apics = this.#vcpus.flatMap((x) => x.apic ?? []);
    waitsForStartup(v);
  }
  /** Takes everything away again (a snapshot from before). */
  dispose(): void {
    for (const remove of this.#remove) remove();
    this.pit?.stop();
    for (const v of this.#vcpus) {
      v.attachApic(undefined, undefined);
      v.mpState = 0;
    }
  }
  /** RESET of the machine, but for local APICs, which are reset with their vCPUs. Routes stay. */
  reset(): void {
    this.pic.reset();
    this.ioApic.reset();
    this.pit?.reset();
  }
  #attendAll(): void {
    for (const v of this.#vcpus) v.attend();
  }

  // ---- interrupts --------------------------------------------------------------------------------------------------
  /** Sends a message to local APICs; how many took it, -1: it is for nobody. */
  deliver(from: LocalApic | undefined, m: ApicMessage, to: Destination): number {
    return deliver(this.#apics, from, m, to);
  }
  /** Sets a GSI's level (kvm_set_irq); what KVM_IRQ_LINE_STATUS says. */
  setLine(gsi: number, level: boolean): number {
    let told = -1;
    for (const r of this.routing.of(gsi)) {
      const n = this.#follow(r, level);
      if (n >= 0) told = Math.max(told, 0) + n;
    }
    return told;
  }
  #follow(r: GsiRoute, level: boolean): number {
    if (!('chip' in r)) return level ? this.signalMsi(r.address, r.data) : -1;
    if (r.chip === Chip.IoApic) return this.ioApic.setPin(r.pin, level);
    return this.pic.setLine(r.chip === Chip.PicSlave ? r.pin + 8 : r.pin, level);
  }
  /** KVM_SIGNAL_MSI: how many vCPUs took it, -1: it is for nobody. */
  signalMsi(address: bigint, data: number): number {
    const { m, to } = readMsi(address, data);
    return this.deliver(undefined, m, to);
  }
  /** KVM_SET_GSI_ROUTING. @throws KvmError EINVAL. */
  setRoutes(routes: readonly GsiRoute[]): void {
    const why = badRoutes(routes);
    if (why !== undefined) throw new KvmError('KVM_SET_GSI_ROUTING', 'EINVAL', why);
    this.routing.routes = routes;
  }
  /** An interrupt was ended by a local APIC. */
  ended(vector: number, level: boolean): void {
    this.ioApic.ended(vector, level);
  }
  /** An interrupt of a chip's pin was ended: the 8254 waits for its own. */
  #acknowledged(chip: number, pin: number): void {
    if (this.pit && this.routing.gsi(chip, pin) === PIT_GSI) this.pit.acknowledge();
  }
  #masked(chip: number, pin: number, masked: boolean): void {
    if (this.pit && !masked && this.routing.gsi(chip, pin) === PIT_GSI) this.pit.forget();
  }

  /** For the VM's cell. */
  save(): Plain {
    return {
      pic: this.pic.save(),
      ioApic: this.ioApic.save(),
      routing: this.routing.save(),
      pit: this.pit ? this.pit.save() : null,
    };
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as Record<'pic' | 'ioApic' | 'routing' | 'pit', Plain>;
    this.routing.restore(s.routing);
    this.pic.restore(s.pic);
    this.ioApic.restore(s.ioApic);
    if (s.pit === null) return;
    if (!this.pit) this.createPit(true);
    this.pit?.restore(s.pit);
    this.#attendAll();
  }
}

/** The VM's controllers. */
export const irqChip = (vm: Vm): X86IrqChip | undefined => vm.irqchip as X86IrqChip | undefined;

/** Makes them, for the vCPUs that are there and those to come. */
export function createIrqChip(vm: Vm): X86IrqChip {
  const chip = new X86IrqChip(vm);
  vm.irqchip = chip;
  for (const v of vm.vcpus ?? []) chip.attach(v.arch as X86Vcpu);
  return chip;
}

/** For the VM's cell: with the state the controllers themselves come and go. */
export function restoreIrqChip(vm: Vm, saved: Plain): void {
  const chip = irqChip(vm);
  if (saved !== null) (chip ?? createIrqChip(vm)).restore(saved);
  else if (chip) {
    chip.dispose();
    vm.irqchip = undefined;
  }
}
