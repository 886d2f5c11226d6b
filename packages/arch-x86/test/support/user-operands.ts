/** Operands of a random instance: registers, immediates, branch targets and memory in a given or a random shape. */
import { CodeExt, type Instruction, OpCodeOperandKind as K, OpKind, Register } from 'iced-x86';
import { Seg } from '../../src/isa/layout.ts';
import type { AddressShape, UserForm } from './user-forms.ts';
import { bits64, count, immediate, oneIn, pick, type Source } from './user-values.ts';

/** Memory operand of an instance. */
export interface Memory {
  readonly size: 16 | 32 | 64;
  /** General registers, by number. */
  readonly base: number | undefined;
  readonly index: number | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  /** Bytes of the displacement; 8 for an absolute offset of 64 bits. */
  readonly disp: 0 | 1 | 2 | 4 | 8;
  /** Relative to the instruction pointer. */
  readonly ip: boolean;
  readonly segment: number;
}

/** First of the registers of a size; they follow in encoding order. */
const FIRST: Readonly<Record<2 | 4 | 8, number>> = { 2: Register.AX, 4: Register.EAX, 8: Register.RAX };
const SEGMENTS: readonly Register[] = [
  Register.ES,
  Register.CS,
  Register.SS,
  Register.DS,
  Register.FS,
  Register.GS,
];
/** The four pairs and four single registers of 16-bit addresses: BX SI, BX DI, BP SI, BP DI, SI, DI, BP, BX. */
const PAIRS: readonly (readonly [base: number, index: number | undefined])[] = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, undefined],
  [7, undefined],
  [5, undefined],
  [3, undefined],
];

const REGISTERS: ReadonlyMap<number, 1 | 2 | 4 | 8 | 16> = new Map([
  ...[K.r8_or_mem, K.r8_reg, K.r8_opcode].map((k) => [k, 1] as const),
  ...[K.r16_or_mem, K.r16_reg, K.r16_reg_mem, K.r16_rm, K.r16_opcode].map((k) => [k, 2] as const),
  ...[K.r32_or_mem, K.r32_reg, K.r32_reg_mem, K.r32_rm, K.r32_opcode, K.r32_vvvv].map((k) => [k, 4] as const),
  ...[K.r64_or_mem, K.r64_reg, K.r64_reg_mem, K.r64_rm, K.r64_opcode, K.r64_vvvv].map((k) => [k, 8] as const),
  ...[K.xmm_or_mem, K.xmm_reg, K.xmm_rm].map((k) => [k, 16] as const),
]);
const EITHER: ReadonlySet<number> = new Set([
  K.r8_or_mem,
  K.r16_or_mem,
  K.r32_or_mem,
  K.r64_or_mem,
  K.xmm_or_mem,
]);
const FIXED: ReadonlyMap<number, Register> = new Map([
  [K.al, Register.AL],
  [K.cl, Register.CL],
  [K.ax, Register.AX],
  [K.dx, Register.DX],
  [K.eax, Register.EAX],
  [K.rax, Register.RAX],
  [K.es, Register.ES],
  [K.cs, Register.CS],
  [K.ss, Register.SS],
  [K.ds, Register.DS],
  [K.fs, Register.FS],
  [K.gs, Register.GS],
]);
/** Registers that are chosen from a list. */
const LISTED: ReadonlyMap<number, readonly Register[]> = new Map([
  [K.seg_reg, [Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS]],
  [K.cr_reg, [Register.CR0, Register.CR2, Register.CR3, Register.CR4]],
  [K.dr_reg, [Register.DR0, Register.DR1, Register.DR2, Register.DR3, Register.DR6, Register.DR7]],
]);
const IMMEDIATES: ReadonlyMap<number, readonly [kind: OpKind, bits: number]> = new Map([
  [K.imm8, [OpKind.Immediate8, 8]],
  [K.imm8sex16, [OpKind.Immediate8to16, 8]],
  [K.imm8sex32, [OpKind.Immediate8to32, 8]],
  [K.imm8sex64, [OpKind.Immediate8to64, 8]],
  [K.imm16, [OpKind.Immediate16, 16]],
  [K.imm32, [OpKind.Immediate32, 32]],
  [K.imm32sex64, [OpKind.Immediate32to64, 32]],
]);
/** Bits of the displacement, of the instruction pointer. */
const BRANCHES: ReadonlyMap<number, readonly [kind: OpKind, bits: number, ip: 16 | 32 | 64]> = new Map([
  [K.br16_1, [OpKind.NearBranch16, 8, 16]],
  [K.br32_1, [OpKind.NearBranch32, 8, 32]],
  [K.br64_1, [OpKind.NearBranch64, 8, 64]],
  [K.br16_2, [OpKind.NearBranch16, 16, 16]],
  [K.br32_4, [OpKind.NearBranch32, 32, 32]],
  [K.br64_4, [OpKind.NearBranch64, 32, 64]],
]);

