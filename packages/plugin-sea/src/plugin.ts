/** The plugin: its knobs, exit, capability, and the points of arm64 where it decides. */
import { externalAbort, type KvmRules, kvmRules } from '@faultyard/arch-arm64';
import { type CapDef, definePlugin, FaultyardError, type Plugin } from '@faultyard/core';
import { Claims } from './claim.ts';
import { armSeaCodec } from './exit.ts';
import { type HostLoad, kernelCopy, vmmLoad } from './host.ts';
import { SEA_KNOBS, type SeaKnobs, seaKnobs } from './knobs.ts';
import { routeSea } from './route.ts';

/** What `vm.api(sea())` gives. */
export interface SeaApi {
  /** Values of the plugin's knobs in this VM. */
  readonly knobs: SeaKnobs;
  /** Host firmware reported the page at `gpa` and the host printed the record: the next one is a duplicate for 10 s. */
  printed(gpa: bigint): void;
  /** The VMM's own load of guest memory, in user mode: bytes, or the SIGBUS it gets. */
  vmmLoad(gpa: bigint, length: number): HostLoad;
  /** The host kernel reads guest memory for the VMM (read(), KVM's own look at tables): bytes, or an oops. */
  kernelCopy(gpa: bigint, length: number): HostLoad;
}

const CAPABILITY: CapDef = {
  name: 'arm-sea-to-user',
  kvm: 'KVM_CAP_ARM_SEA_TO_USER',
  number: (knobs) => Number(seaKnobs(knobs).capExitNumbers.split('/')[0]),
  check: 1,
  enable: 'vm',
  meaning: 'external aborts that nobody claims leave as KVM_EXIT_ARM_SEA; off: they become SErrors',
};

/** Rules of the arch that the knobs set. */
function rules(k: SeaKnobs): Partial<KvmRules> {
  return {
    hostRas: k.hostRas === '1',
    vmRas: Number(k.vmRas) as 0 | 1 | 2 | 3,
    rasRegisters: k.rasRegs,
    delivery: {
      load: k.deliverLoad,
      store: k.storeConsumes === 'none' ? 'none' : k.deliverStore,
      fetch: k.deliverFetch,
      walk: k.deliverWalk,
      cmo: k.deliverCmo,
      atomic: k.deliverAtomic,
    },
    injectFnV: k.injectFnV,
    injectLevel: k.injectLevel,
    injectIL: k.injectIL,
    eventsCommit: k.eventsCommit,
    eventsUninit: k.eventsUninit,
    eventsAtomic: k.eventsAtomic === 'yes',
    eventsWithIabt: k.eventsWithIabt === 'yes',
    serror: k.serrorInjection,
    serrorTopByte: k.vserrorTopByte === 'BD' ? 0xbd : 0xbf,
    serrorWhilePending: k.serrorWhilePending,
  };
}

/**
 * KVM's routing of guest synchronous external aborts on arm64, and KVM_EXIT_ARM_SEA.
 * Needs the plugin `arm64`. Defaults are Linux 6.19; every alternative is a knob ({@link SEA_KNOBS}).
 */
export function sea(...none: readonly never[]): Plugin<'arm-sea', SeaApi> {
  if (none.length)
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'argument of sea()',
      value: typeof none[0] === 'object' ? JSON.stringify(none[0]) : String(none[0]),
      why: 'has no place here: knobs belong to a VM',
      fix: "set them where the VM is made: createVm({ set: { 'sea.walkRule': 'v2' } })",
    });
  return definePlugin({
    name: 'sea',
    core: '^1.0.0',
    summary: 'guest synchronous external aborts: KVM_EXIT_ARM_SEA, APEI claims, SError injection',
    needs: ['arm64'],
    exits: { 'arm-sea': armSeaCodec },
    caps: [CAPABILITY],
    knobs: SEA_KNOBS,
    setup: (ctx): SeaApi => {
      const knobs = seaKnobs(ctx.knobs);
      const claims = new Claims(knobs);
      ctx.cell(claims.cell);
      if (knobs.capEnabled === 'on') ctx.vm.enableCap('arm-sea-to-user');
      ctx.contribute(kvmRules, () => rules(knobs));
      const route = { knobs, claims, capability: () => ctx.enabled('arm-sea-to-user') };
      ctx.contribute(externalAbort, (q) => routeSea(q, route));
      const host = { vm: ctx.vm, knobs };
      return {
        knobs,
        printed: (gpa) => claims.printed(gpa, ctx.vm.clock.now),
        vmmLoad: (gpa, length) => vmmLoad(host, gpa, length),
        kernelCopy: (gpa, length) => kernelCopy(host, gpa, length),
      };
    },
  });
}
