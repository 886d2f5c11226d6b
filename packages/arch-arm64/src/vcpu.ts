/** An arm64 vCPU: the run loop around generated code, interrupts, power, and what the rest of the package hangs on. */
import {
  type ArchVcpu,
  type Cell,
  type Exit,
  PAGE_SIZE,
  Stop,
  type StopReason,
  type Task,
  type Vcpu,
  type Vm,
  type Walk,
} from '@faultyard/core';
import { Access, type Cpu, Leave } from '@faultyard/engine';
import { vcpuCells } from './cells.ts';
import { PendingEvents } from './events/events.ts';
import {
  EC,
  type ExceptionContext,
  enterException,
  stepping,
  takeAbort,
  takeSync,
  VECTOR,
} from './events/exceptions.ts';
import { ISS, injectSea, takeExternalAbort } from './events/inject.ts';
import { Presented, type PresentedAbort } from './events/presented.ts';
import { IDS, SErrors } from './events/serror.ts';
import { GuardWord, type PluginGuards } from './guard-bits.ts';
import { CONTEXT_EL0, CONTEXT_EL1 } from './isa/contexts.ts';
import type { A64Isa } from './isa/isa.ts';
import { MODE_NORMAL, MODE_STRICT } from './isa/strict.ts';
import type { Table } from './isa/table.ts';
import { AccessClass } from './memory/access-class.ts';
import { type Probe, probe } from './memory/at.ts';
import { completeDevice, loadSyndromes, STORE } from './memory/completion.ts';
import { guestAbort, writes } from './memory/fault.ts';
import { observe, observerReader } from './memory/observer.ts';
import { Arm64Port, Cause } from './memory/port.ts';
import { SavedFault } from './memory/saved-fault.ts';
import type { Stage2Tables } from './memory/stage2-tables.ts';
import { Tlb } from './memory/tlb.ts';
import { WalkEnd, type WalkResult, walkResult } from './memory/walk.ts';
import type { Model } from './model.ts';
import { Next, type NextStep } from './next.ts';
import { externalAbort, type FaultInfo, type FaultPort, type KvmRules } from './points.ts';
import { RegisterNames } from './registers.ts';
import { reset } from './reset.ts';
import { guard, intercepted, slow } from './slow.ts';
import { Arm64State, high, join, low, type Pair, PS, placesOf, SR } from './state.ts';
import type { SystemRegisters } from './sysregs/system-registers.ts';
import { type PsciPort, smccc } from './system/psci.ts';
import { Timer } from './timer.ts';
import { traceEntry, traceException, traceExit } from './tracing.ts';

/** What a vCPU is made of; see `plugin.ts`. */
export interface VcpuParts {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly model: Model;
  readonly rules: KvmRules;
  readonly sysregs: SystemRegisters;
  readonly isa: A64Isa;
  readonly table: Table;
  /** Guard bits that plugins claimed. */
  readonly guards: PluginGuards;
  readonly tables: Stage2Tables;
  /** Puts the vCPU on the engine. */
  readonly cpu: (port: Arm64Port) => Cpu;
  /** Whether KVM_ARM_VCPU_INIT is done for the user, and whether secondaries start powered off. */
  readonly init: boolean;
  readonly secondaries: 'on' | 'off';
}

/** The arm64 vCPU. Fault plugins use it as a {@link FaultPort}. */
export class Arm64Vcpu implements ArchVcpu, ExceptionContext, FaultPort, PsciPort {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly id: number;
  readonly model: Model;
  readonly rules: KvmRules;
  readonly isa: A64Isa;
  readonly sysregs: SystemRegisters;
  /** {@link isa}'s table with the names of this VM's system registers. */
  readonly table: Table;
  readonly cpu: Cpu;
  readonly port: Arm64Port;
  readonly state: Arm64State;
  readonly tlb: Tlb = new Tlb();
  readonly timer: Timer;
  readonly serrors: SErrors;
  readonly cells: readonly Cell[];
  readonly #names: RegisterNames;
  readonly #loadSyndrome: (word: number) => number;
  readonly guards: GuardWord;
  /** Scratch pair of slow operations. */
  readonly pair: Pair = { lo: 0, hi: 0 };
  readonly #i32: Int32Array;

