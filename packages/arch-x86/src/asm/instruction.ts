/** An instruction as it is written: prefixes, mnemonic, operands, and which of its forms can be meant. */
import { Register, RegisterExt } from 'iced-x86';
import { type Bits, type Form, formsOf, mnemonics, type Slot } from './forms.ts';
import { type Memory, type Mistake, type Operand, operands } from './operands.ts';
import { classOf, registerNamed } from './registers.ts';
import type { Statement } from './statement.ts';

/** Prefixes that are written as words before the mnemonic. */
export interface Prefixes {
  lock: boolean;
  rep: boolean;
  repne: boolean;
  bnd: boolean;
  notrack: boolean;
  xacquire: boolean;
  xrelease: boolean;
  segment: Register | undefined;
  operandSize: Bits | undefined;
  addressSize: Bits | undefined;
}

/** An instruction read, its forms narrowed down to those that its operands fit whatever their values are. */
export interface Parsed {
  readonly bits: Bits;
  readonly mnemonic: string;
  readonly position: number;
  readonly prefixes: Readonly<Prefixes>;
  readonly candidates: readonly Candidate[];
}

/** A form with what stands at each of its slots. */
export interface Candidate {
  readonly form: Form;
  readonly operands: readonly Operand[];
}

const SIZED: Readonly<Record<string, Partial<Prefixes>>> = {
  data16: { operandSize: 16 },
  o16: { operandSize: 16 },
  data32: { operandSize: 32 },
  o32: { operandSize: 32 },
  o64: { operandSize: 64 },
  data64: { operandSize: 64 },
  'rex.w': { operandSize: 64 },
  addr16: { addressSize: 16 },
  a16: { addressSize: 16 },
  addr32: { addressSize: 32 },
  a32: { addressSize: 32 },
  lock: { lock: true },
  rep: { rep: true },
  repe: { rep: true },
  repz: { rep: true },
  repne: { repne: true },
  repnz: { repne: true },
  bnd: { bnd: true },
  notrack: { notrack: true },
  xacquire: { xacquire: true },
  xrelease: { xrelease: true },
};

/** Mnemonics whose memory operand has the size of the mode when none is written. */
const DEFAULT_SIZED: ReadonlySet<string> = new Set([
  ...['push', 'pop', 'call', 'jmp', 'lcall', 'ljmp', 'nop'],
  ...['fldenv', 'fstenv', 'fnstenv', 'frstor', 'fsave', 'fnsave'],
]);

/** Mnemonics that may name the registers they use anyway; the first tells the address size. */
const IMPLICIT: Readonly<Record<string, readonly string[]>> = {
  vmrun: ['ax'],
  vmload: ['ax'],
  vmsave: ['ax'],
  clzero: ['ax'],
  psmash: ['ax'],
  rmpupdate: ['ax', 'cx'],
  rmpadjust: ['ax', 'cx', 'dx'],
  rmpquery: ['ax', 'cx', 'dx'],
  pvalidate: ['ax', 'cx', 'dx'],
  invlpgb: ['ax', 'cx', 'dx'],
  skinit: ['ax'],
  invlpga: ['ax', 'cx'],
  monitor: ['ax', 'cx', 'dx'],
  monitorx: ['ax', 'cx', 'dx'],
  mwait: ['ax', 'cx'],
  mwaitx: ['ax', 'cx', 'bx'],
};

/** Reads an instruction (the cursor stands at its first word). */
export function parseInstruction(c: Statement, bits: Bits): Parsed | Mistake {
  const prefixes: Prefixes = {
    lock: false,
    rep: false,
    repne: false,
    bnd: false,
    notrack: false,
    xacquire: false,
    xrelease: false,
    segment: undefined,
    operandSize: undefined,
    addressSize: undefined,
  };
  for (;;) {
    c.scan(/\{vex\}/iy);
    c.atEnd();
    const { position } = c;
    const word = c.word();
    if (word === undefined) return { position, message: 'expected an instruction, a directive or a label' };
    const sized = SIZED[word];
    if (sized) Object.assign(prefixes, sized);
    else if (/^[cdefgs]s$/.test(word) && !c.atEnd()) prefixes.segment = registerNamed(word);
    else return narrow(c, bits, prefixes, word, position);
    if (c.atEnd())
      return { position, message: `the prefix ${word} stands before an instruction: use .byte for it alone` };
  }
}

