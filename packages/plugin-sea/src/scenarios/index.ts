/** Synchronous external aborts and SErrors as KVM on arm64 routes them, and what a VMM can answer. */
import { type ScenarioSet, scenarioSet } from '@faultyard/testkit';
import { SEA_KNOBS } from '../knobs.ts';
import { atomics } from './atomics.ts';
import { backing4k, backingHugetlb, backingThp } from './backing.ts';
import { cacheMaintenance } from './cache-maintenance.ts';
import { CODES } from './codes.ts';
import { sameCode } from './derive.ts';
import { devicePage } from './device-page.ts';
import { ease } from './ease.ts';
import { el0Load } from './el0-load.ts';
import { el0Fetch, el0Store } from './el0-store-fetch.ts';
import { el1Load, el1Uaccess } from './el1-access.ts';
import { TABLE } from './generated/table.ts';
import { hostLoad } from './host-load.ts';
import { lateCapability } from './late-capability.ts';
import { masked } from './masked.ts';
import { noHostRas } from './no-host-ras.ts';
import { outsideSlots } from './outside-slots.ts';
import { repeated } from './repeated.ts';
import { restartable } from './restartable.ts';
import { SCENARIO_KNOBS } from './scenario-knobs.ts';
import { el0Walk, el1Walk, fetchWalk } from './stage1-walk.ts';
import { stage2Table, stage2TableS1ptw } from './stage2-walk.ts';
import { staleTranslation } from './stale-translation.ts';
import { twoVcpus } from './two-vcpus.ts';
import { unknownAddress } from './unknown-address.ts';
import { vncr, vncrL2 } from './vncr.ts';

/** Every driven row of the decision table. */
export const scenarios: ScenarioSet = scenarioSet({
  path: 'sea',
  table: TABLE,
  codes: CODES,
  scenarios: [
    el0Load,
    el0Store,
    el0Fetch,
    el1Load,
    el1Uaccess,
    el0Walk,
    el1Walk,
    fetchWalk,
    stage2Table,
    stage2TableS1ptw,
    vncr,
    vncrL2,
    cacheMaintenance,
    atomics,
    unknownAddress,
    staleTranslation,
    backing4k,
    backingThp,
    backingHugetlb,
    twoVcpus,
    repeated,
    noHostRas,
    masked,
    ease,
    restartable,
    devicePage,
    hostLoad,
    lateCapability,
    outsideSlots,
  ],
  knobs: { ...SEA_KNOBS, ...SCENARIO_KNOBS },
  same: (expected, actual, entry) => {
    const { esrIgnore } = entry as { readonly esrIgnore?: string };
    return sameCode(expected, actual, Number.parseInt(esrIgnore ?? '0', 16));
  },
});
