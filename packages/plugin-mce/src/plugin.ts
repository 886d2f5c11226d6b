/** The plugin: knobs, operations, and the points of x86 where machine checks come in. */
import {
  type CpuidDef,
  cpuid,
  type InterceptQuestion,
  intercept,
  type Model,
  msr,
  type NextStep,
  poisonConsumed,
  unknownMsr,
  type X86Vcpu,
} from '@faultyard/arch-x86';
import { type CapDef, definePlugin, FaultyardError, type Plugin, type Vcpu } from '@faultyard/core';
import { Hwcr, MAX_BANKS } from './bits.ts';
import { MCE_KNOBS, type MceKnobs, mceKnobs } from './knobs.ts';
import { type MsrGround, mceMsrs } from './msrs.ts';
import { mceOps } from './ops.ts';
import { type KvmX86Mce, type MceOutcome, setMce, setupMce, supportedCap } from './set-mce.ts';
import { smcaMsrs } from './smca.ts';
import { McaState } from './state.ts';
import { type McaView, viewOf } from './view.ts';

/** What `vm.api(mce())` gives. */
export interface MceApi {
  /** Values of the plugin's knobs in this VM. */
  readonly knobs: MceKnobs;
  /** Which part of KVM runs the guest. */
  readonly backend: 'AMD' | 'Intel';
  /** KVM_X86_GET_MCE_CAP_SUPPORTED: bits of MCG_CAP. */
  readonly supported: bigint;
  /** A vCPU's registers now, without touching anything. */
  view(vcpu: Vcpu): McaView;
  /** KVM_X86_SETUP_MCE. @throws KvmError EINVAL. */
  setup(vcpu: Vcpu, mcgCap: bigint): void;
  /** KVM_X86_SET_MCE, and what it did. `addr`, `misc` and `mcgStatus` default to 0. @throws KvmError EINVAL. */
  set(vcpu: Vcpu, m: Pick<KvmX86Mce, 'bank' | 'status'> & Partial<KvmX86Mce>): MceOutcome;
}

const CAPABILITY: CapDef = {
  name: 'mce',
  kvm: 'KVM_CAP_MCE',
  number: 31,
  check: MAX_BANKS,
  meaning: 'KVM_X86_SETUP_MCE and KVM_X86_SET_MCE exist; how many banks at most',
};

/** CPUID 80000007h EBX (OVERFLOW_RECOV, SUCCOR, SMCA) until somebody sets CPUID. */
function recovery(k: MceKnobs, model: Model): readonly CpuidDef[] {
  if (k.rasCpuid === 'cpu') return [];
  const set = k.rasCpuid === 'qemu' && model.vendor === 'AMD' ? 3 : 0;
  return [{ leaf: 0x8000_0007, clear: [0, 0xf, 0, 0], set: [0, set, 0, 0] }];
}

/** Machine-check state of a VM's vCPUs. */
class States {
  readonly #by = new Map<number, McaState>();
  readonly of = (v: { readonly id: number }): McaState => {
    let s = this.#by.get(v.id);
    if (!s) {
      s = new McaState();
      this.#by.set(v.id, s);
    }
    return s;
  };
}

/**
 * Machine checks as KVM keeps and delivers them to x86 guests. Needs the plugin `x86`. Defaults are the newest KVM; every
 * alternative is a knob ({@link MCE_KNOBS}).
 */
export function mce(...none: readonly never[]): Plugin<never, MceApi> {
  if (none.length)
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'argument of mce()',
      value: typeof none[0] === 'object' ? JSON.stringify(none[0]) : String(none[0]),
      why: 'has no place here: knobs belong to a VM',
      fix: "set them where the VM is made: createVm({ set: { 'mce.smcaDestat': 'ignore' } })",
    });
  return definePlugin<never, MceApi>({
    name: 'mce',
    core: '^1.0.0',
    summary: 'machine checks: banks, KVM_X86_SET_MCE, MSR rules, policies for MCA_DESTAT',
    needs: ['x86'],
    caps: [CAPABILITY],
    knobs: MCE_KNOBS,
    ops: mceOps((vm) => vm.api<never, MceApi>('mce')),
    setup: (ctx): MceApi => {
      const knobs = mceKnobs(ctx.knobs);
      const { model } = ctx.vm.api<never, { readonly model: Model }>('x86');

      const backend = knobs.backend === 'cpu' ? model.vendor : knobs.backend;
      const states = new States();
      const ground: MsrGround = { of: states.of, knobs, backend, cpu: model.vendor };
      ctx.onVcpu((v) => ctx.cell(states.of(v).cell(v.id)));
      ctx.contribute(msr, () => [...mceMsrs(ground), ...smcaMsrs(ground)]);
      ctx.contribute(cpuid, (q) => recovery(knobs, q.model));
      ctx.contribute(intercept, (q) => userCpuid(q, states.of(q.vcpu)));
      if (knobs.ignoreMsrs === 'on') ctx.contribute(unknownMsr, () => true);
      if (knobs.userExit === 'on') ctx.vm.enableCap('x86-user-space-msr', { args: [7n] });
      if (knobs.hostMc === 'erratum383' && backend === 'AMD')
        ctx.contribute(poisonConsumed, ({ vcpu }) => erratum383(vcpu as X86Vcpu));
      const supported = supportedCap(backend);
      return {
        knobs,
        backend,
        supported,
        view: (v) => viewOf(states.of(v)),
        setup: (v, mcgCap) => setupMce(v.arch as X86Vcpu, states.of(v), mcgCap, backend),
        set: (v, m) =>
          setMce(v.arch as X86Vcpu, states.of(v), { addr: 0n, misc: 0n, mcgStatus: 0n, ...m }, knobs),
      };
    },
  });
}

/** HWCR.CpuidUserDis: CPUID outside CPL 0 is #GP, but not in SMM (AMD64 APM volume 2, 3.2.10). */
function userCpuid({ vcpu, what }: InterceptQuestion, s: McaState): NextStep | undefined {
  if (what !== 'cpuid' || !(s.globals.hwcr & Hwcr.CpuidUserDis)) return undefined;
  return vcpu.state.cpl > 0 && !vcpu.events.smi.smm ? vcpu.raise(13, 0) : undefined;
}

/** The signature of family 10h's erratum 383: KVM makes the guest triple fault (svm.c, is_erratum_383). */
// biome-ignore lint/correctness/useYield: a task that does not wait
function* erratum383(v: X86Vcpu): Generator<never, undefined> {
  v.events.requestShutdown('kvm');
  return undefined;
}
