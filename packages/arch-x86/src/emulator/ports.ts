/**
 * KVM's port I/O (arch/x86/kvm/x86.c kvm_fast_pio, emulator_pio_in_out; emulate.c pio_in_emulated). IN and OUT complete
 * when userspace runs the vCPU again; string accesses go through the emulator: OUTS leaves element by element with its
 * registers already moved, REP INS asks for as many elements as fit and then stores them.
 */
import { PAGE_SIZE, type Plain } from '@faultyard/core';
import { type Instruction, Mnemonic, OpKind } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { R, Seg } from '../isa/layout.ts';
import { Next, type NextStep } from '../next.ts';
import { placed, reach, registerSize, segmentNumber } from '../system/operand.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** Bytes of KVM's read-ahead buffer for INS (struct read_cache). */
const READ_AHEAD = 1024;
/** KVM_X86_QUIRK_OUT_7E_INC_RIP: an OUT to this port is skipped before userspace sees it. */
const QUIRK_PORT = 0x7e;

/** A port access that waits for userspace. */
type Waiting = 'nothing' | 'in' | 'out' | 'outs' | 'ins';

/** IN or OUT without its operands' values. */
export interface PlainPort {
  readonly write: boolean;
  readonly size: 1 | 2 | 4;
  /** The immediate port, or -1 for DX. */
  readonly port: number;
  readonly length: number;
}
/** What an instruction is to a port; `undefined` for everything but IN and OUT. */
export function plainPort(i: Instruction): PlainPort | undefined {
  const { mnemonic } = i;
  if (mnemonic !== Mnemonic.In && mnemonic !== Mnemonic.Out) return undefined;
  const write = mnemonic === Mnemonic.Out;
  const size = registerSize(write ? i.op1Register : i.op0Register) as 1 | 2 | 4;
  const port = i.opKind(write ? 0 : 1) === OpKind.Register ? -1 : i.immediate8;
  return { write, size, port, length: i.length };
}

/** Port I/O of one vCPU. */
export class PortAccess {
  readonly #v: X86Vcpu;
  #waiting: Waiting = 'nothing';
  /** Linear address of the instruction that waits: a VMM that moves RIP takes the completion away. */
  #pcLo = 0;
  #pcHi = 0;
  #length = 0;
  /** Elements of INS that were read and are not stored yet. */
  #ahead: number[] = [];

  constructor(v: X86Vcpu) {
    this.#v = v;
  }
  /** An exit of this class is out. */
  get waits(): boolean {
    return this.#waiting !== 'nothing';
  }

  /** The contract is `Machine.portIo`. */
  io(i: Instruction, port: number, size: 1 | 2 | 4, write: boolean, string: boolean): NextStep {
    if (string) return write ? this.#outs(i, port, size) : this.#ins(i, port, size);
    return write ? this.#out(i.length, port, size) : this.#in(i.length, port, size);
  }
  /** IN or OUT by code that may: nobody looks at ports (`Machine.intercepted`, I/O breakpoints). */
  plain(p: PlainPort): NextStep {
    const port = p.port < 0 ? this.#v.state.lo(R.RDX) & 0xffff : p.port;
    return p.write ? this.#out(p.length, port, p.size) : this.#in(p.length, port, p.size);
  }

