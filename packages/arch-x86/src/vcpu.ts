/** An x86 vCPU: the run loop around generated code, events, and what the rest of the package hangs on. */
import {
  type ArchVcpu,
  type Cell,
  drive,
  type Exit,
  PAGE_SIZE,
  type Point,
  type RegisterInfo,
  Stop,
  type StopReason,
  type Task,
  type Vcpu,
  type Vm,
  type Walk,
} from '@faultyard/core';
import { Access, type Cpu, Leave } from '@faultyard/engine';
import type { Instruction } from 'iced-x86';
import { disassemble } from './asm/disassemble.ts';
import { vcpuCells } from './cells.ts';
import { CodeReader } from './code-reader.ts';
import { Cpuid, type CpuidTable } from './cpuid/cpuid.ts';
import type { DeviceAccesses } from './emulator/accesses.ts';
import { copyFrom, copyTo, type Emulated, Emulator, type OnceResult } from './emulator/emulator.ts';
import { giveUp } from './emulator/give-up.ts';
import { executeOnce } from './emulator/once.ts';
import { leavesSimply, servesOutside } from './emulator/plain-moves.ts';
import { PortAccess } from './emulator/ports.ts';
import { completeLoad } from './emulator/simple.ts';
import { Events, type InterruptSource } from './events/events.ts';
import { fillRunPage, takeRunPage } from './events/exits.ts';
import { events as eventRules } from './events/points.ts';
import { GuardWord, type PluginGuards } from './guard-bits.ts';
import { Intercepts } from './intercepts.ts';
import type { LocalApic } from './irqchip/local-apic.ts';
import { acceptStartup } from './irqchip/placing.ts';
import { MAX_INSTRUCTION } from './isa/decode.ts';
import { FL } from './isa/flags.ts';
import type { X86Isa } from './isa/isa.ts';
import { CTX_SUPERVISOR, CTX_SUPERVISOR_AC, CTX_USER } from './isa/layout.ts';
import { type AccessFault, Cause } from './memory/access-fault.ts';
import { type FaultVcpu, guestFault, hostFault, type Outcome, serve } from './memory/fault.ts';
import type { LinearMemory } from './memory/linear.ts';
import { X86LinearMemory } from './memory/linear-memory.ts';
import { observe, observeCode } from './memory/observer.ts';
import { type MemoryRules, memoryRules } from './memory/points.ts';
import { X86Port } from './memory/port.ts';
import { Tlb } from './memory/tlb.ts';
import { type WalkGround, walk } from './memory/walks.ts';
import type { Model } from './model.ts';
import type { MsrFilter } from './msr/filter.ts';
import { completeMsr } from './msr/instructions.ts';
import { Msrs, type MsrTable } from './msr/msrs.ts';
import { Next, type NextStep, STOPS } from './next.ts';
import { type InterceptName, intercept, type Work } from './points.ts';
import { RegisterNames } from './registers.ts';
import { guard, slow } from './slow.ts';
import { CR0, high, join, low, type Pair, SR, X86State } from './state.ts';
import { reset as resetPoint } from './system/points.ts';
import { traceEntry, traceExit, traceFault } from './tracing.ts';
import { Tsc } from './tsc.ts';
import { X87State } from './x87.ts';

/** What a vCPU is made of; see `plugin.ts`. */
export interface VcpuParts {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly model: Model;
  readonly isa: X86Isa;
  readonly cpuid: CpuidTable;
  readonly msrs: MsrTable;
  readonly filter: MsrFilter;
  /** What plugins' instructions do, by slow operation from `Slow.Plugin` on. */
  readonly operations: readonly ((v: X86Vcpu, i: Instruction) => NextStep)[];
  readonly guards: PluginGuards;
  /** Puts the vCPU on the engine. */
  readonly cpu: (port: X86Port) => Cpu;
}