  // ---- state beyond registers (see cells.ts) -------------------------------------------------------------------
  power: 'on' | 'off' = 'on';
  /** KVM_ARM_VCPU_INIT was done. */
  initialised = false;
  /** In WFI. */
  waiting = false;
  /** The event register of WFE. */
  eventRegister = false;
  /** The CPU's own interrupt lines (KVM_IRQ_LINE, type CPU). */
  irqLine = false;
  fiqLine = false;
  /** Events set but not built yet, where KVM waits for the next KVM_RUN. */
  readonly pendingEvents: PendingEvents = new PendingEvents(this);
  /** An abort that a lab makes the next instruction meet. */
  readonly presented: Presented = new Presented();
  /** Makes the next instruction meet an abort with a report of its own. */
  presentAbort(a: PresentedAbort): void {
    this.presented.present(a);
  }
  /** Software step: 1 = an instruction was stepped, 2 = a load-exclusive; the step exception is next. */
  stepped: 0 | 1 | 2 = 0;
  /** ESR_EL2 of the last trapped call. */
  trappedEsr = 0;
  /** Syndrome of the pending device access, see `completion.ts`. */
  completion: number = STORE;

  // ---- derived ---------------------------------------------------------------------------------------------------
  retired = 0;
  /** Instructions done outside {@link enter}, to be counted by the next one. */
  debt = 0;
  #request: 'abort' | 'smccc' | 'intercept' = 'abort';
  #guard = 0;
  #yield = false;
  /** In {@link enter}: what it has retired is not in the vCPU's time yet. */
  #inside = false;
  #attention = true;
  /** IL, misaligned pc or stepping: look before each instruction. */
  #special = false;
  /** The abort handled last was served by mapping a page, which is derived state and costs nothing. */
  mapped = false;
  #pan = -1;
  context: number = CONTEXT_EL1;
  readonly #saved: SavedFault = new SavedFault();

