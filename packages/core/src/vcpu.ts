/** A vCPU: KVM_RUN, the shared kvm_run page, and the pending device access. */
import type { Gpa } from './address.ts';
import { type ArchVcpu, Stop } from './arch.ts';
import { FaultyardError } from './errors.ts';
import type { Exit, ExitKind } from './exit.ts';
import type { IoctlResult, OpMap, OpName } from './op.ts';
import { RunPage, type RunPageImage } from './run-page.ts';
import { at, drive, type Task } from './task.ts';
import type { Vm } from './vm.ts';

/** A device access that waits for userspace; numbers only, filled by the arch without allocation. */
export interface DeviceAccess {
  /** Whether one is pending: the exit was returned and the access is not completed. */
  pending: boolean;
  /** Physical address, or the number of an I/O port. */
  gpa: number;
  /** An x86 port access: exit `io`. */
  port: boolean;
  /** Elements: 1, or more for string port instructions, whose data stand in {@link Vcpu.portData}. */
  count: number;
  size: number;
  write: boolean;
  /** Value stored, or the answer to a load. */
  lo: number;
  hi: number;
  /** Whether userspace answered the load. */
  answered: boolean;
}

/** What a snapshot keeps of a vCPU beside its cells. */
export interface VcpuImage {
  readonly now: number;
  readonly retired: number;
  readonly immediateExit: boolean;
  readonly open: boolean;
  readonly device: DeviceAccess;
  readonly page: RunPageImage;
  /** The last exit, so that it can still be answered after a restore. */
  readonly exit: Exit | undefined;
}

/** Default budget of {@link Vcpu.run}, in instructions. */
export const DEFAULT_BUDGET = 1_000_000_000;
/** Names of registers that an error shows. */
const SHOWN = 40;
/** Longest stretch without looking at signals and deadlines, in instructions. */
const SLICE = 1_000_000;

/** @throws FaultyardError FY_ARGUMENT for a budget that is no positive whole number. */
export function checkBudget(budget: number): void {
  if (!(Number.isSafeInteger(budget) && budget > 0))
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'budget',
      value: budget,
      why: 'is not a positive whole number',
      fix: 'give the number of instructions to run',
    });
}

/** A vCPU of a VM. `E`: the kinds of exit it can return. */
export class Vcpu<E extends ExitKind = ExitKind> {
  readonly id: number;
  readonly vm: Vm<E>;
  /** The architecture's part; cast it to the architecture's own class for more. */
  readonly arch: ArchVcpu;
  /** Pending device access. */
  readonly device: DeviceAccess = {
    pending: false,
    gpa: 0,
    port: false,
    count: 1,
    size: 0,
    write: false,
    lo: 0,
    hi: 0,
    answered: false,
  };
  /** kvm_run.immediate_exit: the next run returns before the guest executes. */
  immediateExit = false;
  /** Virtual time of this vCPU, in nanoseconds. */
  now = 0;
  /** Whether a KVM_RUN is under way (between {@link begin} and its exit). */
  open = false;
  /** Instructions retired since the vCPU was made. */
  retired = 0;
  readonly #page: RunPage;
  #last: Exit | undefined;

  constructor(vm: Vm<E>, id: number, make: (v: Vcpu<E>) => ArchVcpu) {
    this.vm = vm;
    this.id = id;
    this.#page = new RunPage(vm as Vm, vm.arch.runBytes);
    this.arch = make(this);
    const { arch } = this;
    if (arch.fillRunPage) this.#page.fill = (page) => arch.fillRunPage?.(page);
  }