/** The x86 vCPU. */
export class X86Vcpu implements ArchVcpu, FaultVcpu, Emulated {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly id: number;
  readonly isa: X86Isa;
  readonly cpu: Cpu;
  readonly port: X86Port;
  readonly state: X86State;
  readonly x87: X87State;
  readonly tlb: Tlb = new Tlb();
  readonly events: Events;
  readonly memory: LinearMemory;
  readonly cpuid: Cpuid;
  readonly msrs: Msrs;
  readonly tsc: Tsc;
  readonly guards: GuardWord;
  readonly code: CodeReader = new CodeReader(this, () => this.#mode);
  readonly emulator: Emulator;
  readonly ports: PortAccess = new PortAccess(this);
  readonly memoryRules: MemoryRules;
  /** What plugins want to see of this vCPU. */
  readonly intercepts: Intercepts = new Intercepts(() => this.guards.follow(this.state, this.intercepts));
  readonly cells: readonly Cell[];
  readonly #model: Model;
  readonly #operations: VcpuParts['operations'];
  readonly #names: RegisterNames;
  readonly #i32: Int32Array;

  // ---- state beyond registers (see cells.ts) -------------------------------------------------------------------
  /** In HLT, with an interrupt controller in the kernel. */
  waiting = false;
  /** Microcode revision, MSR 8Bh. */
  readonly microcode: Pair = { lo: 0, hi: 0 };
  /** KVM_MP_STATE_*: RUNNABLE, or HALTED and the states before SIPI with an interrupt controller in the kernel. */
  mpState = 0;
  /** An MSR access waits for userspace (KVM_EXIT_X86_RDMSR, WRMSR). */
  msrExit: 'none' | 'read' | 'write' = 'none';
  msrLength = 0;

  /** The local APIC, with interrupt controllers in the kernel. */
  apic: LocalApic | undefined = undefined;

  // ---- derived ---------------------------------------------------------------------------------------------------
  retired = 0;
  /** Instructions done outside {@link enter}, to be counted by the next one. */
  debt = 0;
  /** The access handled last was served by mapping a page, which is derived state and costs nothing. */
  mapped = false;
  /** What becomes of an access that the page tables of a nested guest's host do not allow; set by who runs one. */
  onNestedFault: ((f: Readonly<AccessFault>) => Task<Exit | undefined>) | undefined = undefined;
  #work: Work | undefined;
  #attention = true;
  /** A deadline changed: core is to cut the slice anew. */
  #recut = false;
  /** In {@link enter}: what it has retired is not in the vCPU's time yet. */
  #inside = false;
  #context = -1;
  #disposed = false;
  #mode = -1;
  #alignment = false;
  /** Page behind the end of CS: it must not run by a translation of another CS. */
  #behind = -1;

  constructor(p: VcpuParts) {
    this.vm = p.vm;
    this.core = p.core;
    this.id = p.core.id;
    this.isa = p.isa;
    this.#model = p.model;
    this.#operations = p.operations;
    this.memoryRules = p.vm.ask(memoryRules as Point<void, MemoryRules>)(undefined);
    const { host, stage2, bus } = p.vm;
    this.#i32 = host.i32;
    // the engine wants the port, the port wants the state, the state lies in the engine's block
    this.port = new X86Port({
      model: p.model,
      tlb: this.tlb,
      stage2,
      bus,
      host,
      vcpu: this.id,
      device: p.core.device,
      poison: this.memoryRules.poison,
      walksWrite: this.memoryRules.walksWrite,
      lengthAt: (at, avail) => this.code.lengthAt(at, avail),
      copyFrom: (pa, size, out) => copyFrom(p.vm, pa, size, out),
      copyTo: (pa, size, lo, hi) => copyTo(p.vm, pa, size, lo, hi),
    });
    this.cpu = p.cpu(this.port);
    this.state = new X86State(this.cpu, host.i32);
    this.port.attach(this.state);
    this.x87 = new X87State(this.cpu, host.u8.buffer);
    this.emulator = new Emulator(this);
    this.guards = new GuardWord(host.i32, this.cpu.guardAddr >>> 2, p.guards);
    this.tlb.onEvict = (lo, hi) => this.cpu.dropPage(lo, hi);
    this.tlb.onFlush = () => this.cpu.flush();
    this.cpuid = new Cpuid(this, p.cpuid);
    this.cpuid.setDefaults();
    this.msrs = new Msrs(this, p.msrs, p.filter);
    this.tsc = new Tsc(this, this.state, p.model.tscKhz);
    this.events = new Events(this, p.vm.ask(eventRules)(undefined));
    this.port.watch = this.events.debug;
    this.memory = new X86LinearMemory(this.port, this.state, host);
    this.#names = new RegisterNames(this);
    this.cells = vcpuCells(this);
    // KVM's defaults (x86.c, kvm_arch_vcpu_create; svm.c and vmx.c)
    if (p.model.vendor === 'AMD') this.microcode.lo = 0x0100_0065;
    else this.microcode.hi = 1;
    this.reset(false);
  }

  /** The VM's CPU model; what this vCPU shows its guest is {@link cpuid}. */
  get model(): Model {
    return this.#model;
  }

  // ---- reset -------------------------------------------------------------------------------------------------------

  reset(init: boolean): void {
    this.vm.ask(resetPoint)({ vcpu: this, kind: init ? 'init' : 'power-up' });
    this.modeChanged();
    this.translationChanged();
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  fillRunPage(page: DataView): void {
    fillRunPage(this, page);
  }
  takeRunPage(page: DataView, shown: boolean): Exit | undefined {
    return takeRunPage(this, page, shown);
  }
  prepare(): Exit | undefined {
    const { apic } = this;
    if (apic) {
      if (apic.pendingInit || apic.pendingSipi) acceptStartup(this);
      apic.timer.expire();
    }
    if (this.waiting && this.events.wakes()) this.waiting = false;
    this.#attention = true;
    this.#recut = false;
    return undefined;
  }

  enter(slice: number): StopReason {
    this.retired = Math.min(this.debt, slice);
    this.debt -= this.retired;
    if (this.retired === slice) return Stop.Slice;
    if (this.waiting || this.mpState !== 0) return Stop.Wait;
    const { traced } = this.vm;
    if (traced) traceEntry(this);
    this.#inside = true;
    const stop = this.#run(slice);
    this.#inside = false;
    if (traced) traceExit(this, stop);
    return stop;
  }

  #run(slice: number): StopReason {
    const { cpu, events } = this;
    const { debug } = events;
    while (this.retired < slice) {
      if (this.#attention) {
        this.#attention = false;
        if (this.#recut) return Stop.Slice;
        events.taken = false;
        const step = events.inject();
        // another event may be next, before the first instruction of this one's handler
        if (events.taken) this.#attention = true;
        if (step !== Next.Run) return STOPS[step];
        if (events.taken) {
          this.retired++;
          continue;
        }
      }
      const next = debug.careful ? this.#carefully() : this.#leave(cpu.run(slice - this.retired));
      if (next !== Next.Run) return STOPS[next];
    }
    return Stop.Slice;
  }

  /** IN or OUT that nothing stands in the way of, without decoding it again; `undefined` for all others. */
  plainPort(): NextStep | undefined {
    const s = this.state;
    if (this.intercepts.has('io') || this.events.debug.careful) return undefined;
    if (s.cr0 & CR0.PE && (s.cpl > s.iopl || s.other & FL.VM)) return undefined;
    const known = this.code.known();
    const p = known && this.code.cache.port(known);
    return p && this.ports.plain(p);
  }

  /** What follows a stretch of generated code. */
  #leave(leave: number): NextStep {
    const { cpu } = this;
    this.retired += cpu.retired;
    if (leave === Leave.Budget) return Next.Run;
    if (leave === Leave.Fault) {
      if (this.port.fault.cause === Cause.Device) {
        if (servesOutside(this)) return Next.Run;
        if (leavesSimply(this)) return Next.Device;
      }
      const next = this.faulted();
      // an exception costs one, or a guest that does nothing else would use up no budget
      if (next === Next.Run) this.retired++;
      return next;
    }
    const next = leave === Leave.Slow ? slow(this, cpu.slowOp) : guard(this, cpu.slowOp);
    if (next !== Next.Handle && next !== Next.Device) this.retired++;
    return next;
  }

  /** One instruction between the debugger's looks: TF, breakpoints, shadows, RF. */
  #carefully(): NextStep {
    const { debug } = this.events;
    const first = debug.before();
    if (first !== undefined) {
      if (first === Next.Run) this.retired++;
      return first;
    }
    const owed = this.debt;
    const next = this.#leave(debug.watching ? this.cpu.step() : this.cpu.run(1));
    const { taken } = this.events;
    const behind = debug.behind((next !== Next.Handle && next !== Next.Device) || this.debt > owed);
    // a trap costs one, as it does where its delivery has to wait
    if (this.events.taken && this.events.taken !== taken) this.retired++;
    this.#attention = true;
    if (next === Next.Wait && (this.events.taken || behind !== Next.Run)) {
      // the trap behind a HLT wakes the vCPU
      this.waiting = false;
      return behind;
    }
    return next === Next.Run ? behind : next;
  }

