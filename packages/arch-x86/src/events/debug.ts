/**
 * Debug exceptions: single step, breakpoint registers, resume flag (AMD64 APM volume 2, 13.1; Intel SDM volume 3, 19).
 *
 * The run loop asks {@link Debug.careful} before it enters generated code. While it is true one instruction is run at a
 * time between {@link Debug.before} and {@link Debug.behind}; while {@link Debug.watching} is true it runs by
 * `Cpu.step()`, so that every access passes the port, which tells {@link Debug.access}.
 *
 * DEBUGCTL.BTF has no effect: KVM lets no guest set it (svm.c and vmx.c, MSR_IA32_DEBUGCTLMSR).
 */
import type { Plain } from '@faultyard/core';
import { Access, type AccessKind } from '@faultyard/engine';
import { FL } from '../isa/flags.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { CR4, join, type Pair, SR } from '../state.ts';
import type { Events } from './events.ts';
import { Vector } from './vectors.ts';

/** Bits of DR6 (APM volume 2, 13.1.1.3). */
export const DR6 = {
  B0: 1,
  /** B0 to B3. */
  B: 0xf,
  /** Access to a debug register with DR7.GD. */
  BD: 0x2000,
  /** Single step. */
  BS: 0x4000,
  /** Task switch to a TSS with T = 1. */
  BT: 0x8000,
  /** Bits that read 1 unless an exception clears them (KVM: DR6_ACTIVE_LOW), and the reset value. */
  ActiveLow: -0xf010 as number,
} as const;
/** DR7.GD: general detect. */
const DR7_GD = 0x2000;
/** DR7 bits L0 G0 … L3 G3. */
const DR7_ENABLED = 0xff;
/** RW fields of DR7. */
const Watch = { Execute: 0, Write: 1, Io: 2, ReadWrite: 3 } as const;
/** LEN fields of DR7: bytes less one. */
const LENGTH_MASK = [0, 1, 7, 3] as const;

/** KVM_GUESTDBG_*: what KVM_SET_GUEST_DEBUG asks for. */
export const GuestDebugControl = {
  Enable: 1,
  SingleStep: 2,
  SoftwareBreakpoints: 0x1_0000,
  HardwareBreakpoints: 0x2_0000,
  InjectDb: 0x4_0000,
  InjectBp: 0x8_0000,
  BlockIrq: 0x10_0000,
} as const;
/** What a debugger asked for. */
export interface GuestDebug {
  /** {@link GuestDebugControl}. */
  readonly control: number;
  /** DR0 to DR7, used with HardwareBreakpoints. */
  readonly dr: readonly Readonly<Pair>[];
}
const NO_GUEST_DEBUG: GuestDebug = { control: 0, dr: Array.from({ length: 8 }, () => ({ lo: 0, hi: 0 })) };

/** Debug exceptions of one vCPU. */
export class Debug {
  readonly #m: Machine;
  readonly #e: Events;
  /** One instruction at a time, see above. */
  careful = false;
  /** A data breakpoint is enabled: every access must be seen. */
  watching = false;
  /** What a debugger asked for (KVM_SET_GUEST_DEBUG). */
  #guest: GuestDebug = NO_GUEST_DEBUG;

  /** B bits of data and I/O breakpoints that the current instruction hit. */
  #hits = 0;
  /** The same of a MOV SS: they wait until after the next instruction. */
  #delayed = 0;
  /** Between before and behind: TF was set at the start. */
  #traps = false;
  #inside = false;
  /** It is neither done nor given up: KVM's emulator or userspace has it. */
  #open = false;
  /** Where it began. */
  #startLo = 0;
  #startHi = 0;
  /** The instruction put RF or an interrupt shadow there itself. */
  #keepsRf = false;
  #shadowed = false;

  constructor(m: Machine, e: Events) {
    this.#m = m;
    this.#e = e;
  }