/** Number of a general register, 0 to 15; `undefined` for others. */
export function gprOf(r: Register): number | undefined {
  if (r >= Register.AL && r <= Register.BL) return r - Register.AL;
  if (r >= Register.AH && r <= Register.BH) return r - Register.AH;
  if (r >= Register.SPL && r <= Register.R15L) return r - Register.SPL + 4;
  if (r >= Register.AX && r <= Register.R15) return (r - Register.AX) % 16;
  return undefined;
}

/** Fills in all operands. Returns the memory operand, if it has an explicit one. */
export function fillOperands(i: Instruction, form: UserForm, next: Source, rip: bigint): Memory | undefined {
  const o = CodeExt.opCode(form.code);
  const shift = /^(Ro[lr]|Rc[lr]|S[ah][lr]|Sh[lr]d)_/.test(form.name.split(' ')[1] ?? '');
  const width = o.operandSize / 8 || 1;
  let memory: Memory | undefined;
  let last: number | undefined;
  for (let n = 0; n < o.opCount; n++) {
    const kind = o.opKind(n);
    const size = REGISTERS.get(kind);
    const [imm, immBits] = IMMEDIATES.get(kind) ?? [];
    const branch = BRANCHES.get(kind);
    const listed = LISTED.get(kind);
    const fixed = listed ? pick(next, listed) : FIXED.get(kind);
    if (size !== undefined && !(EITHER.has(kind) && form.kind === 'memory')) {
      const r = register(next, size, form.bits, last);
      if (size !== 16) last = gprOf(r);
      i.setOpKind(n, OpKind.Register);
      i.setOpRegister(n, r);
    } else if (fixed !== undefined) {
      i.setOpKind(n, OpKind.Register);
      i.setOpRegister(n, fixed);
    } else if (imm !== undefined && immBits !== undefined) {
      const second = n > 0 && kind === K.imm8 && IMMEDIATES.has(o.opKind(n - 1));
      i.setOpKind(n, second ? OpKind.Immediate8_2nd : imm);
      const v = shift ? count(next, width) : immediate(next, immBits);
      if (second || imm === OpKind.Immediate8) i.setImmediateU32(n, v & 255);
      else if (imm === OpKind.Immediate16) i.setImmediateU32(n, v & 0xffff);
      else i.setImmediateI32(n, shift ? (v << 24) >> 24 : v);
    } else if (kind === K.imm8_const_1) {
      i.setOpKind(n, OpKind.Immediate8);
      i.setImmediateU32(n, 1);
    } else if (kind === K.imm64) {
      i.setOpKind(n, OpKind.Immediate64);
      i.setImmediateU64(n, oneIn(next, 3) ? bits64(next) : BigInt.asUintN(64, BigInt(immediate(next, 32))));
    } else if (branch) {
      i.setOpKind(n, branch[0]);
      i.nearBranch64 = target(next, rip, branch[1], branch[2]);
    } else if (kind === K.seg_rBX_al) {
      memory = setMemory(i, n, {
        size: form.address,
        base: 3,
        index: 0,
        scale: 1,
        disp: 0,
        ip: false,
        segment: override(next, form) ?? Seg.DS,
      });
      i.memoryIndex = Register.AL;
    } else if (kind === K.seg_rSI || kind === K.es_rDI || kind === K.seg_rDI) {
      i.setOpKind(n, implied(kind, form.address));
      if (kind !== K.es_rDI) {
        const segment = override(next, form);
        if (segment !== undefined) i.segmentPrefix = SEGMENTS[segment] as Register;
      }
    } else if (kind === K.mem_offs) {
      const segment = override(next, form) ?? Seg.DS;
      const size = oneIn(next, 4) ? (form.bits === 64 || form.bits === 16 ? 32 : 16) : form.bits;
      memory = setMemory(i, n, {
        size,
        base: undefined,
        index: undefined,
        scale: 1,
        disp: (size / 8) as 2 | 4 | 8,
        ip: false,
        segment,
      });
    } else {
      memory = setMemory(i, n, shaped(form.shape ?? randomShape(next, form), next, form));
    }
  }
  o.free();
  return memory;
}