function narrow(
  c: Statement,
  bits: Bits,
  prefixes: Prefixes,
  written: string,
  position: number,
): Parsed | Mistake {
  let known = formsOf(written);
  const mnemonic = known ? written : (suffixed(written, prefixes) ?? written);
  known ??= formsOf(mnemonic);
  if (!known) return { position, message: `unknown instruction "${mnemonic}"${similar(mnemonic)}` };
  const all = known.filter((f) => f.modes.includes(bits));
  if (all.length === 0) return { position, message: `${mnemonic} does not exist in ${bits}-bit code` };
  const given = operands(c, bits);
  if ('message' in given) return given;
  const ops =
    implicit(mnemonic, given, prefixes) ?? farPointer(mnemonic, given) ?? selectors(mnemonic, given, bits);
  let fits = all.flatMap((form) => candidate(form, complete(form, ops)));
  if (fits.length === 0 && ops.length === 2 && (mnemonic === 'test' || mnemonic === 'xchg')) {
    const swapped = [...ops].reverse();
    fits = all.flatMap((form) => candidate(form, swapped));
  }
  if (mnemonic === 'movabs')
    fits = fits.filter((f) =>
      f.form.slots.some((s) => s.accept === 'offset' || (s.accept === 'immediate' && s.bits === 64)),
    );
  if (fits.length === 0) return misfit(mnemonic, all, ops, position);
  const sized = bySize(mnemonic, fits, ops);
  if ('message' in sized) return sized;
  const natural = bySizeOfCode(sized, prefixes, bits);
  if (typeof natural === 'string') return { position, message: natural };
  const wrong = badPrefix(natural, prefixes, mnemonic);
  if (wrong) return { position, message: wrong };
  return { bits, mnemonic, position, prefixes, candidates: natural };
}

/** Instructions that use 16 bits of a general register whatever its size. */
const SELECTORS: ReadonlySet<string> = new Set(['lldt', 'ltr', 'verr', 'verw', 'lmsw', 'arpl']);

/** The register of the code's size where only 16 bits of it are used: a prefix would change nothing. */
function selectors(mnemonic: string, ops: readonly Operand[], bits: Bits): readonly Operand[] {
  const [first] = ops;
  const loads = mnemonic === 'mov' && first?.kind === 'register' && first.class === 'seg';
  if (!loads && !SELECTORS.has(mnemonic)) return ops;
  return ops.map((o) => {
    if (o.kind !== 'register' || !/^r(16|32|64)$/.test(o.class)) return o;
    const n = RegisterExt.number(o.register);
    return bits === 16
      ? { ...o, register: Register.AX + n, class: 'r16' }
      : { ...o, register: Register.EAX + n, class: 'r32' };
  });
}

/** GNU's names with the operand size at the end, of instructions whose operands do not tell it: `retw`, `pushd`. */
function suffixed(mnemonic: string, prefixes: Prefixes): string | undefined {
  const m =
    /^(push|pop|call|jmp|ret|retf|lret|lcall|ljmp|leave|enter|[ls][gi]dt|f(?:ldenv|n?stenv|rstor|n?save))([wdq])$/.exec(
      mnemonic,
    );
  if (!m?.[1]) return undefined;
  prefixes.operandSize ??= m[2] === 'w' ? 16 : m[2] === 'd' ? 32 : 64;
  return m[1];
}

/** Other operand lists that mean the form: string instructions and x87 imply theirs, IMUL repeats its first,
 * AAM and AAD have a base. */
