/** (c) Replay the abort into the faulting vCPU: through KVM_SET_VCPU_EVENTS, or by writing its registers. */
import { FaultyardError, type Vcpu } from '@faultyard/core';
import { type SeaEvent, syndrome } from './event.ts';
import type { SeaStep } from './policy.ts';

/** The step that replays, and how often it did. */
export interface Inject extends SeaStep {
  readonly count: number;
}

/** How an abort is replayed. */
export type Replay = 'events' | 'eventsWithIabt' | 'oneReg' | 'none';

/**
 * Injects by ext_dabt_pending: the guest sees a data abort with FSC 0x10, whatever the original was. With the
 * proposed extension an instruction abort stays one.
 */
export function injectEvents(vcpu: Vcpu, e: SeaEvent, withIabt: boolean): void {
  const fetch = withIabt && e.esr !== undefined && syndrome(e.esr).isFetch;
  vcpu.op('set-vcpu-events', {
    serrorPending: false,
    serrorHasEsr: false,
    serrorEsr: 0n,
    extDabtPending: !fetch,
    ...(fetch ? { extIabtPending: true } : {}),
  });
}

/** PSTATE bits that survive an exception entry: NZCV, DIT, PAN; SSBS comes from SCTLR.DSSBS. */
const KEPT = 0xf0000000n | (1n << 24n) | (1n << 22n);
const SCTLR = { SPAN: 1n << 23n, DSSBS: 1n << 44n } as const;

/**
 * Injects by writing registers (KVM_SET_ONE_REG), which keeps EC, walk level, FnV, WnR and SET of the original. The
 * VMM does by hand what exception entry does, EASE included.
 * @throws FaultyardError FY_POLICY for a guest in AArch32, and for an event that carries no syndrome.
 */
export function injectRegisters(vcpu: Vcpu, e: SeaEvent): void {
  if (e.esr === undefined)
    throw new FaultyardError('FY_POLICY', {
      policy: 'inject oneReg',
      why: `event ${e.id} has no syndrome`,
      fix: 'replay it through events',
    });
  const pstate = vcpu.get('pstate');
  if (pstate & 0x10n)
    throw new FaultyardError('FY_POLICY', {
      policy: 'inject oneReg',
      why: 'the guest runs AArch32',
      fix: 'replay it through events',
    });
  const s = syndrome(e.esr);
  const fromEl0 = ((pstate >> 2n) & 3n) === 0n;
  const ec = (s.isFetch ? 0x20n : 0x24n) + (fromEl0 ? 0n : 1n);
  const sctlr = vcpu.get('sctlr_el1');
  const ease = ((vcpu.arch.read('sctlr2_el1') ?? 0n) >> 5n) & 1n;
  const spx = pstate & 1n;
  const offset = (fromEl0 ? 0x400n : spx ? 0x200n : 0n) + (ease ? 0x180n : 0n);
  vcpu.set('elr_el1', vcpu.pc);
  vcpu.set('spsr_el1', pstate);
  vcpu.set('esr_el1', (BigInt.asUintN(32, e.esr) & 0x03ff_ffffn) | (ec << 26n));
  if (e.gva !== undefined) vcpu.set('far_el1', e.gva);
  let next = (pstate & KEPT) | 0x3c5n;
  if (!(sctlr & SCTLR.SPAN)) next |= 1n << 22n;
  if (sctlr & SCTLR.DSSBS) next |= 1n << 12n;
  vcpu.set('pstate', next);
  vcpu.pc = vcpu.get('vbar_el1') + offset;
}

/**
 * Replays every event once. Accesses to a hole are answered by a data abort: inventing data would be silent
 * corruption. With `replay: 'oneReg'` only events that carry a syndrome go by registers.
 */
export function inject(
  o: { readonly replay?: Replay; readonly at?: readonly SeaEvent['door'][] } = {},
): Inject {
  const replay = o.replay ?? 'events';
  const doors = o.at ?? ['exit', 'sigbus', 'hole'];
  let count = 0;
  return {
    name: 'inject',
    get count() {
      return count;
    },
    on: (e, p) => {
      if (replay === 'none' || !doors.includes(e.door)) return 'next';
      count++;
      const vcpu = p.vm.vcpus[e.vcpu] as Vcpu;
      if (replay === 'oneReg' && e.esr !== undefined) injectRegisters(vcpu, e);
      else injectEvents(vcpu, e, replay === 'eventsWithIabt');
      return 'next';
    },
    save: () => count,
    restore: (v) => {
      count = v as number;
    },
  };
}
