/**
 * A vCPU's events: what is pending, what was injected and not finished, what blocks the rest. The state is KVM's
 * (`struct kvm_vcpu_events`, arch/x86/kvm/x86.c); delivery itself is in `exceptions.ts`.
 *
 * Exceptions that the guest's own instructions raise are delivered at once, as a CPU does, and never stand in the
 * queue; unless their delivery cannot finish (stage 2 misses): KVM then finds the event in EXITINTINFO, keeps it as
 * *injected*, and delivers it again at the next entry before anything else.
 */
import type { Exit, Plain } from '@faultyard/core';
import { FL } from '../isa/flags.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { SR } from '../state.ts';
import { traceEvent } from '../tracing.ts';
import { Debug } from './debug.ts';
import { type Delivery, deliver } from './exceptions.ts';
import type { EventInfo, EventKind, EventRules, OuterEvent } from './points.ts';
import { enterSmm } from './smm.ts';
import { combine, exceptionType, pushesErrorCode, Vector } from './vectors.ts';

/** Interrupt shadow (KVM_X86_SHADOW_INT_*): the instruction after MOV SS or STI is not interrupted. */
export const Shadow = { MovSs: 1, Sti: 2 } as const;

/** Where maskable interrupts come from besides userspace: an interrupt controller in the kernel. */
export interface InterruptSource {
  /** Whether INTR is asserted, priorities considered. */
  pending(): boolean;
  /** The interrupt acknowledge cycle: the vector; -1 when the request went away (spurious ones are the controller's). */
  acknowledge(): number;
}

/** `vcpu->arch.exception`. */
export interface ExceptionState {
  /** Queued, its side effects (CR2, DR6) maybe not done. */
  pending: boolean;
  /** Being delivered; side effects done. */
  injected: boolean;
  vector: number;
  hasErrorCode: boolean;
  errorCode: number;
  hasPayload: boolean;
  payloadLo: number;
  payloadHi: number;
}

const NO_RULES: readonly EventRules[] = [];

/** State and queue of a vCPU's events. */
export class Events {
  readonly #m: Machine;
  /** What plugins say at `x86.events`. */
  readonly #rules: readonly EventRules[];
  readonly debug: Debug;

  // ---- state (see save) --------------------------------------------------------------------------------------------
  readonly exception: ExceptionState = {
    pending: false,
    injected: false,
    vector: 0,
    hasErrorCode: false,
    errorCode: 0,
    hasPayload: false,
    payloadLo: 0,
    payloadHi: 0,
  };
  /** `vcpu->arch.interrupt`: accepted (its source acknowledged), not delivered yet. */
  readonly interrupt: { injected: boolean; vector: number; soft: boolean } = {
    injected: false,
    vector: 0,
    soft: false,
  };
  /** NMIs: being delivered, waiting (at most two), and whether a handler blocks them until IRET. */
  readonly nmi: { injected: boolean; pending: number; masked: boolean } = {
    injected: false,
    pending: 0,
    masked: false,
  };
  /** SMI waiting; in SMM; SMM was entered while NMIs were blocked. */
  readonly smi: { pending: boolean; smm: boolean; insideNmi: boolean } = {
    pending: false,
    smm: false,
    insideNmi: false,
  };
  /** {@link Shadow} bits. */
  #shadow = 0;
  /** KVM_REQ_TRIPLE_FAULT: `cpu` when the CPU itself shut down, `kvm` when KVM asked for it. */
  tripleFault: 'no' | 'cpu' | 'kvm' = 'no';