function complete(form: Form, ops: readonly Operand[]): readonly Operand[] {
  const { slots } = form;
  if (ops.length === slots.length) return ops;
  const implied = (s: Slot): Operand | undefined =>
    s.accept === 'fixed'
      ? { kind: 'register', register: s.register, class: classOf(s.register) ?? 'r8', position: 0 }
      : s.accept === 'register' && s.class === 'st'
        ? { kind: 'register', register: Register.ST1, class: 'st', position: 0 }
        : undefined;
  const strings = slots.some((s) => s.accept === 'string');
  const stack = slots.length === 2 && slots.some((s) => s.accept === 'register' && s.class === 'st');
  if (ops.length === 0 && (strings || stack)) {
    const filled = slots.map((s) => (s.accept === 'string' ? IMPLIED_STRING : implied(s)));
    if (filled.every((o) => o !== undefined)) return filled;
  }
  const [only] = ops;
  if (stack && ops.length === 1 && only) {
    return slots.map((s) => (s.accept === 'fixed' ? (implied(s) ?? only) : only));
  }
  // with an address written, the register that goes with it is still implied
  if (strings && ops.length === 1 && ops[0]?.kind === 'memory' && slots.length === 2) {
    const [memory] = ops;
    return slots.map((s) => (s.accept === 'string' ? memory : (implied(s) ?? memory)));
  }
  // MASKMOVQ implies its destination only
  if (slots[0]?.accept === 'string' && ops.length === 2 && slots.length === 3)
    return [IMPLIED_STRING, ...ops];
  // the mask of SSE4.1 blends may be written
  if (
    form.text.endsWith('<XMM0>') &&
    ops.length === slots.length + 1 &&
    isRegister(ops.at(-1), Register.XMM0)
  )
    return ops.slice(0, -1);
  // AAM and AAD are decimal unless another base is written
  if (ops.length === 0 && /^AA[MD] /.test(form.text)) return [TEN];
  const [first, second] = ops;
  if (
    form.text.startsWith('IMUL') &&
    ops.length === 2 &&
    first?.kind === 'register' &&
    second?.kind === 'value'
  )
    return [first, first, second];
  return ops;
}

function isRegister(o: Operand | undefined, r: Register): boolean {
  return o?.kind === 'register' && o.register === r;
}

const TEN: Operand = {
  kind: 'value',
  value: { kind: 'number', value: 10n },
  size: undefined,
  distance: undefined,
  position: 0,
};

/** What stands for the memory operand of a string instruction written without operands. */
const IMPLIED_STRING: Memory = {
  kind: 'memory',
  size: undefined,
  far: false,
  segment: undefined,
  base: Register.None,
  index: Register.None,
  scale: 1,
  displacement: [],
  how: undefined,
  addressSize: undefined,
  position: 0,
};

/** GNU's `ljmp 8, offset` as the far pointer `8:offset`. */
function farPointer(mnemonic: string, ops: readonly Operand[]): readonly Operand[] | undefined {
  const [selector, offset] = ops;
  if (!/^l(jmp|call)$/.test(mnemonic) || selector?.kind !== 'value' || offset?.kind !== 'value')
    return undefined;
  const { position, size } = selector;
  return [{ kind: 'far', selector: selector.value, offset: offset.value, size, position }];
}

/** No operands where the registers named are those that the instruction uses anyway. */
function implicit(
  mnemonic: string,
  ops: readonly Operand[],
  prefixes: Prefixes,
): readonly Operand[] | undefined {
  const stems = IMPLICIT[mnemonic];
  if (!stems || ops.length === 0 || ops.length > stems.length) return undefined;
  for (const [i, o] of ops.entries()) {
    const stem = stems[i] ?? '';
    if (o.kind !== 'register') return undefined;
    const all = [stem, `e${stem}`, `r${stem}`].map(registerNamed);
    if (!all.includes(o.register)) return undefined;
  }
  const [first] = ops;
  if (mnemonic !== 'skinit' && !mnemonic.startsWith('mwait') && first?.kind === 'register')
    prefixes.addressSize ??= Number(first.class.slice(1)) as Bits;
  return [];
}

function candidate(form: Form, ops: readonly Operand[]): Candidate[] {
  const fits =
    ops.length === form.slots.length && form.slots.every((slot, i) => takes(form, slot, ops[i] as Operand));
  return fits ? [{ form, operands: ops }] : [];
}