  constructor(p: VcpuParts) {
    this.vm = p.vm;
    this.core = p.core;
    this.id = p.core.id;
    this.model = p.model;
    this.rules = p.rules;
    this.isa = p.isa;
    this.sysregs = p.sysregs;
    this.table = p.table;
    this.#loadSyndrome = loadSyndromes(p.isa.facts);
    this.#i32 = p.vm.host.i32;
    // the engine wants the port, the port wants the state, the state lies in the engine's block
    const parts = {
      model: p.model,
      tlb: this.tlb,
      stage2: p.vm.stage2,
      tables: p.tables,
      bus: p.vm.bus,
      cacheable: (frame: number, write: boolean) => p.vm.host.cacheable(frame, write),
      delivery: p.rules.delivery,
      vcpu: this.id,
      device: p.core.device,
      elementAlign: () => this.isa.facts(this.instructionWord())?.align ?? 1,
    };
    this.port = new Arm64Port(parts, p.vm.host.i32);
    this.cpu = p.cpu(this.port);
    this.guards = new GuardWord(p.vm.host.i32, this.cpu.guardAddr >>> 2, p.guards);
    this.state = new Arm64State(placesOf(this.cpu, p.vm.host.i32, p.sysregs.stored.length));
    this.port.attach(this.state);
    this.tlb.onEvict = (lo, hi) => this.cpu.dropPage(lo, hi);
    this.tlb.onFlush = () => this.cpu.flush();
    this.timer = new Timer(
      this.state,
      p.model.frequency,
      () => this.core.now + (this.#inside ? this.retired * this.vm.clock.nsPerInstruction : 0),
      () => {
        this.#yield = true;
        this.#attention = true;
      },
    );
    this.serrors = new SErrors(this, p.rules);
    this.#names = new RegisterNames(this);
    this.cells = vcpuCells(this);
    if (p.init) this.init(this.id === 0 || p.secondaries === 'on');
  }

  // ---- reset and power -------------------------------------------------------------------------------------------

  /** KVM_ARM_VCPU_INIT: every register to its reset value. */
  init(on: boolean): void {
    reset(this);
    this.initialised = true;
    this.power = on ? 'on' : 'off';
    this.modeChanged();
    this.translationChanged();
  }
  /** Affinity fields of MPIDR_EL1 as PSCI gives them. */
  get affinity(): number {
    return this.state.lo(SR.MPIDR_EL1) & 0x00ff_ffff;
  }
  /** The vCPUs of this VM, itself among them. */
  get siblings(): readonly Arm64Vcpu[] {
    return this.vm.vcpus.map((v) => v.arch as Arm64Vcpu);
  }
  suspend(): void {
    if (!this.wakes()) this.waiting = true;
  }
  powerOff(): void {
    this.power = 'off';
    this.waiting = false;
  }
  powerOn(pcLo: number, pcHi: number, contextLo: number, contextHi: number): void {
    this.init(true);
    this.state.setPc(pcLo, pcHi);
    this.state.setX(0, contextLo, contextHi);
    this.modeChanged();
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  prepare(): Exit | undefined {
    if (!this.initialised) return { kind: 'run-error', vcpu: this.id, ret: -1, errno: 'ENOEXEC' };
    this.pendingEvents.build();
    if (this.waiting && this.wakes()) this.waiting = false;
    this.#attention = true;
    return undefined;
  }

  enter(slice: number): StopReason {
    this.retired = Math.min(this.debt, slice);
    this.debt -= this.retired;
    if (this.retired === slice) return Stop.Slice;
    if (this.power === 'off' || this.waiting) return Stop.Wait;
    if (this.presented.waits) return Stop.Handle;
    const { traced } = this.vm;
    if (traced) traceEntry(this);
    this.#inside = true;
    const stop = this.#run(slice);
    this.#inside = false;
    if (traced) traceExit(this, stop);
    return stop;
  }
  #run(slice: number): StopReason {
    const cpu = this.cpu;
    this.#lookAhead();
    while (this.retired < slice) {
      if (this.#attention) {
        this.#attention = false;
        this.#deliver();
      }
      const left = slice - this.retired;
      const leave = this.#special ? this.#carefully() : cpu.run(left);
      if (leave < 0) continue;
      this.retired += cpu.retired;
      if (leave === Leave.Budget) {
        if (this.#special) continue;
        return Stop.Slice;
      }
      let next: NextStep;
      if (leave === Leave.Fault) next = this.faulted();
      else {
        this.retired++;
        next = leave === Leave.Slow ? slow(this, cpu.slowOp) : guard(this, cpu.slowOp);
        if (next === Next.Handle) this.retired--;
      }
      if (next === Next.Run) continue;
      if (next === Next.Device) {
        this.rememberCompletion();
        return Stop.Device;
      }
      if (next === Next.Handle) return Stop.Handle;
      return next === Next.Wait ? Stop.Wait : Stop.Slice;
    }
    return Stop.Slice;
  }

  /** What must be looked at before the next instruction: illegal state, a misaligned pc, software step. */
  #lookAhead(): void {
    const s = this.state;
    this.#special = (s.ps & PS.IL) !== 0 || (s.pcLo & 3) !== 0 || stepping(s, s.ps);
  }
  /** One instruction, or the exception that comes before it; -1 when an exception was taken. */
  #carefully(): number {
    const s = this.state;
    if (stepping(s, s.ps) && (s.ps & PS.SS) === 0) {
      // ISV: an instruction was stepped; EX: it was a load-exclusive
      const iss = this.stepped ? (1 << 24) | (this.stepped === 2 ? 1 << 6 : 0) : 0;
      takeSync(this, s.el === 0 ? EC.StepLower : EC.Step, iss | 0x22);
    } else if (s.pcLo & 3) this.pcAlignmentFault();
    else if (s.ps & PS.IL) takeSync(this, EC.IllegalState, 0);
    else {
      const stepped = (this.instructionWord() & 0x3f40_0000) === 0x0840_0000 ? 2 : 1;
      const leave = this.cpu.run(1);
      // what did not finish is not stepped: it starts again, or its exception returns to before it
      if (leave !== Leave.Fault) this.stepped = stepped;
      if (leave === Leave.Budget) s.ps &= ~PS.SS;
      this.#lookAhead();
      return leave;
    }
    this.retired++;
    return -1;
  }
  /** Takes the exception for a misaligned pc. */
  pcAlignmentFault(): void {
    const s = this.state;
    s.put(SR.FAR_EL1, s.pcLo, s.pcHi);
    takeSync(this, EC.PcAlignment, 0);
  }