  // ---- not state ---------------------------------------------------------------------------------------------------
  /** An interrupt controller in the kernel; without one userspace gives interrupts (KVM_INTERRUPT). */
  source: InterruptSource | undefined = undefined;
  /** The event being delivered right now: exceptions raised meanwhile are its faults. */
  #current: Delivery | undefined;
  readonly #second: { raised: boolean; vector: number; errorCode: number; lo: number; hi: number } = {
    raised: false,
    vector: 0,
    errorCode: 0,
    lo: 0,
    hi: 0,
  };
  /**
   * What the port last reported belongs to the delivery of an event, not to the instruction at pc: KVM does not emulate
   * an access to a device here, it exits with KVM_INTERNAL_ERROR_DELIVERY_EV.
   */
  vectoring = false;
  /** kvm_run.request_interrupt_window: userspace waits for {@link readyForInterrupt}. */
  windowRequested = false;
  /** KVM's emulator executes the instruction: what it raises is queued (kvm/x86.c, inject_emulated_exception). */
  emulating = false;
  /** CR8 as kvm_run shows it. */
  shownCr8 = 0;
  /**
   * Something was delivered, or a plugin took it, since this was last cleared: no trap follows the instruction at hand.
   * Plugins that leave an instruction for another world set it as well.
   */
  taken: false | 'event' | 'software' = false;

  constructor(m: Machine, rules: readonly EventRules[] = NO_RULES) {
    this.#m = m;
    this.#rules = rules;
    this.debug = new Debug(m, this);
  }

  // ---- blocking ----------------------------------------------------------------------------------------------------
  /** Interrupt shadow: {@link Shadow} bits. */
  get shadow(): number {
    return this.#shadow;
  }
  set shadow(v: number) {
    this.#shadow = v;
    this.debug.follow();
  }
  /** STI set IF from 0 (APM volume 3, STI): interrupts stay held for one instruction. */
  shadowSti(): void {
    this.#begin(Shadow.Sti);
  }
  /** MOV SS or POP SS (APM volume 3, MOV): interrupts and debug traps stay held for one instruction. */
  shadowMovSs(): void {
    this.#begin(Shadow.MovSs);
  }
  /** A second one in a row has none (Intel SDM volume 3, 7.8.3; KVM: `toggle_interruptibility`). */
  #begin(shadow: number): void {
    if (this.#shadow & shadow) return;
    this.debug.shadowSet();
    this.shadow = shadow;
  }
  #ruled(event: OuterEvent): boolean | undefined {
    for (const r of this.#rules) {
      const a = r.allowed?.(this.#m, event);
      if (a !== undefined) return a;
    }
    return undefined;
  }
  /** IF = 1, no shadow (KVM: `interrupt_allowed`). */
  interruptAllowed(): boolean {
    return this.#ruled('irq') ?? (this.#m.state.flag(FL.IF) && this.#shadow === 0);
  }
  /** Not blocked by an NMI under way, no shadow (KVM: `nmi_allowed`). */
  nmiAllowed(): boolean {
    return this.#ruled('nmi') ?? (!this.nmi.masked && this.#shadow === 0);
  }
  /** Not in SMM (KVM: `smi_allowed`; SVM holds SMIs in no shadow). */
  smiAllowed(): boolean {
    return this.#ruled('smi') ?? !this.smi.smm;
  }
  /** INIT and SIPI are not held back: not in SMM (KVM: `kvm_apic_init_sipi_allowed`). */
  initAllowed(): boolean {
    return this.#ruled('init') ?? !this.smi.smm;
  }
  /** kvm_event_needs_reinjection: an event is half delivered. */
  get reinjects(): boolean {
    return this.exception.injected || this.interrupt.injected || this.nmi.injected;
  }
  /** kvm_vcpu_ready_for_interrupt_injection: userspace may call KVM_INTERRUPT and it is taken at once. */
  readyForInterrupt(): boolean {
    return !this.reinjects && !this.exception.pending && this.interruptAllowed();
  }
  /** kvm_vcpu_has_events: something ends HLT. */
  wakes(): boolean {
    return (
      this.exception.pending ||
      this.reinjects ||
      this.tripleFault !== 'no' ||
      (this.nmi.pending > 0 && this.nmiAllowed()) ||
      (this.smi.pending && this.smiAllowed()) ||
      (this.source?.pending() === true && this.interruptAllowed())
    );
  }

  // ---- what comes from outside -------------------------------------------------------------------------------------
  /** An NMI: one runs, one waits; two wait when none runs (KVM: `process_nmi`). */
  queueNmi(count: number = 1): void {
    const limit = this.nmi.masked || this.nmi.injected ? 1 : 2;
    this.nmi.pending = Math.min(this.nmi.pending + count, limit);
    this.#m.attend();
  }
  /** An SMI; further ones merge with it. */
  queueSmi(): void {
    this.smi.pending = true;
    this.#m.attend();
  }
  /** KVM_INTERRUPT without an interrupt controller: taken at the next entry, whatever IF says (`kvm_queue_interrupt`). */
  queueInterrupt(vector: number): void {
    this.interrupt.injected = true;
    this.interrupt.soft = false;
    this.interrupt.vector = vector;
    this.#m.attend();
  }
  /**
   * KVM itself gives the guest an exception (`kvm_multiple_exception`): at the next entry, combined with one that waits
   * or is half delivered. `payload`: what CR2 (#PF) or DR6 (#DB) gets; it is written now.
   */
  queueException(
    vector: number,
    errorCode?: number,
    payload?: { readonly lo: number; readonly hi: number },
  ): void {
    const x = this.exception;
    const lo = payload?.lo ?? 0;
    const hi = payload?.hi ?? 0;
    if (this.#intercepted(vector, errorCode, lo, hi)) return;
    if (x.pending || x.injected) {
      const how = combine(x.vector, vector);
      if (how === 'shutdown') {
        this.requestShutdown('kvm');
        return;
      }
      if (how === 'double-fault') {
        x.pending = false;
        x.injected = false;
        this.queueException(Vector.DF, 0);
        return;
      }
    }
    x.pending = true;
    x.injected = false;
    x.vector = vector;
    x.hasErrorCode = errorCode !== undefined;
    x.errorCode = errorCode ?? 0;
    x.hasPayload = payload !== undefined;
    x.payloadLo = lo;
    x.payloadHi = hi;
    this.deliverPayload();
    this.#m.attend();
  }
  /** kvm_deliver_exception_payload: CR2 and DR6 get what the queued exception brought. */
  deliverPayload(): void {
    const x = this.exception;
    if (!x.hasPayload) return;
    this.#payload(x.vector, x.payloadLo, x.payloadHi);
    x.hasPayload = false;
    x.payloadLo = 0;
    x.payloadHi = 0;
  }
  #payload(vector: number, lo: number, hi: number): void {
    if (vector === Vector.PF) this.#m.state.setSys(SR.CR2, lo, hi);
    else if (vector === Vector.DB) this.debug.report(lo);
  }
  /** A triple fault: exit `shutdown` at the next {@link exit}, unless a plugin takes it. */
  requestShutdown(by: 'cpu' | 'kvm'): void {
    this.tripleFault = by;
    this.#m.attend();
  }
  /**
   * For the vCPU's `handle`, before anything else: the exit that events lead to. After a triple fault of an AMD CPU the
   * VMCB is undefined and KVM does INIT (svm.c, `shutdown_interception`); on Intel the state stays.
   */
  exit(): Exit | undefined {
    const by = this.tripleFault;
    if (by === 'no') return undefined;
    this.tripleFault = 'no';
    for (const r of this.#rules) if (r.shutdown?.(this.#m)) return undefined;
    if (by === 'cpu' && this.#m.model.vendor === 'AMD') this.#m.reset(true);
    return { kind: 'shutdown', vcpu: this.#m.id, ret: 0, why: 'triple fault' };
  }

  // ---- exceptions of the guest's instructions -------------------------------------------------------------------
  /**
   * The instruction at pc, or the delivery under way, raises an exception. `lo`/`hi`: the payload of #PF (linear
   * address) and #DB (DR6 bits). `errorCode` undefined: 0 for those that have one.
   */
  raise(vector: number, errorCode?: number, lo: number = 0, hi: number = 0): NextStep {
    if (this.#current) {
      const s = this.#second;
      s.raised = true;
      s.vector = vector;
      s.errorCode = errorCode ?? 0;
      s.lo = lo;
      s.hi = hi;
      return Next.Run;
    }
    const code = pushesErrorCode(vector) ? (errorCode ?? 0) : undefined;
    if (this.emulating) {
      this.queueException(
        vector,
        code,
        vector === Vector.PF || vector === Vector.DB ? { lo, hi } : undefined,
      );
      this.taken = 'event';
      return Next.Run;
    }
    if (this.#intercepted(vector, code, lo, hi)) return Next.Run;
    this.#payload(vector, lo, hi);
    return this.#deliver(this.#event(vector, 'exception', code, exceptionType(vector) === 'fault'));
  }
  /** #PF: CR2 and the exception. */
  pageFault(lo: number, hi: number, errorCode: number): NextStep {
    return this.raise(Vector.PF, errorCode, lo, hi);
  }
  /**
   * INT n, INT3, INTO (`software`) or INT1, `length` bytes long, at pc. INT3 and INTO count as exceptions #BP and #OF
   * (`exception`): they can be intercepted as such. Nothing is kept when stage 2 misses: the instruction runs again, as
   * KVM has it too for software events (kvm_exception_is_soft).
   */
  softwareInterrupt(
    vector: number,
    kind: 'software' | 'int1',
    length: number,
    exception: boolean = false,
  ): NextStep {
    if (exception && this.#intercepted(vector, undefined, 0, 0)) return Next.Run;
    return this.#deliver(this.#event(vector, kind, undefined, false, length));
  }
  #event(
    vector: number,
    kind: EventKind,
    errorCode: number | undefined,
    fault: boolean,
    length: number = 0,
  ): Delivery {
    return { vector, kind, errorCode, fault, length, payloadLo: 0, payloadHi: 0 };
  }
  #intercepted(vector: number, errorCode: number | undefined, lo: number, hi: number): boolean {
    if (this.#rules.length === 0) return false;
    const e: EventInfo = { vector, kind: 'exception', errorCode, payloadLo: lo, payloadHi: hi };
    for (const r of this.#rules)
      if (r.exception?.(this.#m, e, this.#current)) {
        this.taken = 'event';
        return true;
      }
    return false;
  }

  /** Delivers, and whatever comes of it: #DF, shutdown; or keeps it for the next entry. */
  #deliver(first: Delivery): NextStep {
    const s = this.#second;
    let d = first;
    for (;;) {
      this.#current = d;
      s.raised = false;
      const step = deliver(this.#m, d);
      if (step !== Next.Run) {
        // stage 2, a device, a task switch: the event waits half delivered (software ones are executed again)
        this.#current = undefined;
        this.vectoring = true;
        this.#keep(d);
        return step;
      }
      if (!s.raised) {
        this.#current = undefined;
        this.#drop(d);
        if (d.vector === Vector.DB && d.kind !== 'software') this.debug.clearGeneralDetect();
        this.taken = d.kind === 'software' ? 'software' : 'event';
        if (this.#m.vm.traced) traceEvent(this.#m, d);
        for (const r of this.#rules) r.delivered?.(this.#m, d);
        return Next.Run;
      }
      const code = pushesErrorCode(s.vector) ? s.errorCode : undefined;
      if (this.#intercepted(s.vector, code, s.lo, s.hi)) {
        this.#current = undefined;
        this.#drop(d);
        return Next.Run;
      }
      this.#payload(s.vector, s.lo, s.hi);
      const how = d.kind === 'exception' ? combine(d.vector, s.vector) : 'serial';
      this.#drop(d);
      if (how === 'shutdown') {
        this.#current = undefined;
        // set where a stage 2 miss made an event wait: the shut down CPU is the same with and without
        this.#m.state.other &= ~FL.RF;
        this.debug.follow();
        this.requestShutdown('cpu');
        return Next.Handle;
      }
      d =
        how === 'double-fault'
          ? // its image has the RF of the fault that it began with, which a stage 2 miss may have put into RFLAGS
            this.#event(Vector.DF, 'exception', 0, true)
          : this.#event(s.vector, 'exception', code, exceptionType(s.vector) === 'fault');
      if (how === 'double-fault' && this.#intercepted(Vector.DF, 0, 0, 0)) {
        this.#current = undefined;
        return Next.Run;
      }
    }
  }
  /** Keeps a half delivered event as KVM does (svm_complete_interrupts). */
  #keep(d: Delivery): void {
    if (d.kind === 'exception') {
      const x = this.exception;
      x.pending = false;
      x.injected = true;
      x.vector = d.vector;
      x.hasErrorCode = d.errorCode !== undefined;
      x.errorCode = d.errorCode ?? 0;
      x.hasPayload = false;
      // the RF to be pushed stands in RFLAGS from now on, as the exit saved it
      if (d.fault) this.#resume();
    } else if (d.kind === 'interrupt') {
      this.interrupt.injected = true;
      this.interrupt.vector = d.vector;
      this.interrupt.soft = false;
    } else if (d.kind === 'nmi') this.nmi.injected = true;
  }
  /** RF = 1. */
  #resume(): void {
    this.#m.state.other |= FL.RF;
    this.debug.follow();
  }
  #drop(d: Delivery): void {
    if (d.kind === 'exception') {
      const x = this.exception;
      x.injected = false;
      // what is left says the same whether a stage 2 miss made it wait here or not
      x.vector = d.vector;
      x.hasErrorCode = d.errorCode !== undefined;
      x.errorCode = d.errorCode ?? 0;
    } else if (d.kind === 'interrupt' || d.kind === 'software') this.interrupt.injected = false;
    else if (d.kind === 'nmi') this.nmi.injected = false;
  }

  // ---- before the next instruction ---------------------------------------------------------------------------------
  /**
   * Delivers what is due (KVM: `kvm_check_and_inject_events`): what was injected before, then an exception, SMI, NMI,
   * IRQ. Several may be delivered in a row: the last delivered handler runs first, as on hardware where each waits for
   * an instruction boundary that the handler's first instruction has not passed.
   */
  inject(): NextStep {
    this.vectoring = false;
    if (this.tripleFault !== 'no') return Next.Handle;
    let held = false;
    for (const r of this.#rules) {
      const a = r.check?.(this.#m);
      if (a === undefined) continue;
      if (a !== 'hold') return a;
      held = true;
    }
    const x = this.exception;
    if (x.injected) return this.#deliver(this.#queued());
    if (this.nmi.injected && !x.pending)
      return this.#deliver(this.#event(Vector.NMI, 'nmi', undefined, false));
    if (this.interrupt.injected && !x.pending) {
      const { vector, soft } = this.interrupt;
      return this.#deliver(this.#event(vector, soft ? 'software' : 'interrupt', undefined, false));
    }
    if (held) return Next.Run;
    if (x.pending) return this.#injectException();
    if (this.debug.blocksInterrupts) return Next.Run;
    return this.#injectOuter();
  }
  #injectException(): NextStep {
    const x = this.exception;
    this.deliverPayload();
    x.pending = false;
    x.injected = true;
    if (exceptionType(x.vector) === 'fault') this.#resume();
    return this.#deliver(this.#queued());
  }
  #queued(): Delivery {
    const x = this.exception;
    return this.#event(x.vector, 'exception', x.hasErrorCode ? x.errorCode : undefined, false);
  }
  #injectOuter(): NextStep {
    if (this.smi.pending && this.smiAllowed()) {
      this.smi.pending = false;
      return enterSmm(this.#m);
    }
    if (this.nmi.pending > 0 && this.nmiAllowed()) {
      this.nmi.pending--;
      this.nmi.injected = true;
      return this.#deliver(this.#event(Vector.NMI, 'nmi', undefined, false));
    }
    if (this.source?.pending() && this.interruptAllowed()) {
      const vector = this.source.acknowledge();
      if (vector >= 0) {
        this.queueInterrupt(vector);
        return this.#deliver(this.#event(vector, 'interrupt', undefined, false));
      }
    }
    if (this.windowRequested && !this.source && this.readyForInterrupt())
      return this.#m.later({ kind: 'irq-window-open', vcpu: this.#m.id, ret: 0 });
    return Next.Run;
  }

  // ---- for cells ---------------------------------------------------------------------------------------------------
  /** All state as plain data. */
  save(): Plain {
    return {
      exception: { ...this.exception },
      interrupt: { ...this.interrupt },
      nmi: { ...this.nmi },
      smi: { ...this.smi },
      shadow: this.#shadow,
      tripleFault: this.tripleFault,
      debug: this.debug.save(),
    };
  }
  /** Takes what {@link save} gave. */
  restore(v: Plain): void {
    const s = v as unknown as SavedEvents;
    Object.assign(this.exception, s.exception);
    Object.assign(this.interrupt, s.interrupt);
    Object.assign(this.nmi, s.nmi);
    Object.assign(this.smi, s.smi);
    this.#shadow = s.shadow;
    this.tripleFault = s.tripleFault;
    this.debug.restore(s.debug);
    this.#m.smmChanged();
    this.#m.attend();
  }
  /** RESET and INIT: nothing waits, SMM is left (KVM: `kvm_vcpu_reset`; it holds an INIT back while in SMM). */
  reset(): void {
    const x = this.exception;
    x.pending = false;
    x.injected = false;
    this.interrupt.injected = false;
    this.nmi.pending = 0;
    this.nmi.injected = false;
    this.nmi.masked = false;
    this.smi.pending = false;
    this.smi.insideNmi = false;
    if (this.smi.smm) {
      this.smi.smm = false;
      this.#m.smmChanged();
    }
    this.#shadow = 0;
    this.tripleFault = 'no';
    this.debug.reset();
  }
}

interface SavedEvents {
  readonly exception: ExceptionState;
  readonly interrupt: Events['interrupt'];
  readonly nmi: Events['nmi'];
  readonly smi: Events['smi'];
  readonly shadow: number;
  readonly tripleFault: Events['tripleFault'];
  readonly debug: Plain;
}
