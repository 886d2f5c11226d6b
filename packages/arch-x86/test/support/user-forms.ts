/**
 * Forms of the user-mode vectors: an iced-x86 `Code` in 64-, 32- or 16-bit code, with its operand kind (registers or
 * memory), LOCK or REP where it takes them, the address size of string instructions; and every shape of an effective
 * address with some instructions that use one.
 */

import * as iced from 'iced-x86';
import { Code, CodeExt, Instruction, OpCodeOperandKind as K, type OpCodeInfo } from 'iced-x86';

/** What an effective address is made of. */
export interface AddressShape {
  readonly size: 16 | 32 | 64;
  readonly base: 'none' | 'register' | 'ip';
  readonly index: boolean;
  /** Bytes of the displacement. */
  readonly disp: 0 | 1 | 2 | 4;
  /** Segment override: `other` is DS, ES, SS or CS. */
  readonly segment: 'none' | 'fs' | 'gs' | 'other';
}

/** One form. */
export interface UserForm {
  /** Unique: `64 Add_rm32_r32 memory lock`. */
  readonly name: string;
  readonly code: Code;
  readonly bits: 16 | 32 | 64;
  /** What an operand that may be either is here. */
  readonly kind: 'register' | 'memory';
  readonly prefix: 'none' | 'lock' | 'rep' | 'repne';
  /** Address size of implied operands, or of a counter. */
  readonly address: 16 | 32 | 64;
  /** Set: instances have this shape; otherwise they vary. */
  readonly shape?: AddressShape;
  /** The encoding exists, the form does not: `#UD`. */
  readonly invalid?: boolean;
  /** No encoding at all: random bytes behind these opcode bytes, none of which mean anything. */
  readonly opcodes?: readonly number[];
  /** Instances of any forms, each behind one of these strings of prefixes. */
  readonly before?: readonly (readonly number[])[];
  /** Sequences of so many instructions. */
  readonly sequence?: number;
  /** Whether the result may be no instruction, or is one of more than 15 bytes. */
  readonly mayFail?: boolean;
  readonly tooLong?: boolean;
}

/** CPUID features whose instructions belong to the vectors. */
const FEATURES: ReadonlySet<string> = new Set(
  `INTEL8086 INTEL186 INTEL286 INTEL386 INTEL486 X64 ADX BMI1 BMI2 CMOV CMPXCHG16B CX8 LZCNT MOVBE MULTIBYTENOP POPCNT
   PREFETCHW PAUSE CLFSH FSGSBASE MSR SSE SSE2 SSE3 SSE4_1 SSE4_2`.split(/\s+/),
);

/** Of SSE, what moves data or has nothing to do with vectors. */
const VECTOR = /^(Mov|Lddqu|Pmovmskb|Maskmovdqu|[LMS]fence$|Prefetch|Clflush|Crc32|Popcnt)/;

/**
 * What one process cannot be asked: what changes segments or is answered by the kernel in the processor's place (UMIP),
 * events with gates of their own (all compared on whole machines), x87 and MMX, declarations, BSWAP of 16 bits
 * (undefined), undocumented encodings of fences.
 */
const NOT_HERE: readonly RegExp[] = [
  /^(INVALID|Declare|Zero_bytes|Wait$|Bswap_r16)/,
  /^Mov_Sreg|^Pop[wdq]_[CDEFGS]S$|^L[defgs]s_|^Wr[fg]sbase/,
  /^(Sldt|Str|Verr|Verw|Smsw|Sgdt|Sidt|Lar|Lsl|Arpl)_/,
  /^(Int3|Int_imm8|Iret|Retf|Call_(m|ptr)16|Jmp_(m|ptr)16)/,
  /_mm$|_mm_|^Mov(q|nt|d)_mm|Movdq2q|fence_/,
  // only prefetches that need memory; the reserved NOPs decode as what later gave them a meaning
  /^Reservednop|^Prefetchreserved/,
];
/** What CPL 3 gets #GP(0) for, whatever the operands. */
const PRIVILEGED =
  /^(Hlt|Cli|Sti|Clts|Invd|Wbinvd|Swapgs|Rdmsr|Wrmsr|Invlpg_m|L[gi]dt_|Lldt_|Ltr_|Lmsw_|Mov_r\d\d_[cd]r|Mov_[cd]r_|In_|Out_|Ins[bwd]_|Outs[bwd]_)/;