  /** An access could not be served: the guest's own fault is taken at once, all else needs {@link handle}. */
  faulted(): NextStep {
    const f = this.port.fault;
    if (f.cause === Cause.Device) return Next.Device;
    if (f.cause === Cause.TaggedPc) {
      const hi = this.state.pcHi;
      this.state.setPc(this.state.pcLo, ((hi << 8) >> 8) | 0);
      return Next.Run;
    }
    if (f.cause !== Cause.Stage1) {
      this.#request = 'abort';
      return Next.Handle;
    }
    const fetch = f.kind === Access.Exec;
    let iss = f.fsc;
    if (!fetch) {
      if (f.cls & AccessClass.Cm) iss |= ISS.CM;
      if (writes(f) || this.#atomicWrites()) iss |= ISS.WnR;
    }
    const zva = f.cls & AccessClass.Zva ? this.isa.facts(this.instructionWord())?.far : undefined;
    const farLo = zva === undefined ? f.lo : this.state.xLo(zva);
    const farHi = zva === undefined ? f.hi : this.state.xHi(zva);
    takeAbort(this, { fetch, iss, farLo, farHi, external: false });
    this.retired++;
    return Next.Run;
  }
  /** An atomic reports WnR = 0 if a read would have faulted as well: only a missing write permission sets it. */
  #atomicWrites(): boolean {
    const f = this.port.fault;
    if (f.kind !== Access.ReadWrite || (f.fsc & 0x3c) !== 0x0c) return false;
    return this.port.readable(f);
  }

