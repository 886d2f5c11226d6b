/**
 * A passed-through PCI function with one BAR, as vfio-pci and a VMM hold it: just enough for the race between a config
 * write that clears COMMAND.MEM and another vCPU's access to the BAR (kernel: drivers/vfio/pci/vfio_pci_config.c,
 * vfio_pci_core.c; the steps are named as in the memory-fault sheet, section 6.6).
 */
import { at, type IoAnswer, type IoRegion, Lock, type Task, type Vm } from '@faultyard/core';

/** Steps of a memslot change, by the point that follows them. */
const SLOT_STEPS: Readonly<Record<string, string>> = {
  'slots.invalid': 'M1',
  'slots.zap': 'M2',
  'slots.publish': 'M3',
};

/** Where things are. Addresses in bytes. */
export interface PassthroughOptions {
  /** gpa of the BAR. */
  readonly bar: number;
  /** Bytes of the BAR, a multiple of 4096. */
  readonly size?: number;
  /** Memslot of the BAR. Default 8. */
  readonly slot?: number;
}

/** The function, its driver in the host kernel, and the VMM's locks and slot. */
export class Passthrough {
  readonly vm: Vm;
  readonly bar: number;
  readonly size: number;
  readonly slot: number;
  /** vfio's memory_lock: readers are BAR faults, writers are changes of COMMAND.MEM and resets. */
  readonly memoryLock: Lock = new Lock('memory_lock');
  /** The VMM's lock of this device (QEMU: the big lock). */
  readonly deviceLock: Lock = new Lock('device_lock');
  /** COMMAND.MEM as the device has it, and as vfio's virtual config space shows it. */
  physicalMem = true;
  virtualMem = true;
  /** The VMM's generation of the guest's memory map: counts slots added and removed, and MEM toggled. */
  topology = 0;
  readonly region: IoRegion;
  readonly #hva: number;
  readonly #note: (step: string) => void;

  /** Maps the BAR and adds its slot; `note` hears every step. */
  constructor(vm: Vm, o: PassthroughOptions, note: (step: string) => void = () => {}) {
    this.vm = vm;
    this.bar = o.bar;
    this.size = o.size ?? 0x1000;
    this.slot = o.slot ?? 8;
    this.#note = note;
    this.region = vm.mm.ioRegion(this.size, () => this.#fault());
    this.#hva = vm.mm.map({ size: this.size, backing: this.region });
    vm.setMemoryRegion({ slot: this.slot, gpa: this.bar, size: this.size, hva: this.#hva });
  }

  /** vfio's fault callback: SIGBUS while the virtual MEM bit is clear. */
  *#fault(): Task<IoAnswer> {
    this.#note('fault');
    yield* this.memoryLock.read();
    this.#note('fault.locked');
    const answer = this.virtualMem ? 'map' : 'sigbus';
    this.memoryLock.endRead();
    return answer;
  }

  *#step(name: string): Task<void> {
    this.#note(name);
    yield at(name);
  }
  /** vfio: a write of COMMAND with MEM = `on`. Steps K1 to K5; enabling zaps nothing. */
  *writeMem(on: boolean): Task<void> {
    yield* this.memoryLock.write();
    yield* this.#step('K1');
    if (!on) {
      this.#note('K2.start');
      yield* this.vm.mm.zap(this.region, 0, this.size / 4096);
      yield* this.#step('K2.end');
    }
    this.physicalMem = on;
    yield* this.#step('K3');
    this.virtualMem = on;
    yield* this.#step('K4');
    this.memoryLock.endWrite();
    yield* this.#step('K5');
  }
  /** vfio: a reset. The zap and the reset happen under the lock; the virtual MEM bit survives. */
  *reset(): Task<void> {
    yield* this.memoryLock.write();
    yield* this.#step('K1');
    this.#note('K2.start');
    yield* this.vm.mm.zap(this.region, 0, this.size / 4096);
    yield* this.#step('K2.end');
    yield* this.#step('reset.done');
    this.memoryLock.endWrite();
    yield* this.#step('K5');
  }
  /**
   * The VMM's handler of a config write: A1, the kernel's part, the slot (M1 to M3), A2. With `keepSlot` the VMM leaves
   * the slot alone.
   */
  *configWrite(on: boolean, keepSlot: boolean = false): Task<void> {
    yield* this.deviceLock.write();
    yield* this.#step('A1');
    yield* this.writeMem(on);
    if (!keepSlot) {
      const region = { slot: this.slot, gpa: this.bar, hva: this.#hva, size: on ? this.size : 0 };
      const change = this.vm.memslots.set(region);
      for (let s = change.next(); !s.done; s = change.next()) {
        const step = SLOT_STEPS[s.value.at];
        if (step) this.#note(step);
        yield s.value;
      }
    }
    this.topology++;
    this.deviceLock.endWrite();
    yield* this.#step('A2');
  }
}