  #out(length: number, port: number, size: number): NextStep {
    const { state, vm, id } = this.#v;
    const value = state.lo(R.RAX) & mask(size);
    if (vm.ports.store(port, size, id, value, 0)) {
      state.advance(length);
      return Next.Run;
    }
    if (port === QUIRK_PORT) {
      state.advance(length);
      return this.#leave(length, 'outs', port, size, value, 1);
    }
    return this.#leave(length, 'out', port, size, value, 1);
  }
  #in(length: number, port: number, size: number): NextStep {
    const { state, vm, id } = this.#v;
    const value = this.#v.core.device;
    if (!vm.ports.load(port, size, id, value)) return this.#leave(length, 'in', port, size, 0, 1);
    state.setSized(R.RAX, size, value.lo, 0);
    state.advance(length);
    return Next.Run;
  }

  // ---- strings -----------------------------------------------------------------------------------------------------

  /** Bytes of the address size of a string instruction. */
  #addressSize(i: Instruction): 2 | 4 | 8 {
    const kind = i.opKind(i.op0Kind === OpKind.Register ? 1 : 0);
    if (kind === OpKind.MemoryESDI || kind === OpKind.MemorySegSI) return 2;
    return kind === OpKind.MemoryESEDI || kind === OpKind.MemorySegESI ? 4 : 8;
  }
  #repeated(i: Instruction): boolean {
    return i.hasRepPrefix || i.hasRepnePrefix;
  }
  /** Repetitions that are left, at most 2^31 - 1; 1 without a prefix. */
  #count(i: Instruction, address: number): number {
    if (!this.#repeated(i)) return 1;
    const { state } = this.#v;
    const lo = state.lo(R.RCX) & mask(address);
    const hi = address === 8 ? state.hi(R.RCX) : 0;
    return hi !== 0 || lo < 0 ? 0x7fff_ffff : lo;
  }
  /** One element is done: index register, count, and pc behind the last one. */
  #step(i: Instruction, register: number, size: number, address: 2 | 4 | 8): void {
    const { state } = this.#v;
    const { length } = i;
    const repeated = this.#repeated(i);
    this.#add(register, state.flag(FL.DF) ? -size : size, address);
    if (repeated) {
      this.#add(R.RCX, -1, address);
      if (this.#count(i, address) !== 0) return;
    }
    state.advance(length);
  }
  #add(slot: number, by: number, address: 2 | 4 | 8): void {
    const { state } = this.#v;
    const lo = state.lo(slot);
    const sum = (lo + by) | 0;
    const carry = by < 0 ? (sum >>> 0 > lo >>> 0 ? -1 : 0) : sum >>> 0 < lo >>> 0 ? 1 : 0;
    state.setSized(slot, address, sum, (state.hi(slot) + carry) | 0);
  }
  #place(register: number, segment: 0 | 1 | 2 | 3 | 4 | 5, address: number): ReturnType<typeof placed> {
    const { state } = this.#v;
    const lo = state.lo(register) & mask(address);
    return placed(state, segment, lo, address === 8 ? state.hi(register) : 0);
  }

  #outs(i: Instruction, port: number, size: 1 | 2 | 4): NextStep {
    const v = this.#v;
    const address = this.#addressSize(i);
    if (this.#count(i, address) === 0) {
      v.state.advance(i.length);
      return Next.Run;
    }
    const from = this.#place(R.RSI, segmentNumber(i.memorySegment) as 0, address);
    const fault = reach(v, from, size, false);
    if (fault) return v.raise(from.seg === Seg.SS ? 12 : 13, 0);
    const t = v.memory.begin();
    const value = t.read(from.lo, from.hi, size);
    if (t.failed) return v.faulted();
    this.#step(i, R.RSI, size, address);
    if (v.vm.ports.store(port, size, v.id, value, 0)) return Next.Run;
    return this.#leave(0, 'outs', port, size, value, 1);
  }

  #ins(i: Instruction, port: number, size: 1 | 2 | 4): NextStep {
    const v = this.#v;
    const address = this.#addressSize(i);
    const count = this.#count(i, address);
    if (count === 0) {
      v.state.advance(i.length);
      return Next.Run;
    }
    if (this.#ahead.length > 0) return this.#store(i, size, address);
    const to = this.#place(R.RDI, Seg.ES, address);
    if (reach(v, to, size, true)) return v.raise(13, 0);
    const device = v.core.device;
    if (v.vm.ports.load(port, size, v.id, device)) {
      this.#ahead = [device.lo & mask(size)];
      return this.#store(i, size, address);
    }
    const offset = to.lo & (PAGE_SIZE - 1);
    const room = v.state.flag(FL.DF) ? offset : PAGE_SIZE - offset;
    const elements = Math.max(1, Math.min(Math.floor(room / size), READ_AHEAD / size, count));
    return this.#leave(0, 'ins', port, size, 0, elements);
  }
  /** Stores the next element that was read. */
  #store(i: Instruction, size: 1 | 2 | 4, address: 2 | 4 | 8): NextStep {
    const v = this.#v;
    const to = this.#place(R.RDI, Seg.ES, address);
    const value = this.#ahead[0] ?? 0;
    const outside = reach(v, to, size, true);
    const t = v.memory.begin();
    if (!outside) t.write(to.lo, to.hi, size, value);
    if (outside || t.failed) {
      // KVM starts the instruction over, and what it read ahead is lost, unless only a mapping was missing
      if (outside || !t.hostFault) this.#ahead = [];
      return outside ? v.raise(13, 0) : v.faulted();
    }
    t.commit();
    this.#ahead.shift();
    this.#step(i, R.RDI, size, address);
    return Next.Run;
  }

  // ---- exits -------------------------------------------------------------------------------------------------------

  #leave(
    length: number,
    what: Exclude<Waiting, 'nothing'>,
    port: number,
    size: number,
    value: number,
    count: number,
  ): NextStep {
    const v = this.#v;
    const d = v.core.device;
    d.port = true;
    d.gpa = port;
    d.size = size;
    d.write = what === 'out' || what === 'outs';
    d.count = count;
    d.lo = value;
    d.hi = 0;
    this.#waiting = what;
    this.#pcLo = v.state.pcLo;
    this.#pcHi = v.state.pcHi;
    this.#length = length;
    return Next.Device;
  }

  /** KVM_RUN again after an exit: `Vcpu.device` and `Vcpu.portData` have what userspace answered. */
  resume(): void {
    const v = this.#v;
    const what = this.#waiting;
    this.#waiting = 'nothing';
    const { state, core } = v;
    v.owe(1);
    if (what !== 'outs' && (this.#pcLo !== state.pcLo || this.#pcHi !== state.pcHi)) return;
    const d = core.device;
    if (what === 'ins') {
      const bytes = core.portData;
      this.#ahead = Array.from({ length: d.count }, (_, n) => {
        let value = 0;
        for (let b = d.size - 1; b >= 0; b--) value = (value << 8) | (bytes[n * d.size + b] ?? 0);
        return value;
      });
      // the elements are stored by the instruction itself, which the vCPU meets again
      return;
    }
    if (what === 'in') state.setSized(R.RAX, d.size, d.lo & mask(d.size), 0);
    if (what !== 'outs') state.advance(this.#length);
    v.emulated();
  }

  /** For the vCPU's cell. */
  save(): Plain {
    const waiting = this.#waiting;
    return { waiting, pcLo: this.#pcLo, pcHi: this.#pcHi, length: this.#length, ahead: [...this.#ahead] };
  }
  /** For the vCPU's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as {
      waiting: Waiting;
      pcLo: number;
      pcHi: number;
      length: number;
      ahead: number[];
    };
    this.#waiting = s.waiting;
    this.#pcLo = s.pcLo;
    this.#pcHi = s.pcHi;
    this.#length = s.length;
    this.#ahead = [...s.ahead];
  }
}

/** Ones for the low bytes of an int32. */
const mask = (bytes: number): number => (bytes >= 4 ? -1 : (1 << (8 * bytes)) - 1);
