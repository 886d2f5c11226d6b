/** An instruction read, with the values of its expressions, as bytes: the shortest of its forms, by iced's encoder. */
import { Encoder, Instruction, OpKind, Register } from 'iced-x86';
import { evaluate, type Scope, type Value } from './expression.ts';
import type { Bits, Slot } from './forms.ts';
import type { Candidate, Parsed } from './instruction.ts';
import type { Memory, Mistake, Operand } from './operands.ts';
import { classOf } from './registers.ts';

/** Where an instruction stands, and what its symbols are. */
export interface Place {
  /** Address of its first byte. */
  readonly ip: bigint;
  /** A length that it had: it takes no shorter form again, so that layouts settle. */
  readonly minimum: number;
  readonly scope: Scope;
}

/** Encoders by code size, kept for one run of the assembler. */
export class Encoders {
  readonly #encoders = new Map<Bits, Encoder>();

  /** Bytes of an instruction at `ip`, or what iced has against it. */
  encode(bits: Bits, instruction: Instruction, ip: bigint): Uint8Array | string {
    let encoder = this.#encoders.get(bits);
    if (!encoder) {
      encoder = new Encoder(bits);
      this.#encoders.set(bits, encoder);
    }
    try {
      encoder.encode(instruction, ip);
      return encoder.takeBuffer();
    } catch (error) {
      encoder.takeBuffer();
      return error instanceof Error ? error.message : String(error);
    }
  }