  /** Program counter. */
  get pc(): bigint {
    return this.arch.pc;
  }
  /** Sets it. 64 bits. */
  set pc(v: bigint) {
    this.arch.pc = v;
  }
  /**
   * Reads a register by name.
   * @throws FaultyardError FY_REGISTER_UNKNOWN.
   */
  get(name: string): bigint {
    return this.arch.read(name) ?? this.#noRegister(name);
  }
  /**
   * Writes a register by name, masked as the hardware would.
   * @throws FaultyardError FY_REGISTER_UNKNOWN; FY_ARGUMENT for a number that is not whole.
   */
  set(name: string, value: bigint | number): void {
    if (typeof value !== 'bigint' && !Number.isInteger(value))
      throw new FaultyardError('FY_ARGUMENT', {
        what: name,
        value,
        why: 'is not a whole number',
        fix: 'give a bigint, or a number without a fraction',
      });
    if (!this.arch.write(name, BigInt.asUintN(64, BigInt(value)))) this.#noRegister(name);
  }
  #noRegister(name: string): never {
    const names = this.arch.registers.map((r) => r.name);
    const like = names.filter((n) => n.slice(0, 2) === name.slice(0, 2).toLowerCase());
    const shown = (like.length > 0 ? like : names).slice(0, SHOWN);
    const rest = names.length - shown.length;
    throw new FaultyardError('FY_REGISTER_UNKNOWN', {
      name,
      known: rest > 0 ? `${shown.join(' ')} and ${rest} more` : shown.join(' '),
    });
  }

  /** The last exit this vCPU returned. */
  get exit(): Exit<E> | undefined {
    return this.#last as Exit<E> | undefined;
  }
  /** Data of port accesses: the second page of the kvm_run mapping; empty where the architecture has no ports. */
  get portData(): Uint8Array {
    return this.#page.ports;
  }
  /** The kvm_run mapping as userspace sees it now (2352 bytes or whole pages, see `ArchDef.runBytes`; a live view). */
  get kvmRun(): DataView {
    return this.#page.view(this.#last);
  }

  /**
   * One KVM_RUN: completes what is pending, runs the guest, returns the next exit. A vCPU that waits (WFI, HLT)
   * jumps to the next deadline; if nothing can ever wake it, the lab kicks its thread: `intr`, as a VMM would have to.
   * @param budget instructions after which a `budget` exit is returned (>= 1).
   */
  run(budget: number = DEFAULT_BUDGET): Exit<E> {
    checkBudget(budget);
    this.vm.scheduler.alone();
    const early = this.begin();
    if (early) return early;
    const before = this.retired;
    for (;;) {
      const out = this.enterGuest(budget - (this.retired - before));
      if (typeof out === 'object') return out;
      if (out === 'wait' && this.#sleep()) continue;
      return this.#leave(out === 'wait' ? this.#intr() : this.#budget(this.retired - before));
    }
  }

  /**
   * Runs the guest inside a KVM_RUN that {@link begin} opened, until an exit, the end of `budget` instructions, or
   * the vCPU waits. Work outside the guest is driven to its end.
   */
  enterGuest(budget: number): Exit<E> | 'budget' | 'wait' {
    const arch = this.arch;
    for (let left = budget; left > 0; ) {
      const blocked = arch.prepare() ?? this.#kicked();
      if (blocked) return this.#leave(blocked);
      const stop = arch.enter(this.#slice(left));
      left -= arch.retired;
      this.#pass(arch.retired);
      if (stop === Stop.Device) return this.#deviceExit();
      if (stop === Stop.Wait) return 'wait';
      if (stop === Stop.Handle) {
        const exit = drive(arch.handle());
        if (exit === Stop.Device) return this.#deviceExit();
        if (exit) return this.#leave(exit);
      }
    }
    return 'budget';
  }

  /**
   * {@link run} as a task: yields `vcpu<n>.entry` before every entry of at most `slice` instructions,
   * `vcpu<n>.wait` while it waits, and whatever points KVM's own work passes.
   */
  *runTask(budget: number = DEFAULT_BUDGET, slice: number = SLICE): Task<Exit<E>> {
    checkBudget(budget);
    const early = this.begin();
    if (early) return early;
    const arch = this.arch;
    const before = this.retired;
    for (;;) {
      const left = budget - (this.retired - before);
      if (left <= 0) return this.#leave(this.#budget(budget - left));
      yield at(`vcpu${this.id}.entry`);
      const blocked = arch.prepare() ?? this.#kicked();
      if (blocked) return this.#leave(blocked);
      const stop = arch.enter(Math.min(slice, this.#slice(left)));
      this.#pass(arch.retired);
      if (stop === Stop.Device) return this.#deviceExit();
      if (stop === Stop.Wait && !this.#sleep())
        yield { at: `vcpu${this.id}.wait`, ready: () => arch.runnable(), waits: 'an interrupt' };
      if (stop === Stop.Handle) {
        const exit = yield* arch.handle();
        if (exit === Stop.Device) return this.#deviceExit();
        if (exit) return this.#leave(exit);
      }
    }
  }

  /** What KVM_RUN does before the guest is entered; an exit if it does not get that far. */
  begin(): Exit<E> | undefined {
    if (this.now < this.vm.clock.now) this.now = this.vm.clock.now;
    this.open = true;
    const { written } = this.#page;
    const refused = written && this.arch.takeRunPage?.(written.page, written.shown);
    if (refused) return this.#leave(refused);
    const d = this.device;
    if (d.pending) {
      if (!d.write && !d.answered) this.#page.stale(d);
      d.pending = false;
      const more = this.arch.complete();
      if (more === Stop.Device) return this.#deviceExit();
      if (more) return this.#leave(more);
    }
    this.arch.begin?.();
    if (this.immediateExit || this.#page.immediateExit) return this.#leave(this.#intr());
    return undefined;
  }

  /**
   * Writes the answer to a load exit into the kvm_run page: one value, or those of a string port access in order (what
   * a list does not reach keeps its stale bytes).
   * @throws FaultyardError FY_EXIT_ANSWER if the exit is not the pending one, is a store, or is answered already;
   * FY_ARGUMENT if it is no exit.
   */
  answer(exit: Exit, value: bigint | number | readonly (bigint | number)[]): void {
    const d = this.device;
    if (exit !== this.#last || !d.pending || d.write || d.answered || exit.vcpu !== this.id)
      this.#refuseAnswer(exit);
    d.answered = true;
    if (typeof value === 'object') {
      if (d.port) this.#page.answerPorts(d, value);
      else this.#answerOne(value[0] ?? 0);
    } else this.#answerOne(value);
  }
  #answerOne(value: bigint | number): void {
    const d = this.device;
    if (typeof value === 'number' && Number.isSafeInteger(value)) {
      d.lo = value | 0;
      d.hi = Math.floor(value / 0x1_0000_0000) | 0;
    } else {
      wide[0] = BigInt(value);
      d.lo = halves[0] as number;
      d.hi = halves[1] as number;
    }
    if (d.port) this.#page.answerPorts(d, [value]);
    else this.#page.answer(d);
  }
  #refuseAnswer(exit: Exit): never {
    const d = this.device;
    // scripts have no types at run time
    if (typeof exit?.kind !== 'string')
      throw new FaultyardError('FY_ARGUMENT', {
        what: 'exit',
        value: String(exit),
        why: 'is none',
        fix: 'give what run() returned',
      });
    const [why, fix] =
      exit.vcpu !== this.id
        ? [`was returned by another vcpu, not ${this.id}`, `call vcpus[${exit.vcpu}].answer`]
        : exit.kind !== 'mmio' && exit.kind !== 'io'
          ? ['takes no answer', 'just run again']
          : exit !== this.#last || !d.pending
            ? ['is not pending', 'answer the last exit of this vcpu, before running again']
            : d.write
              ? ['is a store and takes no answer', 'just run again']
              : ['is answered already', 'run the vcpu'];
    throw new FaultyardError('FY_EXIT_ANSWER', { kind: exit.kind, vcpu: exit.vcpu, why, fix });
  }

  /** An operation on this vCPU by name. @throws KvmError, FaultyardError FY_OP_UNKNOWN. */
  op<N extends OpName>(name: N, arg: OpMap[N]['arg']): OpMap[N]['result'] {
    return this.vm.ops.call(this as Vcpu, name, arg);
  }

  /** ioctl on this vCPU, in bytes; see {@link Ops.ioctl}. */
  ioctl(number: number, arg?: Uint8Array | bigint | number): IoctlResult {
    return this.vm.ops.ioctl(this as Vcpu, number, arg);
  }

  /** Forgets a pending device access (an injected abort cancels it, KVM: inject_fault.c). */
  cancelDevice(): void {
    this.device.pending = false;
  }

  /** For snapshots: everything between userspace and KVM. */
  save(): VcpuImage {
    return {
      now: this.now,
      retired: this.retired,
      immediateExit: this.immediateExit,
      open: this.open,
      device: { ...this.device },
      page: this.#page.save(),
      exit: this.#last,
    };
  }
  /** For snapshots. */
  restore(s: VcpuImage): void {
    this.now = s.now;
    this.retired = s.retired;
    this.immediateExit = s.immediateExit;
    this.open = s.open;
    Object.assign(this.device, s.device);
    this.#page.restore(s.page);
    this.#last = s.exit;
  }

  /** Virtual time of the next thing that wants attention: the vCPU's own timers, and outside rounds the clock's. */
  due(): number {
    const own = this.arch.deadline();
    const { clock, scheduler } = this.vm;
    return clock.due >= own || scheduler.inRound ? own : clock.due;
  }
  #slice(left: number): number {
    const due = this.due();
    if (due === Infinity) return Math.min(left, SLICE);
    const until = Math.ceil((due - this.now) / this.vm.clock.nsPerInstruction);
    return Math.max(1, Math.min(left, SLICE, until));
  }
  #pass(retired: number): void {
    this.retired += retired;
    this.now += retired * this.vm.clock.nsPerInstruction;
    this.vm.scheduler.passed(this);
  }
  #kicked(): Exit | undefined {
    return this.vm.signals.takeKick(this.id) ? this.#intr() : undefined;
  }
  /** Ends a run whose budget the scheduler spent: a `budget` exit. */
  spent(retired: number): Exit<E> {
    return this.#leave(this.#budget(retired));
  }
  #intr(): Exit {
    return { kind: 'intr', vcpu: this.id, ret: -1, errno: 'EINTR' };
  }
  #budget(retired: number): Exit {
    return { kind: 'budget', vcpu: this.id, ret: 0, retired };
  }
  /** Jumps to the next deadline; `false` when there is none. */
  #sleep(): boolean {
    const due = this.due();
    if (due === Infinity) return false;
    this.now = Math.max(this.now, due);
    this.vm.scheduler.passed(this);
    return true;
  }
  #deviceExit(): Exit<E> {
    const d = this.device;
    d.pending = true;
    d.answered = false;
    const e = d.port ? this.#io() : this.#mmio();
    this.open = false;
    this.#last = e;
    if (this.vm.traced) this.vm.traceExit(e);
    return e as unknown as Exit<E>;
  }
  #io(): Exit {
    const d = this.device;
    this.#page.io(d);
    return {
      kind: 'io',
      vcpu: this.id,
      ret: 0,
      port: d.gpa,
      size: d.size as 1 | 2 | 4,
      write: d.write,
      count: d.count,
      data: d.write ? this.#page.portValues(d) : [],
    };
  }
  #mmio(): Exit {
    const d = this.device;
    const e = {
      kind: 'mmio',
      vcpu: this.id,
      ret: 0,
      gpa: unsigned(d.gpa | 0, Math.floor(d.gpa / 0x1_0000_0000), 8) as Gpa,
      size: d.size as 1 | 2 | 4 | 8,
      write: d.write,
      value: d.write ? unsigned(d.lo, d.hi, d.size) : 0n,
    } as const;
    this.#page.mmio(d);
    return e;
  }
  #leave(e: Exit): Exit<E> {
    this.#page.encode(e);
    this.open = false;
    this.#last = e;
    if (this.vm.traced) this.vm.traceExit(e);
    return e as Exit<E>;
  }
}

/** One 64-bit value, and its halves. */
const wide = new BigInt64Array(1);
const halves = new Int32Array(wide.buffer);

/**
 * Unsigned value of the low `size` bytes of a lo/hi pair. BigInt(number) is a call into C++; a load from a typed array
 * is an instruction. The array is signed because Node 20 aborts on shifts of values it knows to be unsigned.
 */
function unsigned(lo: number, hi: number, size: number): bigint {
  if (size === 8 && hi < 0) return BigInt.asUintN(64, (BigInt(hi) << 32n) | BigInt(lo >>> 0));
  halves[0] = size >= 4 ? lo : size === 2 ? lo & 0xffff : lo & 0xff;
  halves[1] = size === 8 ? hi : 0;
  return wide[0] as bigint;
}
