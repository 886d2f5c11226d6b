/**
 * Plain loads of a register. What KVM's emulator does with them is known beforehand, so that a device access by one needs
 * no second execution: it is done when its answer is in the register.
 */
import { Code, type Instruction, MemorySize, OpKind, Register } from 'iced-x86';
import type { X86State } from '../state.ts';
import { registerSize, registerSlot } from '../system/operand.ts';

/** A plain load. */
export interface SimpleAccess {
  /** Bytes of the instruction, and of the access. */
  readonly length: number;
  readonly size: 1 | 2 | 4 | 8;
  /** Register slot; AH to BH are marked `high`. */
  readonly slot: number;
  readonly high: boolean;
  /** Bytes of the register, and whether the value is sign-extended to it. */
  readonly width: 1 | 2 | 4 | 8;
  readonly signed: boolean;
}

const codes = (names: readonly string[]): ReadonlySet<number> =>
  new Set(names.map((n) => (Code as unknown as Record<string, number>)[n] ?? -1));
const LOADS = codes([
  'Mov_r8_rm8',
  'Mov_r16_rm16',
  'Mov_r32_rm32',
  'Mov_r64_rm64',
  'Mov_AL_moffs8',
  'Mov_AX_moffs16',
  'Mov_EAX_moffs32',
  'Mov_RAX_moffs64',
  'Movzx_r16_rm8',
  'Movzx_r32_rm8',
  'Movzx_r64_rm8',
  'Movzx_r32_rm16',
  'Movzx_r64_rm16',
]);
const SIGNED = codes([
  'Movsx_r16_rm8',
  'Movsx_r32_rm8',
  'Movsx_r64_rm8',
  'Movsx_r32_rm16',
  'Movsx_r64_rm16',
  'Movsxd_r64_rm32',
]);
/** Bytes by iced's MemorySize. */
const SIZES: Readonly<Record<number, 1 | 2 | 4 | 8>> = {
  [MemorySize.UInt8]: 1,
  [MemorySize.UInt16]: 2,
  [MemorySize.UInt32]: 4,
  [MemorySize.UInt64]: 8,
  [MemorySize.Int8]: 1,
  [MemorySize.Int16]: 2,
  [MemorySize.Int32]: 4,
  [MemorySize.Int64]: 8,
};

/** The load an instruction is; `undefined` for everything else. */
export function simpleAccess(i: Instruction): SimpleAccess | undefined {
  const { code } = i;
  const size = SIZES[i.memorySize];
  if (size === undefined) return undefined;
  const common = { length: i.length, size };
  const signed = SIGNED.has(code);
  if ((!signed && !LOADS.has(code)) || i.op1Kind !== OpKind.Memory) return undefined;
  const r = i.op0Register;
  const high = r >= Register.AH && r <= Register.BH;
  const width = registerSize(r);
  if (width === 0) return undefined;
  const slot = high ? r - Register.AH : width === 1 ? byteSlot(r) : registerSlot(r);
  return { ...common, slot, high, width, signed };
}
/** Slot of a low-byte register: iced numbers AL CL DL BL, AH CH DH BH, SPL …. */
const byteSlot = (r: Register): number => (r < Register.AH ? r - Register.AL : r - Register.SPL + 4);

/** Writes the answer of a load to its register. */
export function completeLoad(s: X86State, a: SimpleAccess, lo: number, hi: number): void {
  let low = lo;
  let high = a.size === 8 ? hi : 0;
  if (a.size < 4) {
    const shift = 32 - 8 * a.size;
    low = a.signed ? (lo << shift) >> shift : (lo << shift) >>> shift;
  }
  if (a.signed) high = low >> 31;
  if (a.high) {
    const old = s.lo(a.slot);
    s.setSized(a.slot, 2, (old & 0xff) | ((low & 0xff) << 8), 0);
  } else s.setSized(a.slot, a.width, low, high);
}