  free(): void {
    for (const e of this.#encoders.values()) e.free();
    this.#encoders.clear();
  }
}

/** Values of an operand's expressions. */
interface Values {
  readonly value: Value;
  readonly selector?: Value;
}

/** A way to write a memory operand. */
interface Address {
  readonly base: Register;
  readonly displacement: bigint;
  /** In bytes, as iced counts it: 0, 1, or the address size. */
  readonly size: number;
  /** The displacement counts from the next instruction. */
  readonly fromNext?: boolean;
}

/** Encodes at a place. A symbol without a value has been reported to the scope: then there are no bytes. */
export function encode(p: Parsed, place: Place, encoders: Encoders): Uint8Array | Mistake | undefined {
  const known = new Map<Operand, Values>();
  for (const o of new Set(p.candidates.flatMap((c) => c.operands))) {
    const values = valuesOf(o, place.scope);
    if (!values) return undefined;
    known.set(o, values);
  }
  const found: Uint8Array[] = [];
  let mistake: Mistake | undefined;
  for (const c of p.candidates) {
    for (const encoded of alternatives(c, p, place, known, encoders)) {
      if (encoded instanceof Uint8Array) found.push(encoded);
      else mistake = mistake && mistake.position >= encoded.position ? mistake : encoded;
    }
  }
  const long = found.filter((b) => b.length >= place.minimum);
  const best = (long.length > 0 ? long : found).reduce<Uint8Array | undefined>(
    (a, b) => (a && (long.length > 0 ? a.length <= b.length : a.length >= b.length) ? a : b),
    undefined,
  );
  return best ?? mistake ?? { position: p.position, message: `${p.mnemonic} cannot be encoded` };
}

function valuesOf(o: Operand, scope: Scope): Values | undefined {
  const none: Value = { value: 0n, label: false };
  if (o.kind === 'register') return { value: none };
  if (o.kind === 'value') {
    const value = evaluate(o.value, scope);
    return value && { value };
  }
  if (o.kind === 'far') {
    const value = evaluate(o.offset, scope);
    const selector = evaluate(o.selector, scope);
    return value && selector && { value, selector };
  }
  let sum = 0n;
  let labels = 0;
  for (const { term, negative } of o.displacement) {
    const v = evaluate(term, scope);
    if (!v) return undefined;
    sum += negative ? -v.value : v.value;
    if (v.label) labels += negative ? -1 : 1;
  }
  return { value: { value: sum, label: labels > 0 } };
}

/** Every encoding of one form: a memory operand can have displacements of several sizes. */
function* alternatives(
  c: Candidate,
  p: Parsed,
  place: Place,
  known: ReadonlyMap<Operand, Values>,
  encoders: Encoders,
): Generator<Uint8Array | Mistake> {
  const at = c.operands.findIndex((o, i) => o.kind === 'memory' && c.form.slots[i]?.accept !== 'string');
  const memory = c.operands[at];
  const slot = c.form.slots[at];
  if (memory?.kind !== 'memory' || !slot) {
    yield build(c, p, place, known, undefined, encoders);
    return;
  }
  const value = known.get(memory)?.value ?? { value: 0n, label: false };
  const addresses = addressesOf(memory, slot, value, p);
  if (addresses.length === 0)
    yield { position: memory.position, message: `the address ${signed(value.value)} is out of reach here` };
  for (const a of addresses) {
    if (!a.fromNext) {
      yield build(c, p, place, known, a, encoders);
      continue;
    }
    // the length does not depend on the displacement
    const first = build(c, p, place, known, { ...a, displacement: place.ip }, encoders);
    if (!(first instanceof Uint8Array)) yield first;
    else {
      const displacement = place.ip + BigInt(first.length) + a.displacement;
      yield build(c, p, place, known, { ...a, displacement }, encoders);
    }
  }
}

function addressesOf(m: Memory, slot: Slot, v: Value, p: Parsed): Address[] {
  const { bits, prefixes } = p;
  const asked = m.addressSize ?? prefixes.addressSize;
  const size = asked ?? (bits === 16 && !fits(v.value, 16) ? 32 : bits);
  const bytes = size / 8;
  if (m.base === Register.RIP || m.base === Register.EIP) {
    const base = { base: m.base, size: bytes };
    return [{ ...base, displacement: v.value, fromNext: !v.label && m.how !== 'rel' }];
  }
  if (slot.accept === 'offset')
    return size === 64 || fits(v.value, size)
      ? [{ base: Register.None, displacement: BigInt.asUintN(size, v.value), size: bytes }]
      : [];
  const full = BigInt.asIntN(size, v.value);
  const reaches = size === 64 ? full === BigInt.asIntN(32, full) : fits(v.value, size);
  if (m.base === Register.None && m.index === Register.None) {
    const absolute = { base: Register.None, displacement: BigInt.asUintN(size, full), size: bytes };
    const relative = { base: Register.RIP, displacement: full, size: 8 };
    if (bits !== 64 || size !== 64) return m.how === 'rel' || !reaches ? [] : [absolute];
    if (m.how === 'rel') return [relative];
    return reaches ? [absolute] : m.how === 'abs' ? [] : [relative];
  }
  if (!reaches) return [];
  const all: Address[] = [];
  if (full === 0n && m.base !== Register.None) all.push({ base: m.base, displacement: 0n, size: 0 });
  if (full === BigInt.asIntN(8, full) && m.base !== Register.None)
    all.push({ base: m.base, displacement: BigInt.asUintN(size === 64 ? 64 : size, full), size: 1 });
  all.push({ base: m.base, displacement: BigInt.asUintN(size, full), size: bytes });
  return all;
}

/** Whether a number is one of `bits` bits, signed or not. */
function fits(v: bigint, bits: number): boolean {
  return v >= -(1n << BigInt(bits - 1)) && v < 1n << BigInt(bits);
}

function build(
  c: Candidate,
  p: Parsed,
  place: Place,
  known: ReadonlyMap<Operand, Values>,
  address: Address | undefined,
  encoders: Encoders,
): Uint8Array | Mistake {
  const i = Instruction.create(c.form.code);
  try {
    let immediates = 0;
    for (const [n, slot] of c.form.slots.entries()) {
      const o = c.operands[n] as Operand;
      const values = known.get(o) ?? { value: { value: 0n, label: false } };
      if (slot.accept === 'immediate' || slot.accept === 'one') immediates++;
      const wrong = set(i, n, slot, o, values, p, address, immediates > 1);
      if (wrong !== undefined) return { position: o.position, message: wrong };
    }
    setPrefixes(i, p);
    const branch = c.form.slots.find((s) => s.accept === 'branch');
    const width = branch?.accept === 'branch' ? branchBits(branch.bits, p.bits) : p.bits;
    const bytes = encoders.encode(p.bits, i, BigInt.asUintN(width, place.ip));
    if (typeof bytes !== 'string') return bytes;
    return whyNot(bytes, c, p, place, known);
  } finally {
    i.free();
  }
}

/** Puts an operand into the instruction; why it cannot be, if it cannot. */
function set(
  i: Instruction,
  n: number,
  slot: Slot,
  o: Operand,
  { value: { value }, selector }: Values,
  p: Parsed,
  address: Address | undefined,
  second: boolean,
): string | undefined {
  if (o.kind === 'register') {
    i.setOpKind(n, OpKind.Register);
    i.setOpRegister(n, o.register);
    return undefined;
  }
  if (slot.accept === 'string') return setString(i, n, slot, o as Memory, p);
  if (o.kind === 'memory') {
    i.setOpKind(n, OpKind.Memory);
    i.memoryBase = address?.base ?? o.base;
    i.memoryIndex = o.index;
    i.memoryIndexScale = o.scale;
    i.memoryDisplacement = BigInt.asUintN(
      address?.base === Register.EIP ? 32 : 64,
      address?.displacement ?? 0n,
    );
    i.memoryDisplSize = address?.size ?? 0;
    setSegment(i, o.segment ?? p.prefixes.segment, defaultSegment(o.base));
    return undefined;
  }
  switch (slot.accept) {
    case 'one':
      i.setOpKind(n, OpKind.Immediate8);
      i.setImmediateU64(n, 1n);
      return value === 1n ? undefined : 'this form takes 1 only';
    case 'immediate':
      return setImmediate(i, n, slot, value, second);
    case 'branch':
      setBranch(i, n, branchBits(slot.bits, p.bits), BigInt.asUintN(branchBits(slot.bits, p.bits), value));
      return undefined;
    case 'far':
      if (!fits(value, slot.bits)) return `the offset ${signed(value)} does not fit into ${slot.bits} bits`;
      if (!selector || !fits(selector.value, 16)) return 'a selector has 16 bits';
      i.setOpKind(n, slot.bits === 16 ? OpKind.FarBranch16 : OpKind.FarBranch32);
      i.farBranchSelector = Number(BigInt.asUintN(16, selector.value));
      if (slot.bits === 16) i.farBranch16 = Number(BigInt.asUintN(16, value));
      else i.farBranch32 = Number(BigInt.asUintN(32, value));
      return undefined;
    default:
      return 'this operand does not go here';
  }
}

/** Width of a target: XBEGIN's has 32 bits in 16-bit code too. */
function branchBits(slot: 0 | Bits, code: Bits): Bits {
  return slot === 0 ? (code === 16 ? 32 : code) : slot;
}

function setBranch(i: Instruction, n: number, bits: Bits, target: bigint): void {
  if (bits === 16) {
    i.setOpKind(n, OpKind.NearBranch16);
    i.nearBranch16 = Number(target);
  } else if (bits === 32) {
    i.setOpKind(n, OpKind.NearBranch32);
    i.nearBranch32 = Number(target);
  } else {
    i.setOpKind(n, OpKind.NearBranch64);
    i.nearBranch64 = target;
  }
}

function setImmediate(
  i: Instruction,
  n: number,
  slot: Extract<Slot, { accept: 'immediate' }>,
  v: bigint,
  second: boolean,
): string | undefined {
  const { bits, extended, opKind } = slot;
  i.setOpKind(n, second && opKind === OpKind.Immediate8 ? OpKind.Immediate8_2nd : opKind);
  if (extended === 0) {
    if (!fits(v, bits)) return `${signed(v)} does not fit into ${bits} bits`;
    i.setImmediateU64(n, BigInt.asUintN(bits, v));
    return undefined;
  }
  const whole = BigInt.asIntN(extended, v);
  if (!fits(v, extended) || whole !== BigInt.asIntN(bits, whole))
    return `${signed(v)} is not a sign-extended number of ${bits} bits`;
  i.setImmediateI64(n, whole);
  return undefined;
}

const STRING_KINDS = {
  si: { 16: OpKind.MemorySegSI, 32: OpKind.MemorySegESI, 64: OpKind.MemorySegRSI },
  di: { 16: OpKind.MemorySegDI, 32: OpKind.MemorySegEDI, 64: OpKind.MemorySegRDI },
  es: { 16: OpKind.MemoryESDI, 32: OpKind.MemoryESEDI, 64: OpKind.MemoryESRDI },
  bx: { 16: Register.BX, 32: Register.EBX, 64: Register.RBX },
} as const;

function setString(
  i: Instruction,
  n: number,
  slot: Extract<Slot, { accept: 'string' }>,
  o: Memory,
  p: Parsed,
): undefined {
  const size = o.addressSize ?? p.prefixes.addressSize ?? p.bits;
  if (slot.register === 'bx') {
    i.setOpKind(n, OpKind.Memory);
    i.memoryBase = STRING_KINDS.bx[size];
    i.memoryIndex = Register.AL;
  } else i.setOpKind(n, slot.segment === 'es' ? STRING_KINDS.es[size] : STRING_KINDS[slot.register][size]);
  if (slot.segment === 'ds') setSegment(i, o.segment ?? p.prefixes.segment, Register.DS);
}

function defaultSegment(base: Register): Register {
  const stack = [Register.RSP, Register.ESP, Register.RBP, Register.EBP, Register.BP] as Register[];
  return stack.includes(base) ? Register.SS : Register.DS;
}

function setSegment(i: Instruction, segment: Register | undefined, usual: Register): void {
  if (segment !== undefined && segment !== usual) i.segmentPrefix = segment;
}

function setPrefixes(i: Instruction, { prefixes: p }: Parsed): void {
  if (p.lock) i.hasLockPrefix = true;
  if (p.rep) i.hasRepPrefix = true;
  if (p.repne || p.bnd) i.hasRepnePrefix = true;
  if (p.xacquire) i.hasXacquirePrefix = true;
  if (p.xrelease) i.hasXreleasePrefix = true;
  if (p.notrack) i.segmentPrefix = Register.DS;
  // a hint of a conditional branch: memory operands have theirs already
  if (p.segment !== undefined && i.opCount > 0 && i.isJccShortOrNear) i.segmentPrefix = p.segment;
}

/** Iced's reason in the words of the source. */
function whyNot(
  reason: string,
  c: Candidate,
  p: Parsed,
  place: Place,
  known: ReadonlyMap<Operand, Values>,
): Mistake {
  const n = c.form.slots.findIndex((s) => s.accept === 'branch');
  const o = c.operands[n];
  if (o) {
    const away = (known.get(o)?.value.value ?? 0n) - place.ip;
    const short = c.form.slots.some((s) => s.accept === 'branch' && s.short);
    const reach = short ? '-128 to 127 bytes from its end' : `${p.bits === 16 ? '32 KiB' : '2 GiB'}`;
    return {
      position: o.position,
      message: `the target is ${signed(away)} bytes away; ${p.mnemonic} reaches ${reach}`,
    };
  }
  const high = c.operands.find(
    (x) => x.kind === 'register' && /^(?:AH|BH|CH|DH)$/.test(Register[x.register] ?? ''),
  );
  if (high && /REX/i.test(reason))
    return { position: high.position, message: 'AH, BH, CH and DH do not go with a register that needs REX' };
  const m = c.operands.find((x) => x.kind === 'memory');
  const where = m && classOf((m as Memory).base) !== undefined ? m.position : p.position;
  return { position: where, message: `it cannot be encoded: ${reason.toLowerCase()}` };
}

function signed(v: bigint): string {
  return v < 0n ? `-0x${(-v).toString(16)}` : v < 10n ? `${v}` : `0x${v.toString(16)}`;
}
