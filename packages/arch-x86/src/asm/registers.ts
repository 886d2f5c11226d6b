/** Register names as they are written. */
import { Register, RegisterExt } from 'iced-x86';

/** Kinds of registers that operands tell apart. */
export type RegisterClass =
  | 'r8'
  | 'r16'
  | 'r32'
  | 'r64'
  | 'seg'
  | 'cr'
  | 'dr'
  | 'tr'
  | 'st'
  | 'mm'
  | 'xmm'
  | 'ymm'
  | 'ip';

let names: ReadonlyMap<string, Register> | undefined;

function all(): ReadonlyMap<string, Register> {
  if (names) return names;
  const map = new Map<string, Register>();
  for (const [name, value] of Object.entries(Register)) {
    if (typeof value === 'number' && classOf(value) !== undefined) map.set(name.toLowerCase(), value);
  }
  for (let n = 8; n < 16; n++) map.set(`r${n}b`, Register.R8L + n - 8);
  map.set('st', Register.ST0);
  names = map;
  return map;
}

/** The register of a name, in either case. */
export function registerNamed(name: string): Register | undefined {
  return all().get(name.toLowerCase());
}

/** Whether a name is a register's, so that it cannot be a symbol's. */
export function isRegister(name: string): boolean {
  return all().has(name.toLowerCase());
}

/** A register's class; `undefined` for those that the assembler does not take. */
export function classOf(register: Register): RegisterClass | undefined {
  if (register === Register.RIP || register === Register.EIP) return 'ip';
  if (RegisterExt.isGPR8(register)) return 'r8';
  if (RegisterExt.isGPR16(register)) return 'r16';
  if (RegisterExt.isGPR32(register)) return 'r32';
  if (RegisterExt.isGPR64(register)) return 'r64';
  if (RegisterExt.isSegmentRegister(register)) return 'seg';
  if (RegisterExt.isCR(register)) return 'cr';
  if (RegisterExt.isDR(register)) return 'dr';
  if (RegisterExt.isTR(register)) return 'tr';
  if (RegisterExt.isST(register)) return 'st';
  if (RegisterExt.isMM(register)) return 'mm';
  if (RegisterExt.isXMM(register) && register < Register.XMM0 + 16) return 'xmm';
  if (RegisterExt.isYMM(register) && register < Register.YMM0 + 16) return 'ymm';
  return undefined;
}

/** Whether the register exists only in 64-bit code. */
export function only64(register: Register): boolean {
  const c = classOf(register);
  if (c === 'r64' || register === Register.RIP || register === Register.EIP) return true;
  const n = RegisterExt.number(register);
  if (c === 'r8') return register >= Register.SPL;
  return n >= 8 && (c === 'r16' || c === 'r32' || c === 'xmm' || c === 'ymm' || c === 'cr' || c === 'dr');
}
