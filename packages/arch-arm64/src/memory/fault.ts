/**
 * Guest aborts that reach EL2: what KVM makes of an access that stage 2 does not serve
 * (arch/arm64/kvm/mmu.c kvm_handle_guest_abort and user_mem_abort, mmio.c io_mem_abort, baseline 6.19).
 */
import {
  gpa as brandGpa,
  type Exit,
  type Gpa,
  hva,
  PAGE_SIZE,
  type Stage2Outcome,
  type Task,
} from '@faultyard/core';
import { Access } from '@faultyard/engine';
import { ISS, injectSizeFault } from '../events/inject.ts';
import { IDS } from '../events/serror.ts';
import { syndrome, syndromeBits } from '../isa/syndrome.ts';
import { type ExternalAbort, errorPfn, externalAbort } from '../points.ts';
import { join } from '../state.ts';
import { traceFault } from '../tracing.ts';
import type { Arm64Vcpu } from '../vcpu.ts';
import { AccessClass } from './access-class.ts';
import { type AccessFault, Cause, className, classOf } from './port.ts';

/** ESR_EL2.EC of aborts from EL0 and EL1. */
const EC_IABT = 0x20;
const EC_DABT = 0x24;

/** Whether the abort is reported with WnR = 1 (DDI 0487, ISS of a Data Abort): CMOs always, atomics as stores would. */
export function writes(f: Pick<AccessFault, 'kind' | 'cls'>): boolean {
  if (f.cls & AccessClass.Cm) return true;
  return f.kind === Access.Write || (f.kind === Access.ReadWrite && (f.cls & AccessClass.Exclusive) !== 0);
}

/** The truth of an external abort, for {@link externalAbort}. */
function truth(v: Arm64Vcpu, f: AccessFault): ExternalAbort {
  return {
    cls: className(classOf(f)),
    write: f.kind !== Access.Read && f.kind !== Access.Exec,
    va: join(f.lo, f.hi),
    gpa: BigInt(f.gpa),
    ...(f.walk ? { walk: { stage: f.stage, level: f.level, s1ptw: f.s1ptw } } : {}),
    forFetch: f.kind === Access.Exec,
    el0: v.state.el === 0,
    cm: (f.cls & AccessClass.Cm) !== 0,
  };
}

/** Handles the abort recorded in the vCPU's port. */
export function* guestAbort(v: Arm64Vcpu): Task<Exit | undefined> {
  const f: AccessFault = { ...v.port.fault };
  if (f.cause === Cause.External) {
    if (f.delivery === 2) return hostSError(v);
    return yield* v.vm.ask(externalAbort)({ vcpu: v, abort: truth(v, f) });
  }
  return yield* stage2Abort(v, f);
}

/**
 * The error came as a physical SError, which HCR_EL2.AMO takes to the host: a recoverable one becomes a virtual SError
 * (arch/arm64/kvm/handle_exit.c handle_exit_early). The access itself goes on afterwards.
 */
function hostSError(v: Arm64Vcpu): undefined {
  v.port.spared = v.state.pcLo;
  v.injectSError(IDS);
}

function* stage2Abort(v: Arm64Vcpu, f: AccessFault): Task<Exit | undefined> {
  const exec = f.kind === Access.Exec;
  const wnr = !f.walk && !exec && writes(f);
  if (v.vm.traced) traceFault(v, f.gpa, wnr);
  if (f.gpa >= 2 ** v.model.paBits) {
    capture(v, f, exec, wnr, false);
    injectSizeFault(v, exec, f.gpa);
    return undefined;
  }
  if (f.gpa >= 2 ** v.model.ipaBits) {
    capture(v, f, exec, wnr, false);
    v.injectSea(exec, BigInt(f.gpa - (f.gpa % PAGE_SIZE) + (f.lo & 0xfff)));
    return undefined;
  }
  const out: Stage2Outcome = yield* v.vm.stage2.fault({
    gpa: f.gpa,
    // an atomic first faults as a read unless the page is mapped and only writing is missing
    write:
      wnr ||
      (f.kind === Access.ReadWrite && !f.walk && v.vm.stage2.frameOf(Math.floor(f.gpa / PAGE_SIZE)) !== 0),
    exec: exec && !f.walk,
    origin: f.walk ? 'walk' : 'hardware',
  });
  // what KVM saved shows only where the access fails: stage 2 is derived and may miss at any time
  if (out.kind === 'mapped') {
    v.mapped = true;
    return undefined;
  }
  if (out.kind === 'retry') {
    // an invalidation is under way: whoever makes it goes on first
    yield { at: 'arm64.retry', spins: true };
    return undefined;
  }
  capture(v, f, exec, wnr, false);
  switch (out.kind) {
    case 'noslot':
    case 'readonly-slot':
      return outside(v, f, exec, wnr, out.kind === 'noslot');
    case 'exec-device':
      v.injectSea(true, v.fault.far);
      return undefined;
    case 'gmem-error':
      return memoryFault(v, f, out.errno as 'EFAULT' | 'EHWPOISON', 0n);
    case 'userfault':
      return memoryFault(v, f, 'EFAULT', 1n << 4n);
    case 'error-pfn': {
      const decided = v.vm.ask(errorPfn)({
        vcpu: v,
        pfn: out.pfn as 'fault',
        gpa: f.gpa - (f.gpa % PAGE_SIZE),
        write: wnr,
        fetch: exec,
        walk: f.walk,
      });
      if (decided) return decided;
      if (out.pfn !== 'hwpoison') return runError(v, 'EFAULT');
      v.vm.signals.send({
        signal: 'SIGBUS',
        code: 'BUS_MCEERR_AR',
        addr: hva(out.hva),
        lsb: out.lsb,
        to: { vcpu: v.id },
      });
      return undefined;
    }
  }
}

