/**
 * Instances of forms that have an encoding, made with iced-x86's encoder, with registers and memory chosen so that most
 * accesses meet the window, some its edges, and some the unmapped pages beside it.
 */
import { Decoder, Encoder, Instruction, MemorySizeExt, OpKind } from 'iced-x86';
import { FL } from '../../src/isa/flags.ts';
import { Seg } from '../../src/isa/layout.ts';
import { random, seedOf } from './random.ts';
import { undefinedFlags } from './undefined-flags.ts';
import type { UserForm } from './user-forms.ts';
import { fillOperands, gprOf, type Memory } from './user-operands.ts';
import {
  bits64,
  count,
  immediate,
  oneIn,
  operandValue,
  pick,
  place,
  registerValue,
  type Source,
} from './user-values.ts';
import {
  CODE_BASE,
  CODE_PAGE,
  CODE_SIZE,
  ENVIRONMENTS,
  type Environment,
  FLAGS_KEPT,
  type Poke,
  segmentBase,
  type UserCase,
  type UserState,
  WINDOW,
  WINDOW_SIZE,
} from './user-world.ts';

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** What a case is made of while it is made. */
interface Draft {
  readonly form: UserForm;
  /** The encoding's name in iced-x86. */
  readonly code: string;
  readonly env: Environment;
  readonly next: Source;
  readonly i: Instruction;
  readonly gpr: BigUint64Array;
  readonly rip: bigint;
  readonly pokes: Poke[];
  memory: Memory | undefined;
  /** Linear address of the explicit memory operand. */
  at: number;
  /** The target may be refused: the stack takes what is pushed, for no manual says which is looked at first. */
  wild: boolean;
}

const encoders = new Map<number, Encoder>();

function environment(form: UserForm, n: number): Environment {
  const [long, flat, seg32, seg16] = ENVIRONMENTS;
  if (form.bits !== 32) return form.bits === 64 ? long : seg16;
  // 16-bit offsets reach nothing from base 0
  return n % 2 === 0 && form.address === 32 && form.shape?.size !== 16 ? flat : seg32;
}

/** What a case starts from before its instruction is known. */
export function blankStart(form: UserForm, n: number): { next: Source; env: Environment; start: UserState } {
  const next = random(seedOf(form.name, n));
  const env = environment(form, n);
  const gpr = new BigUint64Array(16);
  for (let r = 0; r < (form.bits === 64 ? 16 : 8); r++) {
    gpr[r] = BigInt.asUintN(form.bits === 64 ? 64 : 32, registerValue(next));
  }
  const flags = next() & FLAGS_KEPT;
  // one in eight straddles a page, most of them
  const slot = CODE_PAGE + (oneIn(next, 8) ? 0x1000 - 1 - (next() % 7) : 0x100 + (next() % 0xe00));
  const rip = BigInt(slot) - segmentBase(env, Seg.CS);
  return { next, env, start: { gpr, rip, flags, xmm: undefined } };
}

/** Attempt `n` at a case of a form with an encoding. */
export function plainCase(form: UserForm, n: number): UserCase | undefined {
  const { next, env, start: blank } = blankStart(form, n);
  const { gpr, rip, flags } = blank;
  const i = new Instruction();
  i.code = form.code;
  const d: Draft = {
    form,
    code: form.name.split(' ')[1] ?? '',
    env,
    next,
    i,
    gpr,
    rip,
    pokes: [],
    memory: undefined,
    at: 0,
    wild: form.bits === 16 && /Call_rel32/.test(form.name),
  };
  d.memory = fillOperands(i, form, next, rip);
  if (form.prefix === 'lock') i.hasLockPrefix = true;
  if (form.prefix === 'rep') i.hasRepPrefix = true;
  if (form.prefix === 'repne') i.hasRepnePrefix = true;
  beforeMemory(d);
  if (d.memory) placeMemory(d, d.memory);
  else placeImplied(d);
  const bytes = encode(d);
  const vector = /xmm/.test(d.code);
  let made: UserCase | undefined;
  if (bytes && !loops(d, bytes.length)) {
    afterMemory(d);
    const start: UserState = { gpr, rip, flags, xmm: vector ? vectorValues(next) : undefined };
    const unknown = undefinedFlags(i, d.code, gpr[RCX] ?? 0n);
    if (unknown !== undefined)
      made = { form: form.name, code: d.code, env, bytes, start, pokes: d.pokes, undefinedFlags: unknown };
  }
  i.free();
  return made;
}

