/** The forms of instructions that the assembler knows: iced-x86's opcodes (but EVEX, XOP and 3DNow!) by mnemonic. */
import {
  Code,
  CodeExt,
  EncodingKind,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeOperandKind,
  OpKind,
  type Register,
} from 'iced-x86';
import { type RegisterClass, registerNamed } from './registers.ts';

/** Size of code, operands or addresses, in bits. */
export type Bits = 16 | 32 | 64;

/** What one operand of a form accepts. */
export type Slot =
  | { readonly accept: 'register'; readonly class: RegisterClass }
  | { readonly accept: 'fixed'; readonly register: Register }
  | { readonly accept: 'register-or-memory'; readonly class: RegisterClass }
  | { readonly accept: 'memory' }
  /** A full-width address in the instruction (`mov al, [moffs8]`). */
  | { readonly accept: 'offset' }
  | { readonly accept: 'vector-index'; readonly class: RegisterClass }
  /** `bits` in the instruction, sign-extended to `extended` (0: not). */
  | {
      readonly accept: 'immediate';
      readonly bits: number;
      readonly extended: number;
      readonly opKind: OpKind;
    }
  | { readonly accept: 'one' }
  /** A near target; `bits` 0: of the code's size. */
  | { readonly accept: 'branch'; readonly bits: 0 | Bits; readonly short: boolean }
  | { readonly accept: 'far'; readonly bits: 16 | 32 }
  /** Memory that a string instruction implies, by address size. */
  | { readonly accept: 'string'; readonly register: 'si' | 'di' | 'bx'; readonly segment: 'es' | 'ds' }
  | { readonly accept: 'nothing' };

/** One form: an opcode with its operand kinds. */
export interface Form {
  readonly code: Code;
  readonly slots: readonly Slot[];
  /** Size of the memory operand in bytes; 0: none, or it has no size. */
  readonly memorySize: number;
  /** The memory operand holds a far pointer. */
  readonly far: boolean;
  /** Operand size that a prefix or the mode chooses; 0: it does not depend on it. */
  readonly operandSize: 0 | Bits;
  readonly addressSize: 0 | Bits;
  /** In 64-bit code its operand size is 64 bits without a prefix. */
  readonly default64: boolean;
  readonly modes: readonly Bits[];
  readonly lock: boolean;
  /** REP or REPE, and REPNE, are allowed. */
  readonly rep: boolean;
  readonly repne: boolean;
  readonly bnd: boolean;
  readonly notrack: boolean;
  /** Its syntax as manuals print it: `MOV r/m64, imm32`. */
  readonly text: string;
  /** Its encoding as manuals print it: `REX.W C7 /0 id`. */
  readonly opcode: string;
}

const MODES: readonly Bits[] = [16, 32, 64];
const IMMEDIATES: Readonly<Record<string, readonly [bits: number, extended: number, opKind: OpKind]>> = {
  imm4_m2z: [4, 0, OpKind.Immediate8],
  imm8: [8, 0, OpKind.Immediate8],
  imm8sex16: [8, 16, OpKind.Immediate8to16],
  imm8sex32: [8, 32, OpKind.Immediate8to32],
  imm8sex64: [8, 64, OpKind.Immediate8to64],
  imm16: [16, 0, OpKind.Immediate16],
  imm32: [32, 0, OpKind.Immediate32],
  imm32sex64: [32, 64, OpKind.Immediate32to64],
  imm64: [64, 0, OpKind.Immediate64],
};
const CLASSES: readonly string[] = [
  'r8',
  'r16',
  'r32',
  'r64',
  'seg',
  'cr',
  'dr',
  'tr',
  'mm',
  'xmm',
  'ymm',
] satisfies readonly RegisterClass[];

