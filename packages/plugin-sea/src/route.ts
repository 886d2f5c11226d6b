/**
 * KVM's way of a guest's synchronous external abort (arch/arm64/kvm/mmu.c kvm_handle_guest_sea, 6.19):
 * capture at EL2, offer it to the host firmware, decide who owns it, and make an exit of the rest.
 */
import type { ExternalAbortQuestion } from '@faultyard/arch-arm64';
import { at, type Exit, gpa, gva, hva, type Task } from '@faultyard/core';
import type { Claims } from './claim.ts';
import { seaFlags } from './exit.ts';
import type { SeaKnobs } from './knobs.ts';
import { EC, FSC_SEA, ISS, isWalkFsc, type Report, report } from './report.ts';

/** What routing needs beside the question. */
export interface RouteCtx {
  readonly knobs: SeaKnobs;
  readonly claims: Claims;
  /** Whether KVM_CAP_ARM_SEA_TO_USER is enabled now. */
  readonly capability: () => boolean;
}

/** What KVM saved at EL2, or `retry` when it enters the guest again at once. */
type Capture = { readonly ipa: bigint | undefined } | 'retry';

/** Routes one abort. Returns the exit, or nothing when the guest goes on (possibly with an injected exception). */
export function* routeSea(q: ExternalAbortQuestion, ctx: RouteCtx): Task<Exit | undefined> {
  const { vcpu, abort } = q;
  const k = ctx.knobs;
  const syndrome = q.report ?? report(abort, k);
  // Host without FEAT_RAS: TEA is RES0 and the abort is the guest's own business, unless the walk was EL2's.
  if (k.hostRas === '0' && abort.walk?.stage !== 2) {
    vcpu.takeExternalAbort(syndrome.esr, syndrome.far);
    return undefined;
  }
  yield at('sea.capture');
  const captured = q.report
    ? { ipa: vcpu.fault.hpfar === 0n ? undefined : ipaOf(vcpu.fault.hpfar) }
    : yield* capture(q, syndrome, k);
  if (captured === 'retry') {
    // the guest tries again, and meets the same: only its clock moves on
    vcpu.owe(1);
    return undefined;
  }
  const ipa = captured.ipa;
  vcpu.fault = {
    esr: syndrome.esr,
    far: q.report ? vcpu.fault.far : syndrome.far,
    hpfar: ipa === undefined ? 0n : (ipa >> 12n) << 4n,
  };
  yield at('sea.claim');
  const claim = yield* ctx.claims.offer(vcpu, abort);
  if (claim === 'claimed') {
    vcpu.owe(1);
    return undefined;
  }
  if (claim === 'panic')
    return { kind: 'shutdown', vcpu: vcpu.core.id, ret: 0, why: 'host panic: fatal error record' };
  const offered = ctx.capability() && !(k.guestRasGate === 'required' && !vcpu.hasRas);
  const owned = hostOwns(syndrome, k, q.hypContext ?? false);
  if (owned || !(offered || k.notify === 'sigbusAlways')) {
    vcpu.injectSError();
    return undefined;
  }
  const fnv = (syndrome.esr & ISS.FnV) !== 0;
  if (k.notify !== 'exit') {
    // the first postings: a signal with the host address, or 0 when the fault address is unknown
    const addr = fnv || ipa === undefined ? hva(0) : hva(vcpu.core.vm.memory.hvaOf(ipa) ?? 0);
    vcpu.core.vm.signals.send({
      signal: 'SIGBUS',
      code: 'BUS_OBJERR',
      addr,
      lsb: 12,
      to: { vcpu: vcpu.core.id },
    });
    return undefined;
  }
  return {
    kind: 'arm-sea',
    vcpu: vcpu.core.id,
    ret: 0,
    flags: seaFlags(k.gvaFlag === 'v1flag', !fnv, ipa !== undefined),
    esr: BigInt(sanitise(syndrome.esr, k, vcpu.hasRas)),
    ...(fnv ? {} : { gva: gva(vcpu.fault.far) }),
    ...(ipa === undefined ? {} : { gpa: gpa(ipa) }),
  };
}

const ipaOf = (hpfar: bigint): bigint => (hpfar & 0x7fff_ffff_ffff_fff0n) << 8n;

/** Fault-info capture (hyp/include/hyp/fault.h): does KVM know the IPA, and may it ask for it? */
function* capture(q: ExternalAbortQuestion, r: Report, k: SeaKnobs): Task<Capture> {
  // HPFAR_EL2 is UNKNOWN for every external abort: the last value stands there.
  if (k.gpaSource === 'rawHpfar') return { ipa: ipaOf(q.vcpu.fault.hpfar) };
  const fsc = r.esr & 0x3f;
  if (isWalkFsc(fsc) || (fsc === FSC_SEA && r.esr & ISS.FnV)) return { ipa: undefined };
  const ipa = yield* q.vcpu.translateEl1Read(r.far);
  if (ipa !== undefined) return { ipa: ipa & ~0xfffn };
  return k.atFailure === 'silentRetry' ? 'retry' : { ipa: undefined };
}

/** Whether the abort is on memory that the host, not the guest, owns. */
export function hostOwns(r: Pick<Report, 'esr'>, k: SeaKnobs, hypContext: boolean): boolean {
  if (k.hostRas === '0') return true;
  const ec = r.esr >>> 26;
  const dabt = ec === EC.dabtLow || ec === EC.dabtCur;
  if (hypContext && r.esr & ISS.VNCR && (k.vncrRule === 'anyEC' || (k.vncrRule === 'dataAbortsOnly' && dabt)))
    return true;
  if (!isWalkFsc(r.esr & 0x3f)) return false;
  const s1ptw = (r.esr & ISS.S1PTW) !== 0;
  switch (k.walkRule) {
    case 'merged':
      return s1ptw;
    case 'v2':
      return !s1ptw;
    case 'rfc1':
      return true;
    case 'rfc3':
      return false;
  }
}

/** ESR_EL2 as userspace may see it: EC, IL, FnV, EA, CM, WnR, FSC; SET when the VM has RAS. */
export function sanitise(esr: number, k: SeaKnobs, vmRas: boolean): number {
  const set = vmRas ? ISS.SET : 0;
  const mask = {
    FE00077F: 0xfe00077f | set,
    FE001DFF: 0xfe001dff,
    raw: 0xffffffff,
    noIL: 0xfc00077f | set,
  }[k.esrMask];
  return (esr & mask) >>> 0;
}