/** The bytes, where the encoder takes the operands together and the decoder finds the same encoding in them. */
function encode(d: Draft): Uint8Array | undefined {
  const { bits } = d.form;
  const encoder = encoders.get(bits) ?? new Encoder(bits);
  encoders.set(bits, encoder);
  try {
    encoder.encode(d.i, d.rip);
  } catch {
    // the encoder says no by throwing: a high byte beside REX, a displacement out of reach
    encoder.takeBuffer();
    return undefined;
  }
  const bytes = encoder.takeBuffer();
  const decoder = new Decoder(bits, bytes, 0);
  decoder.ip = d.rip;
  const back = decoder.decode();
  const same = d.form.invalid ? back.isInvalid : back.code === d.form.code && back.length === bytes.length;
  back.free();
  decoder.free();
  return same ? bytes : undefined;
}

/** Whether a branch leads back into the instruction. */
function loops(d: Draft, length: number): boolean {
  if (d.i.op0Kind > OpKind.NearBranch64 || d.i.op0Kind < OpKind.NearBranch16) return false;
  const to = d.i.nearBranch64 - d.rip;
  return to >= 0n && to < BigInt(length);
}

/** Writes the low bits of a register. */
function setLow(d: Draft, r: number, width: number, v: bigint): void {
  const mask = (1n << BigInt(width)) - 1n;
  d.gpr[r] = ((d.gpr[r] ?? 0n) & ~mask) | BigInt.asUintN(width, v);
}
const get = (d: Draft, r: number | undefined): bigint => (r === undefined ? 0n : (d.gpr[r] ?? 0n));
const stackBits = (d: Draft): number => (d.env.bits === 64 ? 64 : d.env.segments[Seg.SS]?.big ? 32 : 16);

/** Register values that an instruction's meaning asks for. */
function beforeMemory(d: Draft): void {
  const { next, code, i } = d;
  const width = operandBytes(d);
  if (/_CL$/.test(code)) setLow(d, RCX, 8, BigInt(count(next, width)));
  if (/^(Div|Idiv)/.test(code) && !oneIn(next, 4)) {
    if (width === 1)
      setLow(d, RAX, 16, oneIn(next, 2) ? BigInt(next() & 0xff) : BigInt((next() & 0x1fff) - 0x1000));
    else setLow(d, RDX, width * 8, pick(next, [0n, 0n, 1n, -1n, BigInt(next() & 15)]));
  }
  if (/^Bt[scr]?_rm\d+_r/.test(code) && !oneIn(next, 4)) {
    setLow(d, gprOf(i.op1Register) ?? 0, width * 8, BigInt((next() % 8192) - 4096));
  }
  if (/^(Loop|J.?.?cxz)/.test(code)) setLow(d, RCX, pick(next, [16, 32, 64]), BigInt(next() % 3));
  if (d.form.prefix === 'rep' || d.form.prefix === 'repne') {
    const some = oneIn(next, 16) ? next() % 5000 : next() % 20;
    setLow(d, RCX, d.form.address, BigInt(oneIn(next, 12) ? 0 : some));
  }
  if (/^VEX_(Bextr|Bzhi)/.test(code) && !oneIn(next, 3)) {
    setLow(d, gprOf(i.op2Register) ?? 0, 16, BigInt(count(next, width) | (count(next, width) << 8)));
  }
  if (/^(Jmp|Call)_rm/.test(code) && d.form.kind === 'register') {
    setLow(d, gprOf(i.op0Register) ?? 0, width * 8, codeAddress(d));
  }
  if (/^Cmpxchg_/.test(code) && d.form.kind === 'register' && oneIn(next, 2)) {
    const r = gprOf(i.op0Register) ?? 0;
    setLow(d, RAX, width * 8, get(d, r) >> BigInt(highByte(i) ? 8 : 0));
  }
}
const highByte = (i: Instruction): boolean => i.op0Register >= 5 && i.op0Register <= 8;

/** Where an instruction may go: an INT3 outside the current instruction, or nowhere. */
function codeAddress(d: Draft): bigint {
  const { next } = d;
  if (oneIn(next, 10)) {
    d.wild = true;
    return pick(next, [bits64(next), 1n << 47n, 0n, BigInt(WINDOW)]);
  }
  const base = Number(segmentBase(d.env, Seg.CS));
  const all = d.env.bits === 16 ? 0xff00 : CODE_SIZE - 0x100;
  const to = (d.env.bits === 16 ? CODE_PAGE - 0x8000 : CODE_BASE) + (next() % all);
  const near = BigInt(to - base) - d.rip;
  return BigInt(to - base) + (near > -16n && near < 16n ? 32n : 0n);
}

