/** The scenarios' guest under a VMM of the test's own. */
import { type Exit, resume, stop, type Verdict, type Vm } from '@faultyard/core';
import { buildGuest, type GuestImage } from '../../src/scenarios/guest/image.ts';
import { areaGpa, PORT, SAYS } from '../../src/scenarios/guest/layout.ts';
import { readRecords, type TrapRecord } from '../../src/scenarios/guest/record.ts';
import type { GuestSetup } from '../../src/scenarios/guest/setup.ts';
import { STIMULI } from '../../src/scenarios/guest/stimuli.ts';
import { type GuestVmOptions, makeVm } from '../../src/scenarios/machine.ts';
import { SeaPolicy, type SeaStep } from '../../src/vmm/index.ts';

export interface GuestVm {
  readonly vm: Vm;
  readonly image: GuestImage;
  readonly policy: SeaPolicy;
}

/** A guest whose processes touch these addresses, one each, and a policy of these steps. */
export function guestVm(
  touches: readonly bigint[],
  steps: readonly SeaStep[],
  o: { readonly guest?: Partial<GuestSetup>; readonly machine?: Partial<GuestVmOptions> } = {},
): GuestVm {
  const image = buildGuest({ stimulus: STIMULI['ldr x']!, el: 0, touches, ras: false, cpus: 1, ...o.guest });
  const vm = makeVm({
    image,
    knobs: { capEnabled: 'on', nisvToUser: 'on', vserrorTopByte: 'BF' },
    vcpus: o.guest?.cpus ?? 1,
    ...o.machine,
  });
  return { vm, image, policy: new SeaPolicy(vm, steps) };
}

/** Runs the guest; `bad` pages go bad when the guest is first ready. Ends at the report, or where the policy stops. */
export function drive(g: GuestVm, bad: readonly bigint[]): string {
  let ready = false;
  const handler = (e: Exit): Verdict => {
    if (e.kind === 'mmio' && e.gpa === PORT.gpa) {
      const says = Number(e.value & 0xffn);
      if (says === SAYS.ready && !ready) {
        ready = true;
        for (const page of bad) g.vm.poison(page);
      }
      return says === SAYS.ready ? resume : stop(says === SAYS.report ? 'report' : `says ${says}`);
    }
    return g.policy.handle(e) ?? stop(e.kind);
  };
  return g.vm.drive(handler, 200_000).why;
}

/** Everything the guest wrote down on a CPU. */
export function records(vm: Vm, cpu: number = 0): readonly TrapRecord[] {
  return readRecords((offset) => vm.peek(areaGpa(cpu) + BigInt(offset)), 0);
}
/** Deaths so far. */
export function deaths(vm: Vm): number {
  return records(vm).filter((r) => r.note === 'death').length;
}