function slotOf(kind: OpCodeOperandKind): Slot {
  const name = OpCodeOperandKind[kind] ?? '';
  const immediate = IMMEDIATES[name];
  if (immediate) {
    const [bits, extended, opKind] = immediate;
    return { accept: 'immediate', bits, extended, opKind };
  }
  const branch = /^br(16|32|64)_(\d)$/.exec(name);
  if (branch) return { accept: 'branch', bits: Number(branch[1]) as Bits, short: branch[2] === '1' };
  switch (kind) {
    case OpCodeOperandKind.xbegin_2:
    case OpCodeOperandKind.xbegin_4:
      return { accept: 'branch', bits: 0, short: false };
    case OpCodeOperandKind.mem:
      return { accept: 'memory' };
    case OpCodeOperandKind.mem_offs:
      return { accept: 'offset' };
    case OpCodeOperandKind.mem_vsib32x:
    case OpCodeOperandKind.mem_vsib64x:
      return { accept: 'vector-index', class: 'xmm' };
    case OpCodeOperandKind.mem_vsib32y:
    case OpCodeOperandKind.mem_vsib64y:
      return { accept: 'vector-index', class: 'ymm' };
    case OpCodeOperandKind.imm8_const_1:
      return { accept: 'one' };
    case OpCodeOperandKind.farbr2_2:
      return { accept: 'far', bits: 16 };
    case OpCodeOperandKind.farbr4_2:
      return { accept: 'far', bits: 32 };
    case OpCodeOperandKind.seg_rSI:
      return { accept: 'string', register: 'si', segment: 'ds' };
    case OpCodeOperandKind.es_rDI:
      return { accept: 'string', register: 'di', segment: 'es' };
    case OpCodeOperandKind.seg_rDI:
      return { accept: 'string', register: 'di', segment: 'ds' };
    case OpCodeOperandKind.seg_rBX_al:
      return { accept: 'string', register: 'bx', segment: 'ds' };
    case OpCodeOperandKind.sti_opcode:
      return { accept: 'register', class: 'st' };
    default:
  }
  const fixed = registerNamed(name);
  if (fixed !== undefined) return { accept: 'fixed', register: fixed };
  const [, stem = '', memory] = /^([a-z]+\d*?)(?:p[13])?_(or_mem)?/.exec(name) ?? [];
  const c = CLASSES.find((x) => x === stem) as RegisterClass | undefined;
  if (c === undefined) return { accept: 'nothing' };
  return memory ? { accept: 'register-or-memory', class: c } : { accept: 'register', class: c };
}

const FAR: readonly MemorySize[] = [MemorySize.SegPtr16, MemorySize.SegPtr32, MemorySize.SegPtr64];

let table: ReadonlyMap<string, readonly Form[]> | undefined;

/** Every form by iced's mnemonic in lower case; made at first use. */
function forms(): ReadonlyMap<string, readonly Form[]> {
  if (table) return table;
  const slots = new Map<OpCodeOperandKind, Slot>();
  const map = new Map<string, Form[]>();
  for (const code of Object.values(Code)) {
    if (typeof code !== 'number') continue;
    const o = CodeExt.opCode(code);
    const known = o.encoding === EncodingKind.Legacy || o.encoding === EncodingKind.VEX;
    // a decoder option is what iced wants for opcodes that a later instruction took over
    if (o.isInstruction && known && o.decoderOption === 0) {
      const kinds = Array.from({ length: o.opCount }, (_, i) => o.opKind(i));
      for (const kind of kinds) if (!slots.has(kind)) slots.set(kind, slotOf(kind));
      const name = (Mnemonic[o.mnemonic] ?? '').toLowerCase();
      const entry: Form = {
        code,
        slots: kinds.map((k) => slots.get(k) ?? { accept: 'nothing' }),
        memorySize: MemorySizeExt.size(o.memorySize),
        far: FAR.includes(o.memorySize),
        operandSize: o.operandSize as 0 | Bits,
        addressSize: o.addressSize as 0 | Bits,
        default64: o.defaultOpSize64,
        modes: MODES.filter((bits) => o.isAvailableInMode(bits)),
        lock: o.canUseLockPrefix,
        rep: o.canUseRepPrefix,
        repne: o.canUseRepnePrefix,
        bnd: o.canUseBndPrefix,
        notrack: o.canUseNotrackPrefix,
        text: o.instructionString,
        opcode: o.opCodeString,
      };
      const list = map.get(name);
      if (list) list.push(entry);
      else map.set(name, [entry]);
    }
    o.free();
  }
  table = map;
  return map;
}