function operandBytes(d: Draft): number {
  const m = /_(?:rm|r|m|AL|AX|EAX|RAX)?(8|16|32|64)/.exec(d.code);
  return m
    ? Number(m[1]) / 8
    : /_AL|b_m8/.test(d.code)
      ? 1
      : /_AX/.test(d.code)
        ? 2
        : /_EAX/.test(d.code)
          ? 4
          : 8;
}

/** Puts the explicit memory operand somewhere: chooses displacement and registers that lead there. */
function placeMemory(d: Draft, m: Memory): void {
  const { next, i } = d;
  const bytes = MemorySizeExt.size(i.memorySize) || 8;
  d.at = place(next, bytes);
  // what is not aligned is within reach: no manual says which is looked at first
  if (/aps_|apd_|dqa_|dup_|Movnt|16b/.test(d.code))
    d.at = oneIn(next, 8) ? WINDOW + 0x800 + (next() & 63) : d.at & ~15;
  // the code region holds no targets
  if (m.segment === Seg.CS && d.env.bits !== 64) d.wild = true;
  // the lower bound may trap before the upper one is looked at
  if (/^Bound/.test(d.code)) d.at &= ~7;
  const size = BigInt(m.size);
  const wide = (v: bigint): bigint => BigInt.asUintN(Number(size), v);
  const offset = wide(BigInt(d.at) - segmentBase(d.env, m.segment));
  if (/^Xlat/.test(d.code)) {
    setLow(d, RBX, m.size, offset - (get(d, RAX) & 0xffn));
    return;
  }
  // now and then whatever the registers hold
  if (d.form.bits === 64 && m.base !== undefined && oneIn(next, 24)) {
    i.memoryDisplacement = displacement(d, m, m.disp === 0 ? 0n : BigInt(immediate(next, m.disp * 8)));
    return;
  }
  const small = (): bigint => BigInt((next() % 2000) - 1000);
  const { scale } = m;
  if (m.base === undefined && m.index === undefined) {
    const far = m.ip && BigInt.asIntN(32, offset - d.rip) !== BigInt.asIntN(m.size, offset - d.rip);
    i.memoryDisplacement =
      m.disp === 8 ? offset : displacement(d, m, far ? d.rip + BigInt(immediate(next, 31)) : offset);
    return;
  }
  if (m.index !== undefined && (m.base === undefined || m.base === m.index || !oneIn(next, 4)))
    setLow(d, m.index, m.size, small());
  const scaled = get(d, m.index) * BigInt(m.index === undefined ? 0 : scale);
  let disp = m.disp === 0 ? 0n : BigInt(immediate(next, m.disp * 8));
  if (m.base === undefined) disp = wide(offset - scaled);
  else if (m.base === m.index) {
    if (m.disp > 1) disp = wide(offset - scaled - get(d, m.base));
  } else setLow(d, m.base, m.size, offset - disp - scaled);
  i.memoryDisplacement = displacement(d, m, disp);
}
/** A displacement as the encoder takes it: sign-extended from its own size, modulo that of the address. */
function displacement(d: Draft, m: Memory, v: bigint): bigint {
  if (m.ip || m.disp === 0) return BigInt.asUintN(m.size, v);
  const own = BigInt.asIntN(m.disp * 8, v);
  return BigInt.asUintN(d.form.bits === 64 ? 64 : m.size, own);
}

/** Puts implied operands somewhere: strings, the stack, MASKMOVDQU's destination, a frame pointer. */
function placeImplied(d: Draft): void {
  const { next, code, i } = d;
  const segment = i.segmentPrefix === 0 ? Seg.DS : i.segmentPrefix - 71;
  const to = (r: number, seg: number, at: number, width: number): void =>
    setLow(d, r, width, BigInt(at) - segmentBase(d.env, seg));
  if (/^(Movs|Cmps|Lods|Stos|Scas)[bwdq]_/.test(code) && !/xmm/.test(code)) {
    const from = place(next, 8);
    // of CMPS one operand is within reach: no manual says which of two is looked at first
    const apart = /^Cmps/.test(code) ? WINDOW + 0x800 + (next() % 0x800) : place(next, 8);
    const into = oneIn(next, 4) && !/^Cmps/.test(code) ? from + (next() % 17) - 8 : apart;
    to(RSI, segment, from, d.form.address);
    to(RDI, Seg.ES, into, d.form.address);
    if (/^(Cmps|Scas)/.test(code)) alike(d, from, into);
  } else if (/^Maskmovdqu/.test(code)) to(RDI, segment, place(next, 16), d.form.address);
  if (d.i.isStackInstruction || /^Leave|^Enter/.test(code)) placeStack(d);
}
function placeStack(d: Draft): void {
  const at = (bytes: number): bigint =>
    BigInt(d.wild ? WINDOW + 0x800 : place(d.next, bytes)) - segmentBase(d.env, Seg.SS);
  // the frame's operand may stand on the stack pointer: then that is placed already
  setLow(d, RSP, stackBits(d), at(8));
  if (/^Leave|^Enter/.test(d.code)) setLow(d, RBP, stackBits(d), at(8));
}

