/** The machine of one cell: a VM with the guest in it, its memory as the row wants it, and the VMM's policy. */
import { arm64 } from '@faultyard/arch-arm64';
import { createVm, drive, type Vm } from '@faultyard/core';
import type { KnobSet, Machine } from '@faultyard/testkit';
import { SEA_KNOBS } from '../knobs.ts';
import { sea } from '../plugin.ts';
import { type GuestImage, KEPT_FAR } from './guest/image.ts';
import { RAM, VICTIMS } from './guest/layout.ts';
import { type CellPolicy, cellPolicy, type PolicyOptions } from './policy.ts';

/** A VM of this family, and what the lab reads of its VMM. */
export interface SeaMachine extends Machine, CellPolicy {
  readonly vm: Vm;
}

/** How the host backs the page that row 13 touches. */
export type Backing = '4K' | 'THP' | 'hugetlb2M' | 'hugetlb1G';

/** What a VM with the guest in it is made of. */
export interface GuestVmOptions {
  readonly image: GuestImage;
  /** All knobs by bare name, the plugin's and the VMM's. */
  readonly knobs: KnobSet;
  readonly vcpus: number;
  /** FEAT_DoubleFault2. */
  readonly df2?: boolean;
  /** Off at first, whatever the knob says. */
  readonly capabilityLate?: boolean;
  /** A second memslot for page D. */
  readonly data?: { readonly gpa: bigint; readonly backing: Backing };
}

/** What a machine is made of. */
export interface MachineOptions extends GuestVmOptions, PolicyOptions {}

const MIB = 1n << 20n;

/** Makes a machine; every call makes the same one. */
export function makeMachine(o: MachineOptions): SeaMachine {
  const vm = makeVm(o);
  return { vm, ...cellPolicy(vm, o.knobs, o) };
}

/** Makes the VM, its guest loaded and about to boot. */
export function makeVm(o: GuestVmOptions): Vm {
  const set: Record<string, string> = {};
  for (const [id, v] of Object.entries(o.knobs)) if (id in SEA_KNOBS) set[`sea.${id}`] = String(v);
  if (o.capabilityLate) set['sea.capEnabled'] = 'off';
  // a VMM can only use an interface that its kernel has
  if (o.knobs['replay'] === 'eventsWithIabt') set['sea.eventsWithIabt'] = 'yes';
  const vm: Vm = createVm({
    arch: arm64({ df2: o.df2 ?? false }),
    plugins: [sea()],
    vcpus: o.vcpus,
    memslots: [RAM],
    set,
  }) as unknown as Vm;
  if (o.knobs['nisvToUser'] === 'on') vm.enableCap('arm-nisv-to-user');
  if (o.data) {
    const { backing, gpa } = o.data;
    const size = backing === 'hugetlb1G' ? 1024n * MIB : 4n * MIB;
    const huge = backing === 'hugetlb2M' ? '2M' : backing === 'hugetlb1G' ? '1G' : undefined;
    const hva = drive(
      vm.mm.mmap({ size, thp: backing === 'THP', ...(huge === undefined ? {} : { hugetlb: huge }) }),
    );
    vm.addMemory({ gpa, size, hva: BigInt(hva) });
  }
  // a passed-through device: one page, mapped by its driver as soon as it is touched
  const device = vm.mm.ioRegion(4096, answers, 'passthrough');
  const hva = drive(vm.mm.mmap({ size: 4096, backing: device }));
  vm.addMemory({ gpa: VICTIMS.device.gpa, size: 4096n, hva: BigInt(hva) });
  for (const p of o.image.pieces) vm.write(p.gpa, p.bytes);
  const cpu0 = vm.vcpus[0] as Vm['vcpus'][number];
  cpu0.pc = o.image.entry;
  cpu0.set('far_el1', KEPT_FAR);
  return vm;
}

// biome-ignore lint/correctness/useYield: this driver never waits
function* answers(): Generator<never, 'map'> {
  return 'map';
}