/** All forms, in iced-x86's order, 64-bit code first. */
export function userForms(): UserForm[] {
  const forms: UserForm[] = [];
  for (const bits of [64, 32, 16] as const) {
    for (const [name, code] of Object.entries(Code)) {
      if (typeof code === 'number' && belongs(name, code, bits)) forms.push(...formsOf(name, code, bits));
    }
    forms.push(
      ...addressForms(bits),
      ...lockedForms(bits),
      ...undefinedForms(bits),
      ...prefixedForms(bits),
      ...sequenceForms(bits),
    );
  }
  return forms;
}

const features: ReadonlyMap<number, string> = new Map(
  Object.entries(iced.CpuidFeature).map(([name, n]) => [Number(n), name]),
);

function belongs(name: string, code: Code, bits: number): boolean {
  const i = new Instruction();
  i.code = code;
  const o = i.opCode;
  const mine = [...i.cpuidFeatures()].every((f) => FEATURES.has(features.get(f) ?? ''));
  const vector = [...i.cpuidFeatures()].some((f) => features.get(f)?.startsWith('SSE'));
  const decodes = bits === 64 ? o.intelDecoder64 : bits === 32 ? o.intelDecoder32 : o.intelDecoder16;
  const plain = !o.isPrivileged && !o.mustBeCpl0 && !o.isInputOutput;
  const here = mine && o.isAvailableInMode(bits) && decodes && (plain || PRIVILEGED.test(name));
  o.free();
  i.free();
  return here && !NOT_HERE.some((r) => r.test(name)) && (!vector || VECTOR.test(name));
}

const EITHER: ReadonlySet<number> = new Set([
  K.r8_or_mem,
  K.r16_or_mem,
  K.r32_or_mem,
  K.r64_or_mem,
  K.xmm_or_mem,
]);
const MEMORY: ReadonlySet<number> = new Set([K.mem, K.mem_offs]);
const IMPLIED: ReadonlySet<number> = new Set([K.seg_rSI, K.es_rDI, K.seg_rDI, K.seg_rBX_al]);

function kindsOf(o: OpCodeInfo): number[] {
  return Array.from({ length: o.opCount }, (_, i) => o.opKind(i));
}

function formsOf(name: string, code: Code, bits: 16 | 32 | 64): UserForm[] {
  const o = CodeExt.opCode(code);
  const kinds = kindsOf(o);
  const forms: UserForm[] = [];
  const add = (kind: UserForm['kind'], prefix: UserForm['prefix'], address: 16 | 32 | 64): void => {
    const words = [String(bits), name];
    if (kinds.some((k) => EITHER.has(k))) words.push(kind);
    if (prefix !== 'none') words.push(prefix);
    if (address !== bits) words.push(`a${address}`);
    forms.push({ name: words.join(' '), code, bits, kind, prefix, address });
  };
  const other = bits === 64 || bits === 16 ? 32 : 16;
  if (kinds.some((k) => IMPLIED.has(k))) {
    for (const address of [bits, other] as const) {
      for (const prefix of ['none', 'rep', 'repne'] as const) {
        const repeats = /^(Movs[bwdq]_m|Cmps|Stos|Lods|Scas)/.test(name);
        if (prefix === 'none' || repeats) add('memory', prefix, address);
      }
    }
  } else if (kinds.some((k) => MEMORY.has(k))) {
    for (const prefix of ['none', ...(o.canUseLockPrefix ? (['lock'] as const) : [])] as const)
      add('memory', prefix, bits);
  } else {
    add('register', 'none', bits);
    if (kinds.some((k) => EITHER.has(k))) add('memory', 'none', bits);
    if (o.canUseLockPrefix) add('memory', 'lock', bits);
  }
  o.free();
  return forms;
}

/** Several instructions; the many short ones meet the pairs that the engine runs at one dispatch. */
function sequenceForms(bits: 16 | 32 | 64): UserForm[] {
  const plain = { code: Code.INVALID, bits, kind: 'register', prefix: 'none', address: bits } as const;
  return [2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 6, 8].map((sequence, n) => ({
    ...plain,
    name: `${bits} ${sequence} instructions (${n + 1})`,
    sequence,
  }));
}

