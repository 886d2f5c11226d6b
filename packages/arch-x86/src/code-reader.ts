/** Code as a vCPU finds it at its pc: bytes through the current translation, and the instruction they are. */
import { PAGE_SIZE } from '@faultyard/core';
import { Instruction } from 'iced-x86';
import { InstructionCache, type Known } from './instruction-cache.ts';
import { MAX_INSTRUCTION } from './isa/decode.ts';
import { Seg } from './isa/layout.ts';
import { join } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

/** Reads and decodes code for one vCPU, without any effect on it. */
export class CodeReader {
  readonly cache: InstructionCache = new InstructionCache();
  readonly #v: X86Vcpu;
  /** Decode mode in force. */
  readonly #mode: () => number;
  readonly #instruction: Instruction = new Instruction();
  readonly #bytes: Uint8Array = new Uint8Array(MAX_INSTRUCTION);
  readonly #decode = (into: Instruction): void => {
    this.#decoded(into);
  };

  constructor(v: X86Vcpu, mode: () => number) {
    this.#v = v;
    this.#mode = mode;
  }

  /** The contract is `Machine.instruction`. */
  instruction(): Instruction {
    return this.known()?.instruction ?? this.#decoded(this.#instruction);
  }
  /** The cached instruction at pc; `undefined` where its code is not at hand. */
  known(): Known | undefined {
    const { cpu, state: s, vm } = this.#v;
    const at = cpu.codeAt();
    if (at < 0 || (at & (PAGE_SIZE - 1)) > PAGE_SIZE - 16) return undefined;
    const { baseLo } = s.segment(Seg.CS);
    return this.cache.find(vm.host.dv, at, s.pcLo, s.pcHi, baseLo, this.#mode(), this.#decode);
  }
  #decoded(into: Instruction): Instruction {
    const { state: s, isa } = this.#v;
    const n = this.bytes(s.pcLo, s.pcHi, this.#bytes);
    return isa.instruction(this.#bytes.subarray(0, n), this.#mode(), join(s.ipLo, s.ipHi), into);
  }
  /** Fetches up to `to.length` bytes at a linear address; how many there are. */
  bytes(lo: number, hi: number, to: Uint8Array): number {
    const { port, state, vm } = this.#v;
    const { u8 } = vm.host;
    let n = 0;
    let at = lo;
    let atHi = hi;
    while (n < to.length) {
      const from = port.codeAt(at, atHi);
      if (from < 0) break;
      const part = Math.min(to.length - n, PAGE_SIZE - (at & 0xfff));
      to.set(u8.subarray(from, from + part), n);
      n += part;
      const next = (at + part) | 0;
      if (next >>> 0 < at >>> 0) atHi = state.code === 8 ? (atHi + 1) | 0 : 0;
      at = next;
    }
    return n;
  }
  /** Length of the instruction at a host address, of which `avail` bytes are on its page; 0 if it goes beyond them. */
  lengthAt(at: number, avail: number): number {
    const n = Math.min(avail, MAX_INSTRUCTION);
    const { isa, vm } = this.#v;
    const i = isa.instruction(vm.host.u8.subarray(at, at + n), this.#mode(), 0n, this.#instruction);
    return i.isInvalid && n < MAX_INSTRUCTION ? 0 : i.length;
  }
  /** Gives the decoded instructions back. */
  dispose(): void {
    this.#instruction.free();
    this.cache.dispose();
  }
}