  *handle(): Task<Exit | undefined> {
    const made = this.presented.take();
    if (made) return yield* this.vm.ask(externalAbort)({ vcpu: this, ...made });
    if (this.#request === 'smccc') {
      this.#request = 'abort';
      this.debt++;
      return smccc(this);
    }
    if (this.#request === 'intercept') {
      this.#request = 'abort';
      return intercepted(this, this.#guard);
    }
    const owed = this.debt;
    this.mapped = false;
    const exit = yield* guestAbort(this);
    // whatever stage 2 could not map costs one, or a guest that repeats it for ever would use up no budget
    if (!this.mapped && this.debt === owed) this.debt++;
    return exit;
  }
  /** What the next {@link handle} does; for `intercept` the guard's number. */
  request(what: 'smccc' | 'intercept', guard: number = 0): void {
    this.#request = what;
    this.#guard = guard;
  }
  setGuard(bit: number, on: boolean): void {
    this.guards.set(bit, on);
  }
  guarded(bit: number): boolean {
    return this.guards.has(bit);
  }
  /** An AT or table walk that could not read a descriptor: recorded as the instruction's own abort. */
  walkFault(lo: number, hi: number, r: WalkResult, external: boolean): void {
    this.port.recordWalk(lo, hi, this.context, r, external);
    this.#request = 'abort';
  }
  /** Instructions done outside {@link enter}. */
  owe(n: number): void {
    this.debt += n;
  }

  // ---- device accesses ---------------------------------------------------------------------------------------------

  /** Keeps the syndrome of the device access that is about to leave (KVM: vcpu->arch.fault of the exit). */
  rememberCompletion(): void {
    if (this.port.fault.cause === Cause.Device) this.#saved.device(this.port.fault);
    this.completion = this.core.device.write ? STORE : this.#loadSyndrome(this.instructionWord());
  }
  complete(): undefined {
    completeDevice(this.state, this.core.device, this.completion);
    this.completion = STORE;
    this.debt++;
  }

  // ---- interrupts --------------------------------------------------------------------------------------------------

  /** IRQ as the CPU sees it: its line, and without an interrupt controller the timers. */
  get #irq(): boolean {
    return this.irqLine || this.timer.line(false) || this.timer.line(true);
  }
  isr(): number {
    return (this.serrors.pending ? PS.A : 0) | (this.#irq ? PS.I : 0) | (this.fiqLine ? PS.F : 0);
  }
  /** Whether something pending ends WFI, masked or not. */
  wakes(): boolean {
    return this.isr() !== 0;
  }
  runnable(): boolean {
    return this.power === 'on' && (!this.waiting || this.wakes());
  }
  deadline(): number {
    return this.power === 'on' ? this.timer.deadline() : Infinity;
  }
  /** Takes what is pending and not masked: SError, then FIQ, then IRQ. */
  #deliver(): void {
    if (this.serrors.deliver()) return;
    const open = this.isr() & ~this.state.ps;
    if (open & PS.F) enterException(this, VECTOR.Fiq);
    else if (open & PS.I) enterException(this, VECTOR.Irq);
  }
  /** Whether the slice should end here; asks once. */
  takeYield(): boolean {
    const y = this.#yield;
    this.#yield = false;
    return y;
  }

  // ---- what follows a change of state ------------------------------------------------------------------------------

  translationChanged(): void {
    const sctlr = this.state.lo(SR.SCTLR_EL1);
    this.port.strict = (sctlr & 1) === 0 || (sctlr & 2) !== 0;
    this.cpu.setMode(this.port.strict ? MODE_STRICT : MODE_NORMAL);
    this.cpu.flush();
  }
  privilegeChanged(): void {
    this.#followPan();
    this.cpu.flush(2);
  }
  guardsChanged(): void {
    this.guards.follow(this);
  }
  interruptsChanged(): void {
    this.#attention = true;
  }
  stepChanged(): void {
    this.#lookAhead();
  }
  modeChanged(): void {
    this.stepped = 0;
    const context = this.state.el === 0 ? CONTEXT_EL0 : CONTEXT_EL1;
    if (context !== this.context) {
      this.context = context;
      this.cpu.setContext(context);
    }
    this.#followPan();
    this.guardsChanged();
    this.#attention = true;
    this.#lookAhead();
  }
  /** EL1's fast translations were made under one value of PAN. */
  #followPan(): void {
    if (this.state.el === 0) return;
    const pan = this.state.ps & PS.PAN;
    if (pan === this.#pan) return;
    this.#pan = pan;
    this.cpu.flush(CONTEXT_EL1);
  }
  clearExclusive(): void {
    this.#i32[this.cpu.stateAddr('exclusiveSize') >>> 2] = 0;
  }
  entered(offset: number): void {
    if (this.vm.traced) traceException(this, offset);
  }
  errorSynchronization(): void {
    this.serrors.synchronize();
  }
  flush(): void {
    this.cpu.setContext(this.context);
    this.cpu.flush();
  }
  zapped(_gfn: number, _count: number, pfn: number): void {
    if (pfn > 0) this.cpu.dropFrame(pfn * PAGE_SIZE);
    else this.cpu.flush();
  }
  /** After restore: everything derived follows the state. */
  restored(): void {
    this.#pan = -1;
    this.context = -1;
    this.modeChanged();
    this.translationChanged();
  }

