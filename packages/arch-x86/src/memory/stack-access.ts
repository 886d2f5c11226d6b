/** Whether an access of the instruction at pc went through the stack segment: #SS rather than #GP. */
import { Access } from '@faultyard/engine';
import {
  type Instruction,
  InstructionInfoFactory,
  Mnemonic,
  OpKind,
  Register,
  type UsedMemory,
} from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { AccessClass } from './access-class.ts';
import type { AccessFault } from './access-fault.ts';

let factory: InstructionInfoFactory | undefined;

/** A general register of 64-bit mode as iced-x86 numbers it: its value; RIP and none are 0. */
function registerValue(m: Machine, register: number): bigint {
  if (register < Register.RAX || register > Register.R15) return 0n;
  const slot = R.RAX + register - Register.RAX;
  return (BigInt(m.state.hi(slot) >>> 0) << 32n) | BigInt(m.state.lo(slot) >>> 0);
}

/**
 * Whether a memory operand of 64-bit code lies in the stack segment. Only its base says so: overrides by ES, CS, SS and DS
 * are ignored (AMD64 APM volume 3, 1.2.4).
 */
function inStack(u: UsedMemory): boolean {
  const based = u.base === Register.RSP || u.base === Register.RBP;
  return based && u.segment !== Register.FS && u.segment !== Register.GS;
}

/** Linear address of a memory operand of 64-bit code through ES, CS, SS or DS. */
function addressOf(m: Machine, u: UsedMemory): bigint {
  const index = registerValue(m, u.index) * BigInt(u.scale || 1);
  return BigInt.asUintN(64, registerValue(m, u.base) + index + u.displacement);
}

const BIT_TESTS: ReadonlySet<Mnemonic> = new Set([Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc]);

/** A bit string that a register indexes may be accessed anywhere around its address. */
const isBitString = (i: Instruction): boolean => BIT_TESTS.has(i.mnemonic) && i.op1Kind === OpKind.Register;

/**
 * Whether the recorded access, made in 64-bit mode, is one through SS: a push or pop, or an operand based on RSP or RBP
 * without another segment (AMD64 APM volume 2, 8.2.13).
 */
export function throughStack(m: Machine, f: Readonly<AccessFault>): boolean {
  if (f.kind === Access.Exec || f.cls & AccessClass.System) return false;
  factory ??= new InstructionInfoFactory();
  const i = m.instruction();
  const info = factory.info(i);
  const at = (BigInt(f.hi >>> 0) << 32n) | BigInt(f.lo >>> 0);
  let found = false;
  for (const u of info.usedMemory()) {
    if (!found && inStack(u)) {
      const from = addressOf(m, u);
      found = isBitString(i) || (at >= from && at - from < BigInt(Math.max(f.size, 16)));
    }
    u.free();
  }
  info.free();
  return found;
}