/** Other spellings of a condition. */
const CONDITIONS: Readonly<Record<string, string>> = {
  z: 'e',
  nz: 'ne',
  c: 'b',
  nae: 'b',
  nc: 'ae',
  nb: 'ae',
  na: 'be',
  nbe: 'a',
  nge: 'l',
  nl: 'ge',
  ng: 'le',
  nle: 'g',
  pe: 'p',
  po: 'np',
};

/** iced names the conditions of CMPccXADD by what they negate. */
const ADDED: Readonly<Record<string, string>> = {
  a: 'nbe',
  ae: 'nb',
  g: 'nle',
  ge: 'nl',
  e: 'z',
  ne: 'nz',
};

/** Other names, and names that stand for several of iced's mnemonics (the sizes tell which). */
const ALIASES: Readonly<Record<string, readonly string[]>> = {
  sal: ['shl'],
  xlat: ['xlatb'],
  fwait: ['wait'],
  icebp: ['int1'],
  retn: ['ret'],
  lret: ['retf'],
  lcall: ['call'],
  ljmp: ['jmp'],
  movabs: ['mov'],
  loopz: ['loope'],
  loopnz: ['loopne'],
  iret: ['iret', 'iretd', 'iretq'],
  pushf: ['pushf', 'pushfd', 'pushfq'],
  popf: ['popf', 'popfd', 'popfq'],
  pusha: ['pusha', 'pushad'],
  popa: ['popa', 'popad'],
  iretw: ['iret'],
  pushfw: ['pushf'],
  popfw: ['popf'],
  pushaw: ['pusha'],
  popaw: ['popa'],
  sysretd: ['sysret'],
  sysexitd: ['sysexit'],
  movs: ['movsb', 'movsw', 'movsd', 'movsq'],
  cmps: ['cmpsb', 'cmpsw', 'cmpsd', 'cmpsq'],
  scas: ['scasb', 'scasw', 'scasd', 'scasq'],
  lods: ['lodsb', 'lodsw', 'lodsd', 'lodsq'],
  stos: ['stosb', 'stosw', 'stosd', 'stosq'],
  ins: ['insb', 'insw', 'insd'],
  outs: ['outsb', 'outsw', 'outsd'],
};

/** The forms of a mnemonic as people write it (lower case); `undefined` if there is none. */
export function formsOf(mnemonic: string): readonly Form[] | undefined {
  const added = /^cmp(\w+?)xadd$/.exec(mnemonic)?.[1];
  if (added !== undefined && ADDED[added]) return formsOf(`cmp${ADDED[added]}xadd`);
  const [, stem = '', condition = ''] = /^(j|set|cmov)(\w+)$/.exec(mnemonic) ?? [];
  const spelled = stem + (CONDITIONS[condition] ?? condition);
  const names = ALIASES[mnemonic] ?? [CONDITIONS[condition] === undefined ? mnemonic : spelled];
  const found = names.flatMap((n) => forms().get(n) ?? []);
  return found.length > 0 ? found : undefined;
}

/** One syntax of an instruction, for people. */
export interface InstructionForm {
  /** `mov`. */
  readonly mnemonic: string;
  /** Other spellings: `jz` of `je`. */
  readonly also: readonly string[];
  /** `MOV r/m64, imm32`. */
  readonly syntax: string;
  /** `o64 C7 /0 id`. */
  readonly opcode: string;
}

/** Other names of a mnemonic. */
function spellings(mnemonic: string): string[] {
  const [, stem = '', condition = ''] = /^(j|set|cmov)(\w+)$/.exec(mnemonic) ?? [];
  const conditions = Object.keys(CONDITIONS).filter((c) => CONDITIONS[c] === condition);
  const names = Object.keys(ALIASES).filter((a) => ALIASES[a]?.includes(mnemonic));
  return [...conditions.map((c) => stem + c), ...names];
}

/** Every form that the assembler takes. */
export function instructionForms(): readonly InstructionForm[] {
  return [...forms()].flatMap(([mnemonic, all]) => {
    const also = spellings(mnemonic);
    return all.map(({ text, opcode }) => ({ mnemonic, also, syntax: text, opcode }));
  });
}

/** Every mnemonic that the assembler takes, but for other spellings. */
export function mnemonics(): readonly string[] {
  return [...forms().keys()].sort();
}