/** Whether an operand can stand at a slot, its value aside. */
function takes(form: Form, slot: Slot, o: Operand): boolean {
  const vector = o.kind === 'memory' && ['xmm', 'ymm'].includes(classOf(o.index) ?? '');
  const sized = (m: Memory): boolean =>
    m.size === undefined || form.memorySize === 0 || m.size === form.memorySize;
  switch (slot.accept) {
    case 'register':
      return o.kind === 'register' && o.class === slot.class;
    case 'fixed':
      return o.kind === 'register' && o.register === slot.register;
    case 'register-or-memory':
      if (o.kind === 'register') return o.class === slot.class;
      return o.kind === 'memory' && !vector && sized(o);
    case 'memory':
      return o.kind === 'memory' && !vector && sized(o);
    case 'vector-index':
      return o.kind === 'memory' && classOf(o.index) === slot.class && sized(o);
    case 'offset':
      return (
        o.kind === 'memory' && !o.base && !o.index && o.how !== 'rel' && sized(o) && o !== IMPLIED_STRING
      );
    case 'string':
      return o.kind === 'memory' && sized(o) && (o === IMPLIED_STRING || isString(o, slot));
    case 'immediate': {
      if (o.kind !== 'value' || o.distance !== undefined) return false;
      return o.size === undefined || o.size * 8 === slot.bits || o.size * 8 === slot.extended;
    }
    case 'one':
      return o.kind === 'value' && (o.size ?? 1) === 1;
    case 'branch':
      if (o.kind !== 'value' || (o.size !== undefined && o.size * 8 !== slot.bits)) return false;
      return o.distance === undefined || (o.distance === 'short') === slot.short;
    case 'far':
      return o.kind === 'far' && (o.size === undefined || o.size * 8 === slot.bits);
    default:
      return false;
  }
}

function isString(o: Memory, slot: Extract<Slot, { accept: 'string' }>): boolean {
  const bases = ['', 'e', 'r'].map((p) => registerNamed(p + slot.register));
  if (!bases.includes(o.base) || o.displacement.length > 0) return false;
  if (slot.segment === 'es' && o.segment !== undefined && o.segment !== Register.ES) return false;
  return o.index === (slot.register === 'bx' ? o.index : Register.None);
}

/** Far or near, and one size of memory. */
function bySize(
  mnemonic: string,
  fits: readonly Candidate[],
  ops: readonly Operand[],
): readonly Candidate[] | Mistake {
  const o = ops.find((x): x is Memory => x.kind === 'memory');
  if (!o) return fits;
  const far = o.far || mnemonic === 'ljmp' || mnemonic === 'lcall';
  const distance = fits.filter((f) => f.form.far === far);
  const left = distance.length > 0 ? distance : fits;
  const sizes = [...new Set(left.map((f) => f.form.memorySize).filter((n) => n > 0))];
  if (o.size !== undefined || sizes.length < 2 || DEFAULT_SIZED.has(mnemonic)) return left;
  const words = sizes.map((n) => `${NAMES[n] ?? n} ptr`).join(', ');
  return {
    position: o.position,
    message: `the size of the memory operand is open: put one of ${words} before it`,
  };
}

const NAMES: Readonly<Record<number, string>> = {
  1: 'byte',
  2: 'word',
  4: 'dword',
  6: 'fword',
  8: 'qword',
  10: 'tbyte',
  16: 'xmmword',
  32: 'ymmword',
};

/** Where operands leave it open, operand and address size are those of the code, or of a prefix that is written. */
function bySizeOfCode(
  fits: readonly Candidate[],
  prefixes: Readonly<Prefixes>,
  bits: Bits,
): readonly Candidate[] | string {
  const natural = bits === 64 ? (fits.some((f) => f.form.default64) ? 64 : 32) : bits;
  const size = prefixes.operandSize ?? natural;
  let left: readonly Candidate[] = fits.filter(
    (f) => f.form.operandSize === 0 || f.form.operandSize === size,
  );
  if (prefixes.operandSize !== undefined && !left.some((f) => f.form.operandSize === size))
    return `no form of it has an operand size of ${size} bits: use .byte for a prefix without effect`;
  if (left.length === 0) left = fits;
  const addresses = left.filter((f) => [0, prefixes.addressSize ?? bits].includes(f.form.addressSize));
  return addresses.length > 0 ? addresses : left;
}

