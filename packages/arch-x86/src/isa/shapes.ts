/** Operands of iced-x86's `Code` values: what stands where in a record, and which sizes it has. */
import { type Code, CodeExt, OpCodeOperandKind as K, MemorySizeExt } from 'iced-x86';
import type { Width } from './row.ts';

/** One operand of an encoding. */
export interface OperandShape {
  /** `either`: a register or memory, as ModRM says. `other`: segment, control and such registers, far pointers. */
  readonly kind: 'register' | 'vector' | 'memory' | 'either' | 'immediate' | 'branch' | 'other';
  /** Size in bytes of its value. */
  readonly size: Width;
  /** Size where `either` is memory. */
  readonly memory: Width;
  /** Whether as a register it is an XMM (or MMX) register. */
  readonly vector: boolean;
  /** Implied memory operand: DS:SI (with override), ES:DI, DS:DI, DS:BX+AL. */
  readonly implied?: 'si' | 'di' | 'seg-di' | 'bx';
  /** Absolute offset in the instruction. */
  readonly absolute?: boolean;
  /** Bytes of an immediate or a branch's displacement in the instruction. */
  readonly bytes: number;
}

/** All operands of an encoding, and where it exists. */
export interface Shape {
  readonly operands: readonly OperandShape[];
  /** Operand that is memory or may be; -1: none. */
  readonly memory: number;
  readonly code16: boolean;
  readonly code32: boolean;
  readonly code64: boolean;
  /** Address size in bytes where the encoding fixes it (LOOP, JCXZ); else 0. */
  readonly addressSize: number;
  /** Bytes of all immediates. */
  readonly immediates: number;
}

/** The shape of an instruction without operands, in any mode. */
export const NO_OPERANDS: Shape = {
  operands: [],
  memory: -1,
  code16: true,
  code32: true,
  code64: true,
  addressSize: 0,
  immediates: 0,
};

const widths: readonly number[] = [1, 2, 4, 8];
const widthOf = (n: number): Width => (widths.includes(n) ? n : 8) as Width;

type Part = Partial<OperandShape>;
const register = (size: Width): Part => ({ kind: 'register', size });
const vector: Part = { kind: 'vector', size: 8, vector: true };
const either = (size: Width): Part => ({ kind: 'either', size });
const immediate = (bytes: number, size: number): Part => ({ kind: 'immediate', bytes, size: size as Width });
const branch = (bytes: number, size: Width): Part => ({ kind: 'branch', bytes, size });
const memory: Part = { kind: 'memory' };

const PARTS: { readonly [kind: number]: Part } = {
  [K.mem_offs]: { kind: 'memory', absolute: true },
  [K.mem]: memory,
  [K.mem_mib]: memory,
  [K.r8_or_mem]: either(1),
  [K.r16_or_mem]: either(2),
  [K.r32_or_mem]: either(4),
  [K.r64_or_mem]: either(8),
  [K.mm_or_mem]: { kind: 'either', vector: true },
  [K.xmm_or_mem]: { kind: 'either', vector: true },
  [K.r8_reg]: register(1),
  [K.r8_opcode]: register(1),
  [K.r16_reg]: register(2),
  [K.r16_reg_mem]: register(2),
  [K.r16_rm]: register(2),
  [K.r16_opcode]: register(2),
  [K.r32_reg]: register(4),
  [K.r32_reg_mem]: register(4),
  [K.r32_rm]: register(4),
  [K.r32_opcode]: register(4),
  [K.r32_vvvv]: register(4),
  [K.r64_reg]: register(8),
  [K.r64_reg_mem]: register(8),
  [K.r64_rm]: register(8),
  [K.r64_opcode]: register(8),
  [K.r64_vvvv]: register(8),
  [K.mm_reg]: vector,
  [K.mm_rm]: vector,
  [K.xmm_reg]: vector,
  [K.xmm_rm]: vector,
  [K.al]: register(1),
  [K.cl]: register(1),
  [K.ax]: register(2),
  [K.dx]: register(2),
  [K.eax]: register(4),
  [K.rax]: register(8),
  [K.st0]: register(8),
  [K.sti_opcode]: register(8),
  [K.imm8]: immediate(1, 1),
  [K.imm8_const_1]: immediate(0, 1),
  [K.imm8sex16]: immediate(1, 2),
  [K.imm8sex32]: immediate(1, 4),
  [K.imm8sex64]: immediate(1, 8),
  [K.imm16]: immediate(2, 2),
  [K.imm32]: immediate(4, 4),
  [K.imm32sex64]: immediate(4, 8),
  [K.imm64]: immediate(8, 8),
  [K.seg_rSI]: { kind: 'memory', implied: 'si' },
  [K.es_rDI]: { kind: 'memory', implied: 'di' },
  [K.seg_rDI]: { kind: 'memory', implied: 'seg-di' },
  [K.seg_rBX_al]: { kind: 'memory', implied: 'bx' },
  [K.br16_1]: branch(1, 2),
  [K.br32_1]: branch(1, 4),
  [K.br64_1]: branch(1, 8),
  [K.br16_2]: branch(2, 2),
  [K.br32_4]: branch(4, 4),
  [K.br64_4]: branch(4, 8),
};

/** The shape of an encoding. */
export function shapeOf(code: Code): Shape {
  const o = CodeExt.opCode(code);
  const memoryBytes = widthOf(MemorySizeExt.size(o.memorySize));
  const operands: OperandShape[] = [];
  for (let i = 0; i < o.opCount; i++) {
    const part = PARTS[o.opKind(i)] ?? { kind: 'other' };
    const size = part.kind === 'memory' ? memoryBytes : (part.size ?? 8);
    operands.push({ kind: 'other', vector: false, bytes: 0, ...part, size, memory: memoryBytes });
  }
  const primary = operands.findIndex((x) => x.implied !== 'di' && isMemory(x));
  const shape: Shape = {
    operands,
    memory: primary >= 0 ? primary : operands.findIndex(isMemory),
    code16: o.mode16,
    code32: o.mode32,
    code64: o.mode64,
    addressSize: o.addressSize / 8,
    immediates: operands.reduce((n, x) => n + (x.kind === 'immediate' ? x.bytes : 0), 0),
  };
  o.free();
  return shape;
}

function isMemory(o: OperandShape): boolean {
  return o.kind === 'memory' || o.kind === 'either';
}