/** Prefixes before instructions that were made without them. */
function prefixedForms(bits: 16 | 32 | 64): UserForm[] {
  const plain = { code: Code.INVALID, bits, kind: 'register', prefix: 'none', address: bits } as const;
  const single = [0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
  const hex = (n: number): string => n.toString(16).padStart(2, '0');
  const forms: UserForm[] = single.map((p) => ({
    ...plain,
    name: `${bits} any behind ${hex(p)}`,
    before: [[p]],
  }));
  const pairs = single.flatMap((p) => single.map((q) => [p, q]));
  const rex = Array.from({ length: 16 }, (_, n) => [0x40 + n]);
  forms.push({ ...plain, name: `${bits} any behind f0`, before: [[0xf0]], mayFail: true });
  forms.push({ ...plain, name: `${bits} any behind two prefixes`, before: pairs });
  const many = pairs.map((pair) => Array.from({ length: 14 }, (_, n) => pair[n % 2] ?? 0));
  forms.push({ ...plain, name: `${bits} any of more than 15 bytes`, before: many, tooLong: true });
  if (bits === 64) forms.push({ ...plain, name: '64 any behind REX', before: rex });
  return forms;
}

/** Opcode maps, for what has no meaning in them. */
function undefinedForms(bits: 16 | 32 | 64): UserForm[] {
  const maps: readonly (readonly [name: string, opcodes: readonly number[]])[] = [
    ['primary', []],
    ['0F', [0x0f]],
    ['0F38', [0x0f, 0x38]],
    ['0F3A', [0x0f, 0x3a]],
  ];
  return maps.map(([name, opcodes]) => {
    const form = `${bits} undefined in map ${name}`;
    return { name: form, code: Code.INVALID, bits, kind: 'register', prefix: 'none', address: bits, opcodes };
  });
}

/** LOCK where it has no place: registers, instructions that do not write, those that never take it. */
function lockedForms(bits: 16 | 32 | 64): UserForm[] {
  const memory = [
    'Cmp_rm32_r32',
    'Mov_rm32_r32',
    'Bt_rm32_r32',
    'Push_rm16',
    'Shl_rm32_1',
    'Imul_r32_rm32',
    'Setb_rm8',
  ] as const;
  const register = [
    'Add_rm32_r32',
    'Xchg_rm16_r16',
    'Bts_rm32_imm8',
    'Cmpxchg_rm8_r8',
    'Nopd',
    'Clc',
  ] as const;
  return [...memory, ...register].map((name, n): UserForm => {
    const kind = n < memory.length ? 'memory' : 'register';
    const form = `${bits} ${name} ${kind} lock #UD`;
    return { name: form, code: Code[name], bits, kind, prefix: 'lock', address: bits, invalid: true };
  });
}

const ADDRESSED = [
  'Lea_r16_m',
  'Lea_r32_m',
  'Lea_r64_m',
  'Mov_r8_rm8',
  'Mov_r32_rm32',
  'Mov_rm16_r16',
  'Add_rm32_r32',
  'Movdqu_xmm_xmmm128',
] as const;

function addressForms(bits: 16 | 32 | 64): UserForm[] {
  const forms: UserForm[] = [];
  const sizes = bits === 64 ? ([64, 32] as const) : ([32, 16] as const);
  for (const name of ADDRESSED) {
    if (name === 'Lea_r64_m' && bits !== 64) continue;
    for (const size of sizes) {
      for (const shape of shapes(bits, size, name.startsWith('Lea'))) {
        const parts = [
          shape.base === 'none' ? '' : shape.base,
          shape.index ? 'index' : '',
          shape.disp ? `disp${shape.disp * 8}` : '',
        ];
        const at = parts.filter((p) => p).join('+');
        const segment = shape.segment === 'none' ? '' : `${shape.segment}:`;
        const form = `${bits} ${name} a${size} [${segment}${at}]`;
        forms.push({
          name: form,
          code: Code[name],
          bits,
          kind: 'memory',
          prefix: 'none',
          address: bits,
          shape,
        });
      }
    }
  }
  return forms;
}

function shapes(bits: number, size: 16 | 32 | 64, lea: boolean): AddressShape[] {
  const wide = size === 16 ? 2 : 4;
  const plain: Omit<AddressShape, 'segment'>[] = [
    { size, base: 'none', index: false, disp: wide },
    ...([0, 1, wide] as const).map((disp) => ({ size, base: 'register', index: false, disp }) as const),
    ...([0, 1, wide] as const).map((disp) => ({ size, base: 'register', index: true, disp }) as const),
  ];
  if (size !== 16) plain.push({ size, base: 'none', index: true, disp: 4 });
  if (bits === 64) plain.push({ size, base: 'ip', index: false, disp: 4 });
  const out: AddressShape[] = plain.map((p) => ({ ...p, segment: 'none' }));
  if (lea) return out;
  for (const segment of ['fs', 'gs', 'other'] as const)
    for (const p of plain) if (p.disp !== 1 && !(p.index && p.disp === 0)) out.push({ ...p, segment });
  return out;
}