/** Equal runs at two places and in the accumulator. */
function alike(d: Draft, from: number, into: number): void {
  const bytes = Uint8Array.from({ length: 32 }, () => (oneIn(d.next, 24) ? 1 : 0));
  const same = bytes.slice();
  if (oneIn(d.next, 2)) same[d.next() % 32] = 1;
  poke(d, from - 8, bytes);
  poke(d, into - 8, same);
  if (/^Scas/.test(d.code) && !oneIn(d.next, 3)) d.gpr[RAX] = oneIn(d.next, 2) ? 0n : 1n;
}

function poke(d: Draft, at: number, bytes: Uint8Array): void {
  const from = Math.max(at - WINDOW, 0);
  const end = Math.min(at - WINDOW + bytes.length, WINDOW_SIZE);
  if (end <= from) return;
  const part = bytes.subarray(from - (at - WINDOW), end - (at - WINDOW));
  d.pokes.push({ at: from, bytes: Uint8Array.from(part) });
}
function pokeValue(d: Draft, at: number, bytes: number, v: bigint): void {
  const data = new Uint8Array(16);
  new DataView(data.buffer).setBigUint64(0, BigInt.asUintN(64, v), true);
  new DataView(data.buffer).setBigUint64(8, bits64(d.next), true);
  poke(d, at, data.subarray(0, Math.min(bytes, 16)));
}

/** Memory contents that an instruction's meaning asks for. */
function afterMemory(d: Draft): void {
  const { next, code, i } = d;
  if (d.memory) {
    const bytes = MemorySizeExt.size(i.memorySize);
    const target = /^(Jmp|Call)_rm/.test(code) ? codeAddress(d) : undefined;
    if (d.i.isStackInstruction) {
      // a stack pointer that is part of the address is placed with it
      if (d.memory.base !== RSP) placeStackBeside(d);
    }
    if (target !== undefined) pokeValue(d, d.at, bytes, target);
    else if (/^Bound/.test(code)) pokeBounds(d, bytes / 2);
    else if (/^Cmpxchg(8b|16b)/.test(code)) pokePair(d, bytes / 2);
    else if (/^Cmpxchg/.test(code) && oneIn(next, 2)) pokeValue(d, d.at, bytes, get(d, RAX));
    else if (bytes > 0 && !oneIn(next, 4)) pokeValue(d, d.at, bytes, operandValue(next, Math.min(bytes, 8)));
  }
  const top = Number(BigInt.asUintN(stackBits(d), get(d, RSP)) + segmentBase(d.env, Seg.SS));
  if (/^Ret/.test(code)) pokeValue(d, top, 8, codeAddress(d));
  // not TF nor AC: both would go on to trap outside the instruction
  if (/^Popf/.test(code))
    pokeValue(d, top, 8, BigInt(next()) & BigInt(FLAGS_KEPT | FL.NT | FL.IF | FL.IOPL | FL.RF));
}
function placeStackBeside(d: Draft): void {
  const taken = [d.memory?.base, d.memory?.index];
  if (!taken.includes(RSP)) placeStack(d);
}
/** Bounds around the value: within, at, just outside, or in the wrong order. */
function pokeBounds(d: Draft, bytes: number): void {
  const width = bytes * 8;
  const v = BigInt.asIntN(width, get(d, gprOf(d.i.op0Register)));
  const near = (): bigint => v + BigInt((d.next() % 7) - 3);
  pokeValue(d, d.at, bytes, near());
  pokeValue(d, d.at + bytes, bytes, near());
}
/** CMPXCHG8B and 16B: what RDX:RAX holds, or nearly. */
function pokePair(d: Draft, bytes: number): void {
  const wrong = d.next() % 4;
  pokeValue(d, d.at, bytes, get(d, RAX) + (wrong === 1 ? 1n : 0n));
  pokeValue(d, d.at + bytes, bytes, get(d, RDX) + (wrong === 2 ? 1n : 0n));
}

/** Random contents of all XMM registers. */
export function vectorValues(next: Source): Uint8Array {
  const v = new Uint8Array(256);
  const words = new Uint32Array(v.buffer);
  for (let k = 0; k < words.length; k++) words[k] = next();
  return v;
}