  /** KVM_GUESTDBG_*: 0 when nobody debugs the guest. */
  get control(): number {
    return this.#guest.control;
  }
  /** KVM_GUESTDBG_BLOCKIRQ: the debugger wants no interrupts. */
  get blocksInterrupts(): boolean {
    return (this.#guest.control & GuestDebugControl.BlockIrq) !== 0;
  }
  /** KVM_SET_GUEST_DEBUG, checked. */
  debugGuest(g: GuestDebug): void {
    this.#guest = g.control & GuestDebugControl.Enable ? g : NO_GUEST_DEBUG;
    this.follow();
  }
  /** Whether the debugger gets #DB. */
  get #stops(): boolean {
    return (
      (this.#guest.control & (GuestDebugControl.SingleStep | GuestDebugControl.HardwareBreakpoints)) !== 0
    );
  }
  get #steps(): boolean {
    return (this.#guest.control & GuestDebugControl.SingleStep) !== 0;
  }
  get #hardware(): boolean {
    return (this.#guest.control & GuestDebugControl.HardwareBreakpoints) !== 0;
  }
  /** DR7 in force: the debugger's, if it set breakpoints. */
  get #dr7(): number {
    return this.#hardware ? (this.#guest.dr[7] as Pair).lo : this.#m.state.sysLo(SR.DR7);
  }
  #drLo(n: number): number {
    return this.#hardware ? (this.#guest.dr[n] as Pair).lo : this.#m.state.sysLo(SR.DR0 + n);
  }
  #drHi(n: number): number {
    return this.#hardware ? (this.#guest.dr[n] as Pair).hi : this.#m.state.sysHi(SR.DR0 + n);
  }

  /** TF, RF, DR7 or the interrupt shadow changed; `Machine.modeChanged` calls it as well. */
  follow(): void {
    const s = this.#m.state;
    const dr7 = this.#dr7;
    const armed = (dr7 & DR7_ENABLED) !== 0;
    this.watching = armed && this.#anyData(dr7);
    this.careful =
      armed ||
      this.#steps ||
      (s.other & (FL.TF | FL.RF)) !== 0 ||
      this.#e.shadow !== 0 ||
      this.#delayed !== 0;
  }
  #anyData(dr7: number): boolean {
    for (let n = 0; n < 4; n++) if (enabled(dr7, n) && rw(dr7, n) & 1) return true;
    return false;
  }

  // ---- around one instruction ------------------------------------------------------------------------------------
  /**
   * Before an instruction, events being dealt with: an instruction breakpoint is a fault, and has priority over whatever
   * the fetch would raise (APM volume 2, table 8-8). A step: it was taken, look again; undefined: run the instruction.
   */
  before(): NextStep | undefined {
    const s = this.#m.state;
    this.#e.taken = false;
    this.#open = false;
    this.#hits = 0;
    this.#keepsRf = false;
    this.#shadowed = false;
    // MOV SS holds these back on Intel's processors only (kvm/x86.c, kvm_vcpu_check_code_breakpoint)
    const held = this.#m.model.vendor === 'Intel' && (this.#e.shadow & 1) !== 0;
    if (!s.flag(FL.RF) && !held) {
      const bits = this.#executes(s.pcLo, s.code === 8 ? s.pcHi : 0);
      if (bits) return this.#trap(bits);
    }
    this.#traps = s.flag(FL.TF) || this.#steps;
    this.#startLo = s.pcLo;
    this.#startHi = s.pcHi;
    this.#inside = true;
    return undefined;
  }
  /** Behind an instruction that completed, raised an exception, or has yet to complete (`done` false). */
  behind(done: boolean): NextStep {
    this.#inside = false;
    this.#open = !done && !this.#e.taken;
    const s = this.#m.state;
    // an exception or INT cleared TF and RF itself, and no step follows it
    if (!done || this.#e.taken) {
      // what waits behind MOV SS survives INT n: its #DB is taken at the handler's first instruction
      const late = this.#e.taken === 'software' ? this.#delayed : 0;
      if (this.#e.taken) this.#delayed = 0;
      this.follow();
      return late ? this.#trap(late) : Next.Run;
    }
    if (!this.#keepsRf) s.other &= ~FL.RF;
    const bits = (this.#traps ? DR6.BS : 0) | this.#hits | this.#delayed;
    this.#delayed = 0;
    if (!this.#shadowed) this.#e.shadow = 0;
    else if (this.#e.shadow & 1) {
      // a MOV SS: its data breakpoints come with the next instruction, its step does not come at all
      this.#delayed = this.#hits;
      this.follow();
      return Next.Run;
    }
    this.follow();
    if (bits && this.#repeats()) s.other |= FL.RF;
    // a breakpoint on the next instruction shows in the same #DB, as in QEMU and Bochs
    if (bits === 0) return Next.Run;
    return this.#trap(bits | (s.flag(FL.RF) ? 0 : this.#executes(s.pcLo, s.code === 8 ? s.pcHi : 0)));
  }
  /** {@link behind} an instruction that was completed after an exit or by KVM's emulator. */
  completed(): NextStep {
    if (!this.#open) {
      // nobody looked when it began
      this.#traps = false;
      this.#hits = 0;
    }
    return this.behind(true);
  }
  /**
   * A string instruction with iterations left: the trap behind one of them pushes RF = 1 (Intel SDM volume 3, 19.3.1.1;
   * APM volume 2, 13.1.2), so that a breakpoint on it is not met again.
   */
  #repeats(): boolean {
    const s = this.#m.state;
    if (s.pcLo !== this.#startLo || s.pcHi !== this.#startHi) return false;
    const i = this.#m.instruction();
    return i.isStringInstruction && (i.hasRepPrefix || i.hasRepnePrefix);
  }
  /** #DB, or the debugger's exit: KVM gives a debugger every one while it steps or has breakpoints (svm.c, db_interception). */
  #trap(bits: number): NextStep {
    return this.#stops ? this.#stop(Vector.DB, bits) : this.#e.raise(Vector.DB, undefined, bits);
  }
  #stop(exception: number, bits: number): NextStep {
    const m = this.#m;
    const s = m.state;
    const why =
      exception === Vector.BP || !(bits & DR6.BS) ? (this.#data(bits) ? 'watchpoint' : 'breakpoint') : 'step';
    return m.later({
      kind: 'debug',
      vcpu: m.id,
      ret: 0,
      why,
      arch: {
        x86: {
          exception,
          pc: join(s.pcLo, s.code === 8 ? s.pcHi : 0),
          dr6: exception === Vector.DB ? BigInt((DR6.ActiveLow | bits) >>> 0) : 0n,
          dr7: exception === Vector.DB ? BigInt(this.#dr7 >>> 0) : 0n,
        },
      },
    });
  }
  /** Whether one of the breakpoints hit watches data. */
  #data(bits: number): boolean {
    for (let n = 0; n < 4; n++) if (bits & (1 << n) && rw(this.#dr7, n) !== Watch.Execute) return true;
    return false;
  }
  /** INT3 while the debugger has software breakpoints: its exit, pc at the instruction. Undefined: the guest's own. */
  softwareBreakpoint(): NextStep | undefined {
    if (!(this.#guest.control & GuestDebugControl.SoftwareBreakpoints)) return undefined;
    return this.#stop(Vector.BP, 0);
  }
  /** The instruction set a shadow: it is for the next one. */
  shadowSet(): void {
    this.#shadowed = true;
  }
  /** The instruction loaded RF (IRET, a task switch): it counts for the next one. */
  rfLoaded(): void {
    this.#keepsRf = true;
  }
  /**
   * SYSCALL and SYSRET are stepped by the TF that they leave, not by the one they found (KVM: `em_syscall`), so that
   * stepping user code never shows the kernel a #DB that SFMASK should keep away. Call it when they are done.
   */
  syscallDone(): NextStep {
    const tf = this.#m.state.flag(FL.TF);
    if (this.#inside) {
      this.#traps = tf || this.#steps;
      return Next.Run;
    }
    return tf ? this.#e.raise(Vector.DB, undefined, DR6.BS) : Next.Run;
  }

  // ---- breakpoint registers --------------------------------------------------------------------------------------
  #executes(lo: number, hi: number): number {
    const dr7 = this.#dr7;
    let bits = 0;
    for (let n = 0; n < 4; n++) {
      if (!enabled(dr7, n) || rw(dr7, n) !== Watch.Execute) continue;
      if (this.#drLo(n) === lo && this.#drHi(n) === hi) bits |= 1 << n;
    }
    return bits;
  }
  /** An instruction accesses `size` bytes at a linear address: data breakpoints that it hits trap behind it. */
  access(lo: number, hi: number, size: number, kind: AccessKind): void {
    if (!this.watching || !this.#inside) return;
    const write = kind !== Access.Read;
    const dr7 = this.#dr7;
    for (let n = 0; n < 4; n++) {
      const how = rw(dr7, n);
      if (!enabled(dr7, n) || !(how === Watch.ReadWrite || (how === Watch.Write && write))) continue;
      if (overlaps(this.#drLo(n), this.#drHi(n), lengthMask(dr7, n), lo, hi, size)) this.#hits |= 1 << n;
    }
  }
  /** IN, OUT, INS, OUTS of `size` bytes at `port`: I/O breakpoints exist with CR4.DE (APM volume 2, 13.1.1.4). */
  port(port: number, size: number): void {
    const s = this.#m.state;
    if (!this.#inside || !(s.cr4 & CR4.DE)) return;
    const dr7 = this.#dr7;
    for (let n = 0; n < 4; n++) {
      if (!enabled(dr7, n) || rw(dr7, n) !== Watch.Io) continue;
      if (overlaps(this.#drLo(n), this.#drHi(n), lengthMask(dr7, n), port, 0, size)) this.#hits |= 1 << n;
    }
  }
  /** MOV to or from a debug register: with DR7.GD it is #DB instead. Undefined: go on. */
  generalDetect(): NextStep | undefined {
    if (!(this.#m.state.sysLo(SR.DR7) & DR7_GD)) return undefined;
    return this.#e.raise(Vector.DB, undefined, DR6.BD);
  }
  /** A task switch to a TSS with T = 1 is done: a trap before the new task's first instruction. */
  taskTrap(): NextStep {
    return this.#e.raise(Vector.DB, undefined, DR6.BT);
  }
  /** #DB clears DR7.GD, or its handler could not look at DR6 (APM volume 2, 13.1.1.4). */
  clearGeneralDetect(): void {
    const s = this.#m.state;
    s.setSys(SR.DR7, s.sysLo(SR.DR7) & ~DR7_GD, s.sysHi(SR.DR7));
  }
  /** DR6 for a #DB: B0 to B3 are replaced, the others stay until the handler clears them (KVM: x86.c). */
  report(bits: number): void {
    const s = this.#m.state;
    let dr6 = (s.sysLo(SR.DR6) & ~DR6.B) | DR6.ActiveLow | bits;
    dr6 ^= bits & DR6.ActiveLow;
    s.setSys(SR.DR6, dr6 & ~0x1000, 0);
  }

  // ---- for cells ---------------------------------------------------------------------------------------------------
  /** State between two instructions, or inside one that waits for userspace. */
  save(): Plain {
    const { control, dr } = this.#guest;
    const open = this.#open ? [Number(this.#traps), this.#hits, this.#startLo, this.#startHi] : [];
    return { delayed: this.#delayed, control, dr: dr.map(({ lo, hi }) => [lo, hi]), open };
  }
  /** Takes what {@link save} gave. */
  restore(v: Plain): void {
    const s = v as unknown as {
      readonly delayed: number;
      readonly control: number;
      readonly dr: readonly (readonly [number, number])[];
      readonly open: readonly number[];
    };
    const [traps = 0, hits = 0, startLo = 0, startHi = 0] = s.open;
    this.#open = s.open.length > 0;
    this.#traps = traps !== 0;
    this.#hits = hits;
    this.#startLo = startLo;
    this.#startHi = startHi;
    this.#delayed = s.delayed;
    this.#guest = { control: s.control, dr: s.dr.map(([lo, hi]) => ({ lo, hi })) };
    this.follow();
  }
  /** RESET and INIT. */
  reset(): void {
    this.#delayed = 0;
    this.#open = false;
    this.follow();
  }
}

const enabled = (dr7: number, n: number): boolean => (dr7 & (3 << (2 * n))) !== 0;
const rw = (dr7: number, n: number): number => (dr7 >>> (16 + 4 * n)) & 3;
const lengthMask = (dr7: number, n: number): number => LENGTH_MASK[(dr7 >>> (18 + 4 * n)) & 3] as number;

/** Whether `size` bytes at an address touch the `mask + 1` aligned bytes that a breakpoint watches. */
function overlaps(drLo: number, drHi: number, mask: number, lo: number, hi: number, size: number): boolean {
  const first = (drLo & ~mask) | 0;
  // distances of 64 bits, of which only small ones count
  const into = (lo - first) | 0;
  const borrow = lo >>> 0 < first >>> 0 ? 1 : 0;
  const high = (hi - drHi - borrow) | 0;
  if (high === 0 && into >>> 0 <= mask) return true;
  return high === -1 && into < 0 && into + size > 0;
}
