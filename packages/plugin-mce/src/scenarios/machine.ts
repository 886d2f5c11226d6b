/** The machine of one cell: a VM with the guest in it, set up and watched over as QEMU does it. */
import { x86 } from '@faultyard/arch-x86';
import { createVm, ERRNO, KvmError, type Vcpu, type Vm } from '@faultyard/core';
import type { KnobSet, Machine } from '@faultyard/testkit';
import { MCE_KNOBS } from '../knobs.ts';
import { mce } from '../plugin.ts';
import { type MceRelay, mceRelay, setupMachineChecks } from '../vmm/index.ts';
import { guestImage, loadGuest } from './guest/image.ts';
import { AT, RAM_SIZE } from './guest/layout.ts';
import type { Plan } from './plan.ts';

/** A VM of this family with its VMM. */
export interface MceMachine extends Machine {
  readonly vm: Vm;
  readonly relay: MceRelay;
  /** What KVM_X86_SETUP_MCE returned: 0, or minus an errno. */
  readonly setup: number;
  /** Firmware: puts a vCPU to the guest's first instruction again. */
  start(vcpu: Vcpu): void;
}

/** Minus errno of what an operation threw; anything else is thrown again. */
export function resultOf(f: () => unknown): number {
  try {
    f();
    return 0;
  } catch (e) {
    if (e instanceof KvmError) return -ERRNO[e.errno];
    throw e;
  }
}

/** Makes a machine; every call makes the same one. */
export function makeMachine(plan: Plan, knobs: KnobSet): MceMachine {
  const set: Record<string, string> = {};
  for (const [id, v] of Object.entries(knobs)) if (id in MCE_KNOBS) set[`mce.${id}`] = String(v);
  set['mce.backend'] = plan.backend;
  const vm: Vm = createVm({
    arch: x86({ model: plan.vendor === 'AMD' ? 'zen3' : 'skylake' }),
    plugins: [mce()],
    vcpus: plan.vcpus,
    memslots: [{ gpa: 0n, size: RAM_SIZE }],
    set,
  }) as unknown as Vm;
  if (plan.guest?.kind === 'cmci') irqchip(vm);
  const setup = resultOf(() => setupMachineChecks(vm, plan));
  const relay = mceRelay(vm, plan);
  if (!plan.guest) return { vm, relay, setup, start: () => {} };
  const image = guestImage(plan.guest);
  loadGuest(vm, image);
  // pages that the host will lose have something to lose
  for (const page of [0, 1]) vm.poke(AT.victim + 0x1000 * page, 0x600d_0000n + BigInt(page));
  const before = (vm.vcpus as readonly Vcpu[]).map(
    (v) => [v.op('get-regs', {}), v.op('get-sregs', {})] as const,
  );
  const start = (v: Vcpu): void => {
    const [regs, sregs] = before[v.id] as (typeof before)[number];
    v.op('set-sregs', sregs);
    v.op('set-regs', regs);
    for (const p of image.pieces) vm.write(p.gpa, p.bytes);
  };
  return { vm, relay, setup, start };
}

/** Interrupt controllers in the kernel: only they deliver corrected machine checks. */
function irqchip(vm: Vm): void {
  vm.op('create-irqchip', {});
}