  *handle(): Task<Outcome> {
    if (this.events.tripleFault !== 'no') return this.events.exit();
    if (this.#work) return yield* this.#worked();
    const owed = this.debt;
    this.mapped = false;
    if (this.vm.traced) traceFault(this, this.port.fault);
    const out = yield* hostFault(this);
    // whatever could not be mapped costs one, or a guest that repeats it for ever would use up no budget
    if (!this.mapped && this.debt === owed) this.debt++;
    return out ?? (yield* this.#worked());
  }

  later(work: Work, done: boolean = false): NextStep {
    this.#work = work;
    if (done) this.debt++;
    return Next.Handle;
  }
  halt(): NextStep {
    if (this.events.source === undefined) return this.later({ kind: 'hlt', vcpu: this.id, ret: 0 }, true);
    if (this.events.wakes()) return Next.Run;
    this.waiting = true;
    return Next.Wait;
  }
  /** Instructions done outside {@link enter}. */
  owe(n: number): void {
    this.debt += n;
  }
  /** What a plugin's instruction does. */
  operation(n: number): NextStep {
    const f = this.#operations[n];
    return f ? f(this, this.instruction()) : this.raise(6);
  }

  /** What KVM_CAP_X86_USER_SPACE_MSR asks for: reasons that leave to userspace. */
  get userSpaceMsrs(): number {
    return Number(this.vm.caps.argument('x86-user-space-msr'));
  }

  // ---- KVM's emulator ----------------------------------------------------------------------------------------------

  begin(): void {
    if (this.msrExit !== 'none') completeMsr(this);
  }
  complete(): Outcome {
    if (this.ports.waits) {
      this.ports.resume();
      return this.#work ? drive(this.#worked()) : undefined;
    }
    if (this.emulator.simple) {
      const a = this.emulator.takeSimple();
      if (!a) return undefined;
      const { device } = this.core;
      completeLoad(this.state, a, device.lo, device.hi);
      this.state.advance(a.length);
      this.debt++;
      return undefined;
    }
    return this.emulator.waits ? (drive(this.emulator.resume()) ?? drive(this.#worked())) : undefined;
  }
  /** KVM's emulator takes the instruction at pc, whose access `f` led outside memory. */
  *emulate(f: Readonly<AccessFault>): Task<Outcome> {
    if (f.kind === Access.Exec && !f.walk) return this.cannotEmulate(f);
    return yield* this.emulator.start(f);
  }
  *nestedFault(f: Readonly<AccessFault>): Task<Exit | undefined> {
    return this.onNestedFault ? yield* this.onNestedFault(f) : undefined;
  }
  executeOnce(accesses: DeviceAccesses): OnceResult {
    return executeOnce(this, accesses);
  }
  /** The emulator carried an instruction out: what follows any instruction follows. */
  emulated(): void {
    const { debug } = this.events;
    const { taken } = this.events;
    if (debug.careful) debug.completed();
    if (this.events.taken && this.events.taken !== taken) this.debt++;
    this.#attention = true;
  }
  /** What was put off until the instruction under way is done with: the exit of a debugger, of a plugin. */
  *#worked(): Task<Outcome> {
    const work = this.#work;
    this.#work = undefined;
    return typeof work === 'function' ? yield* work() : work;
  }
  /** The instruction is over, and the run loop has something to do before the next: an event or an exit is under way. */
  get deferred(): boolean {
    const { tripleFault, vectoring } = this.events;
    return tripleFault !== 'no' || vectoring || this.#work !== undefined;
  }
  *mapOperand(): Task<Exit | undefined> {
    const served = yield* serve(this, { ...this.port.fault }, 'emulator');
    return served === 'emulate' ? this.cannotEmulate(this.port.fault) : served;
  }
  cannotEmulate(f: Readonly<AccessFault>): Exit | undefined {
    return giveUp(this, f);
  }
  portIo(i: Instruction, port: number, size: 1 | 2 | 4, write: boolean, string: boolean): NextStep {
    return this.ports.io(i, port, size, write, string);
  }

  // ---- exceptions and intercepts -----------------------------------------------------------------------------------

  raise(vector: number, errorCode?: number): NextStep {
    return this.events.raise(vector, errorCode);
  }
  faulted(): NextStep {
    return guestFault(this);
  }
  intercepted(what: InterceptName, info: number = 0): NextStep | undefined {
    if (!this.intercepts.has(what)) return undefined;
    return this.vm.ask(intercept)({ vcpu: this, what, info });
  }
  /** Sets or clears a guard bit that a plugin claimed (`x86.guards`). @throws FaultyardError FY_ARGUMENT for others. */
  setGuard(bit: number, on: boolean): void {
    this.guards.set(bit, on);
  }
  attend(): void {
    this.#attention = true;
  }
  /** What the vCPU waits for changed: a timer, INIT, SIPI. Core looks at deadlines again. */
  retime(): void {
    this.#recut = true;
    this.#attention = true;
  }

  // ---- local APIC --------------------------------------------------------------------------------------------------

  /** Puts interrupt controllers in the kernel, or takes them away. */
  attachApic(apic: LocalApic | undefined, source: InterruptSource | undefined): void {
    this.apic = apic;
    this.events.source = source;
    if (this.cpuid.isDefault) this.cpuid.setDefaults();
    this.attend();
  }
  /** APIC_BASE, low half. */
  get apicBase(): number {
    return this.state.sysLo(SR.APIC_BASE);
  }
  /** The task priority's class is CR8. */
  followTpr(cr8: number): void {
    this.state.setSys(SR.CR8, cr8, 0);
  }
  /** Waits for INIT or SIPI, and none has come. */
  get power(): 'on' | 'off' {
    return this.mpState === 0 || this.#startup ? 'on' : 'off';
  }
  get #startup(): boolean {
    const { apic } = this;
    return apic !== undefined && (apic.pendingInit || apic.pendingSipi);
  }

  // ---- waiting -----------------------------------------------------------------------------------------------------

  runnable(): boolean {
    if (this.#startup) return true;
    if (this.mpState !== 0) return false;
    return !this.waiting || this.events.wakes() || this.deadline() <= this.now();
  }
  deadline(): number {
    const { apic } = this;
    if (!apic) return Infinity;
    return this.waiting || this.mpState !== 0 ? apic.wakes : apic.timer.due;
  }
  now(): number {
    return this.core.now + (this.#inside ? this.retired * this.vm.clock.nsPerInstruction : 0);
  }

  // ---- what follows a change of state ------------------------------------------------------------------------------

  modeChanged(): void {
    const s = this.state;
    const mode = s.segmentsChanged();
    if (mode !== this.#mode) {
      this.#mode = mode;
      this.cpu.setMode(mode);
    }
    const ac = (s.other & FL.AC) !== 0;
    const context = s.cpl === 3 ? CTX_USER : ac ? CTX_SUPERVISOR_AC : CTX_SUPERVISOR;
    if (context !== this.#context) {
      this.#context = context;
      this.cpu.setContext(context);
    }
    if (this.port.checksAlignment !== this.#alignment) {
      this.#alignment = this.port.checksAlignment;
      this.cpu.flush(CTX_USER);
    }
    const behind = this.port.pageBehindCode();
    if (behind !== this.#behind) {
      this.#behind = behind;
      if (behind >= 0) this.cpu.dropPage(behind | 0, 0);
    }
    this.guards.follow(s, this.intercepts);
    this.events.debug.follow();
    this.#attention = true;
  }
  translationChanged(): void {
    this.cpu.flush();
  }
  smmChanged(): void {
    this.walkChanged();
  }
  /** What the guest's walks stand on changed (`x86.walk`): SMM, a nested guest. Fast translations go. */
  walkChanged(): void {
    const { stage2, nested } = this.vm.ask(walk as Point<{ readonly vcpu: X86Vcpu }, WalkGround>)({
      vcpu: this,
    });
    this.port.stage2 = stage2 ?? this.vm.stage2;
    this.port.nested = nested;
    this.cpu.flush();
  }
  flush(): void {
    this.cpu.flush();
  }
  zapped(_gfn: number, _count: number, pfn: number): void {
    if (pfn > 0) this.cpu.dropFrame(pfn * PAGE_SIZE);
    else this.cpu.flush();
  }
  /** After restore: everything derived follows the state. */
  restored(): void {
    this.#mode = -1;
    this.#context = -1;
    this.modeChanged();
    this.translationChanged();
  }

  /** Registers that steer modes and translation were set from outside: everything derived follows. */
  translationForced(): void {
    this.tlb.dropAll();
    this.restored();
  }
  /** What is added to RIP for a linear address. */
  get codeBase(): bigint {
    const cs = this.state.segment(1);
    return this.state.code === 8 ? 0n : BigInt(cs.baseLo >>> 0);
  }

  // ---- the instruction at pc ---------------------------------------------------------------------------------------

  instruction(): Instruction {
    return this.code.instruction();
  }
  /** Low half of argument `n` (0..3) of the slow operation under way. */
  slowLo(n: number): number {
    return this.#i32[(this.cpu.slowArgs >>> 2) + 2 * n] as number;
  }

  // ---- registers and observers -------------------------------------------------------------------------------------

  /** RIP. */
  get pc(): bigint {
    const s = this.state;
    return join(s.ipLo, s.ipHi);
  }
  set pc(v: bigint) {
    this.state.setIp(low(v), high(v));
  }
  /** What `registers` of core's `ArchVcpu` lists. */
  get registers(): readonly RegisterInfo[] {
    return this.#names.infos;
  }
  read(name: string): bigint | undefined {
    return this.#names.read(name);
  }
  write(name: string, value: bigint): boolean {
    return this.#names.write(name, value);
  }
  walk(gva: bigint, access: 'read' | 'write' | 'exec'): Walk {
    return observe(this, gva, access);
  }
  disassemble(
    gva: bigint,
    count: number,
  ): readonly { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[] {
    const code = observeCode(this, BigInt.asUintN(64, gva + this.codeBase), count * MAX_INSTRUCTION);
    const mode = this.state.code;
    const bits = mode === 8 ? 64 : mode === 4 ? 32 : 16;
    return disassemble(code, { bits, ip: gva, count });
  }
  /** Gives the vCPU's block in host memory back. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.cpu.dispose();
    this.code.dispose();
  }
}