function badPrefix(fits: readonly Candidate[], p: Readonly<Prefixes>, mnemonic: string): string | undefined {
  const some = (test: (f: Form) => boolean): boolean => fits.some((c) => test(c.form));
  const memory = fits.some((c) => c.operands[0]?.kind === 'memory');
  if (p.lock && !(some((f) => f.lock) && memory))
    return `lock goes with a read-modify-write of memory, not with this ${mnemonic} (use .byte 0xf0 for #UD)`;
  // "rep ret" is how compilers pad a branch target
  if (p.rep && mnemonic !== 'ret' && !some((f) => f.rep))
    return `rep goes with string instructions, not with ${mnemonic}`;
  if (p.repne && !some((f) => f.repne || f.rep || f.bnd)) return `repne does not go with ${mnemonic}`;
  const hint = /^j(?!mp|[er]?cxz)/.test(mnemonic) && p.segment !== undefined;
  const inMemory = fits.some((c) => c.operands.some((o) => o.kind === 'memory'));
  if (p.segment !== undefined && !inMemory && !hint)
    return `a segment prefix goes with memory, not with this ${mnemonic}`;
  if (p.addressSize !== undefined && !inMemory && !some((f) => f.addressSize === p.addressSize))
    return `an address size goes with memory, not with this ${mnemonic}`;
  if (p.bnd && !some((f) => f.bnd)) return `bnd does not go with ${mnemonic}`;
  if (p.notrack && !some((f) => f.notrack)) return `notrack does not go with ${mnemonic}`;
  return undefined;
}

/** Says which operand is the wrong one, and what the forms with the most fitting operands take. */
function misfit(mnemonic: string, all: readonly Form[], ops: readonly Operand[], position: number): Mistake {
  const same = all.filter((f) => f.slots.length === ops.length);
  if (same.length === 0) {
    const counts = [...new Set(all.map((f) => f.slots.length))].sort();
    return {
      position,
      message: `${mnemonic} takes ${counts.join(' or ')} operands, not ${ops.length}: ${list(all)}`,
    };
  }
  const scored = same.map((form) => {
    const wrong = form.slots.findIndex((s, i) => !takes(form, s, ops[i] as Operand));
    return { form, wrong, fitting: form.slots.filter((s, i) => takes(form, s, ops[i] as Operand)).length };
  });
  const best = Math.max(...scored.map((s) => s.fitting));
  const nearest = scored.filter((s) => s.fitting === best);
  const at = Math.max(...nearest.map((s) => s.wrong));
  return {
    position: ops[at]?.position ?? position,
    message: `no form of ${mnemonic} takes these operands; the nearest: ${list(nearest.map((s) => s.form))}`,
  };
}

function list(forms: readonly Form[]): string {
  const texts = [...new Set(forms.map((f) => f.text))];
  return texts.slice(0, 6).join(' | ') + (texts.length > 6 ? ` and ${texts.length - 6} more` : '');
}

/** `; did you mean …?` for a slip of one letter, or nothing. */
function similar(word: string): string {
  const near = mnemonics().filter((m) => isNear(word, m));
  return near.length > 0 ? `; did you mean ${near.slice(0, 3).join(', ')}?` : '';
}

/** One letter more, less, other, or two swapped. */
function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1 || a.length < 3) return false;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  const rest = (s: string, n: number): string => s.slice(i + n);
  const swapped = a[i] === b[i + 1] && a[i + 1] === b[i] && rest(a, 2) === rest(b, 2);
  return swapped || rest(a, 1) === rest(b, 1) || rest(a, 0) === rest(b, 1) || rest(a, 1) === rest(b, 0);
}