/** Fills what KVM saves of a stage 2 abort: ESR_EL2, FAR_EL2 and HPFAR_EL2, all valid. */
function capture(v: Arm64Vcpu, f: AccessFault, exec: boolean, wnr: boolean, permission: boolean): void {
  const level = levelOf(v, f.gpa);
  let iss: number = (permission ? 0x0c : 0x04) + level;
  if (f.walk) iss |= ISS.S1PTW;
  if (wnr) iss |= ISS.WnR;
  if (f.cls & AccessClass.Cm) iss |= ISS.CM;
  if (!exec && !f.walk && !(f.cls & AccessClass.NoIsv))
    iss |= syndromeBits(syndrome(v.isa.facts(v.instructionWord())));
  v.fault = {
    esr: (((exec ? EC_IABT : EC_DABT) << 26) | ISS.IL | iss) >>> 0,
    far: join(f.lo, f.hi),
    hpfar: BigInt(Math.floor(f.gpa / PAGE_SIZE)) << 4n,
  };
}

/**
 * Level at which stage 2 ends for an address. KVM's tables are not modelled page by page; what it would have built for
 * the memslots nearby decides: 3 in a 2 MiB region with memory, 2 in a 1 GiB region, else 1.
 */
function levelOf(v: Arm64Vcpu, address: number): number {
  const gfn = Math.floor(address / PAGE_SIZE);
  for (const [shift, level] of [
    [9, 3],
    [18, 2],
  ] as const) {
    const size = 2 ** shift;
    const from = gfn - (gfn % size);
    if (v.vm.memslots.all().some((s) => s.baseGfn < from + size && s.baseGfn + s.npages > from)) return level;
  }
  return 1;
}

/** No memslot, or a write to a read-only one: fetch, walk, cache maintenance, then MMIO (sea.md 6 H1..H5). */
function outside(v: Arm64Vcpu, f: AccessFault, exec: boolean, wnr: boolean, hole: boolean): Exit | undefined {
  if (exec || f.walk) {
    v.injectSea(exec, v.fault.far);
    return undefined;
  }
  if (hole && f.cls & AccessClass.Cm) {
    v.state.advance();
    v.owe(1);
    return undefined;
  }
  if (!hole) capture(v, f, exec, wnr || f.kind === Access.ReadWrite, true);
  return ioMemAbort(v, f);
}

/** io_mem_abort: MMIO by the syndrome, or what happens without one. */
function ioMemAbort(v: Arm64Vcpu, f: AccessFault): Exit | undefined {
  const s = syndrome(v.isa.facts(v.instructionWord()));
  if (!s.isv || f.cls & AccessClass.NoIsv) {
    if (!v.vm.caps.enabled('arm-nisv-to-user')) return runError(v, 'ENOSYS');
    const esrIss = BigInt(v.fault.esr & (ISS.CM | ISS.WnR | ISS.FSC));
    return { kind: 'arm-nisv', vcpu: v.id, ret: 0, esrIss, faultIpa: brandGpa(f.gpa) };
  }
  const d = v.core.device;
  const slot = s.srt === 31 ? 32 : s.srt;
  d.gpa = f.gpa;
  d.size = 1 << s.sas;
  d.write = f.kind !== Access.Read;
  d.lo = d.write ? v.state.xLo(slot) : 0;
  d.hi = d.write ? v.state.xHi(slot) : 0;
  const bus = v.vm.bus;
  if (d.write ? bus.store(d.gpa, d.size, v.id, d.lo, d.hi) : bus.load(d.gpa, d.size, v.id, d)) {
    v.complete();
    return undefined;
  }
  d.pending = true;
  d.answered = false;
  v.rememberCompletion();
  const bits = BigInt(8 * d.size);
  return {
    kind: 'mmio',
    vcpu: v.id,
    ret: 0,
    gpa: brandGpa(d.gpa),
    size: d.size as 1 | 2 | 4 | 8,
    write: d.write,
    value: d.write ? join(d.lo, d.hi) & ((1n << bits) - 1n) : 0n,
  };
}

function runError(v: Arm64Vcpu, errno: 'EFAULT' | 'ENOSYS'): Exit {
  return { kind: 'run-error', vcpu: v.id, ret: -1, errno };
}

function memoryFault(v: Arm64Vcpu, f: AccessFault, errno: 'EFAULT' | 'EHWPOISON', flags: bigint): Exit {
  const page: Gpa = brandGpa(f.gpa - (f.gpa % PAGE_SIZE));
  return { kind: 'memory-fault', vcpu: v.id, ret: -1, errno, flags, gpa: page, size: BigInt(PAGE_SIZE) };
}