  // ---- fault plugins (FaultPort) -----------------------------------------------------------------------------------

  /** What KVM saved of the last abort at EL2. */
  get fault(): FaultInfo {
    return this.#saved.info;
  }
  set fault(f: FaultInfo) {
    this.#saved.info = f;
  }
  get hasRas(): boolean {
    return this.model.ras > 0;
  }
  takeExternalAbort(esr: number, far: bigint): void {
    takeExternalAbort(this, esr, far);
    this.debt++;
  }
  *translateEl1Read(va: bigint): Task<bigint | undefined> {
    const result = walkResult();
    for (;;) {
      const end = probe(this.probe, low(va), high(va), false, false, false, result);
      if (end === WalkEnd.Done) return BigInt(result.pa);
      if (end !== WalkEnd.Stage2) return undefined;
      // stage 2 may have lost the table's mapping at any time: that is no failure
      const gpa = result.table;
      const out = yield* this.vm.stage2.fault({ gpa, write: false, exec: false, origin: 'walk' });
      if (out.kind !== 'mapped' && out.kind !== 'retry') return undefined;
    }
  }
  injectSError(iss: number = IDS): void {
    if (!this.serrors.inject(iss)) return;
    this.core.cancelDevice();
    this.completion = STORE;
    this.debt++;
  }
  injectSea(iabt: boolean, far: bigint): boolean {
    const { rules, fault, model } = this;
    const done = injectSea(this, rules, fault, observerReader(this.vm), model.paBits, iabt, far);
    if (done) {
      // an injected abort cancels a pending MMIO completion: PC must not be stepped past
      this.core.cancelDevice();
      this.completion = STORE;
      this.debt++;
    }
    return done;
  }

  // ---- registers and observers -------------------------------------------------------------------------------------

  /** Translation for AT and observers. */
  get probe(): Probe {
    return { state: this.state, paBits: this.model.paBits, reader: this.port };
  }
  /** Low half of argument `n` (0..3) of the slow operation under way. */
  slowLo(n: number): number {
    return this.#i32[(this.cpu.slowArgs >>> 2) + 2 * n] as number;
  }
  /** High half of it. */
  slowHi(n: number): number {
    return this.#i32[(this.cpu.slowArgs >>> 2) + 2 * n + 1] as number;
  }
  /** The instruction at pc; 0 if it cannot be read. */
  instructionWord(): number {
    const at = this.cpu.codeAt();
    return at < 0 ? this.port.fetchWord(this.state.pcLo, this.state.pcHi) : (this.#i32[at >>> 2] as number);
  }
  get pc(): bigint {
    return join(this.state.pcLo, this.state.pcHi);
  }
  set pc(v: bigint) {
    this.state.setPc(low(v), high(v));
  }
  /** What `registers` of core's `ArchVcpu` lists: names, groups, widths in bits, fields. */
  get registers(): RegisterNames['infos'] {
    return this.#names.infos;
  }
  read(name: string): bigint | undefined {
    return this.#names.read(name);
  }
  write(name: string, value: bigint): boolean {
    return this.#names.write(name, value);
  }
  /** Name of a ONE_REG id; `undefined`: ENOENT. */
  oneReg(id: bigint): string | undefined {
    return this.#names.oneReg(id);
  }
  walk(gva: bigint, access: 'read' | 'write' | 'exec'): Walk {
    return observe(this, gva, access);
  }
  disassemble(
    gva: bigint,
    count: number,
  ): readonly { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[] {
    return this.#names.disassemble(gva, count);
  }
  /** Gives the vCPU's block in host memory back. */
  dispose(): void {
    this.cpu.dispose();
  }
}