function implied(kind: K, size: 16 | 32 | 64): OpKind {
  const step = size === 16 ? 0 : size === 32 ? 1 : 2;
  const first =
    kind === K.seg_rSI ? OpKind.MemorySegSI : kind === K.es_rDI ? OpKind.MemoryESDI : OpKind.MemorySegDI;
  return first + step;
}

/** A register of a size; often one that an earlier operand has. */
function register(next: Source, size: 1 | 2 | 4 | 8 | 16, bits: number, last: number | undefined): Register {
  const n = last !== undefined && oneIn(next, 5) ? last : next() % (bits === 64 ? 16 : 8);
  if (size === 16) return Register.XMM0 + n;
  if (size !== 1) return FIRST[size] + n;
  if (n < 4) return (oneIn(next, 2) ? Register.AL : Register.AH) + n;
  if (n < 8) return bits === 64 && !oneIn(next, 3) ? Register.SPL + n - 4 : Register.AH + n - 4;
  return Register.R8L + n - 8;
}

function target(next: Source, rip: bigint, bits: number, ip: 16 | 32 | 64): bigint {
  const delta = bits === 32 && !oneIn(next, 6) ? (next() % 0x80_0000) - 0x40_0000 : immediate(next, bits);
  return BigInt.asUintN(ip, rip + BigInt(delta));
}

function override(next: Source, form: UserForm): number | undefined {
  if (!oneIn(next, form.bits === 64 ? 4 : 2)) return undefined;
  return oneIn(next, 2) ? pick(next, [Seg.FS, Seg.GS]) : pick(next, [Seg.ES, Seg.CS, Seg.SS, Seg.DS]);
}

function randomShape(next: Source, form: UserForm): AddressShape {
  const other = form.bits === 64 || form.bits === 16 ? 32 : 16;
  const size = oneIn(next, 8) ? other : form.bits;
  const wide = size === 16 ? 2 : 4;
  const kind = next() % 16;
  const segment = override(next, form);
  const named =
    segment === undefined ? 'none' : segment === Seg.FS ? 'fs' : segment === Seg.GS ? 'gs' : 'other';
  const disp = pick(next, [0, 1, 1, wide] as const);
  if (kind === 0) return { size, base: 'none', index: false, disp: wide, segment: named };
  if (kind === 1 && size !== 16) return { size, base: 'none', index: true, disp: 4, segment: named };
  if (kind < 4 && form.bits === 64) return { size, base: 'ip', index: false, disp: 4, segment: named };
  return { size, base: 'register', index: kind > 10, disp, segment: named };
}

function shaped(s: AddressShape, next: Source, form: UserForm): Memory {
  let base: number | undefined;
  let index: number | undefined;
  let scale: 1 | 2 | 4 | 8 = 1;
  if (s.size === 16) {
    const fit = PAIRS.filter(([, second]) => (second !== undefined) === s.index);
    // [BP] needs a displacement
    if (s.base === 'register')
      [base, index] = pick(
        next,
        fit.filter(([b]) => s.disp > 0 || s.index || b !== 5),
      );
  } else {
    const registers = form.bits === 64 ? 16 : 8;
    if (s.base === 'register') {
      do base = next() % registers;
      while (s.disp === 0 && (base & 7) === 5);
    }
    if (s.index) {
      do index = next() % registers;
      while (index === 4);
      scale = pick(next, [1, 2, 4, 8]);
    }
  }
  const natural = base === 4 || base === 5 ? Seg.SS : Seg.DS;
  const other = pick(next, [Seg.ES, Seg.CS, Seg.SS, Seg.DS]);
  const segment = { none: natural, fs: Seg.FS, gs: Seg.GS, other }[s.segment];
  return { size: s.size, base, index, scale, disp: s.disp, ip: s.base === 'ip', segment };
}

function setMemory(i: Instruction, n: number, m: Memory): Memory {
  i.setOpKind(n, OpKind.Memory);
  const first = FIRST[(m.size / 8) as 2 | 4 | 8];
  i.memoryBase = m.ip
    ? m.size === 64
      ? Register.RIP
      : Register.EIP
    : m.base === undefined
      ? Register.None
      : first + m.base;
  i.memoryIndex = m.index === undefined ? Register.None : first + m.index;
  i.memoryIndexScale = m.scale;
  // iced-x86 says 8 for a displacement that 64-bit addresses sign-extend
  i.memoryDisplSize = m.size === 64 && m.disp === 4 ? 8 : m.disp;
  const natural = m.base === 4 || m.base === 5 ? Seg.SS : Seg.DS;
  if (m.segment !== natural) i.segmentPrefix = SEGMENTS[m.segment] as Register;
  return m;
}
