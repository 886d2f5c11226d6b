/**
 * Cases of the user-mode vectors: the instances of every form, opcodes without meaning, and instances behind prefixes that
 * they have no use for.
 */
import { Code, Decoder, DecoderError, DecoderOptions, type Instruction, OpKind } from 'iced-x86';
import { random, seedOf } from './random.ts';
import { undefinedFlags } from './undefined-flags.ts';
import { type UserForm, userForms } from './user-forms.ts';
import { blankStart, plainCase, vectorValues } from './user-plain-cases.ts';
import { sequenceCase } from './user-sequences.ts';
import { oneIn, pick } from './user-values.ts';
import type { UserCase } from './user-world.ts';

/** Cases a form. */
export const CASES = 52;

/** The cases of a form; the same for the same form. */
export function userCases(form: UserForm): UserCase[] {
  const attempt = form.opcodes
    ? undefinedOpcode
    : form.before
      ? prefixedCase
      : form.sequence
        ? sequence
        : plainCase;
  const cases: UserCase[] = [];
  for (let n = 0; cases.length < CASES && n < CASES * (form.opcodes || form.sequence ? 400 : 8); n++) {
    const c = attempt(form, n);
    if (c) cases.push(c);
  }
  return cases;
}

/** What each maker's processors take bytes for; `use` must not keep the instruction. */
function decodings<T>(
  bits: number,
  bytes: Uint8Array,
  use: (i: Instruction, error: DecoderError) => T,
): [T, T] {
  const decode = (options: number): T => {
    const decoder = new Decoder(bits, bytes, options);
    const i = decoder.decode();
    const seen = use(i, decoder.lastError);
    i.free();
    decoder.free();
    return seen;
  };
  return [decode(DecoderOptions.None), decode(DecoderOptions.AMD)];
}

/** Prefixes before an opcode without meaning. */
const PREFIXES: readonly number[] = [0x66, 0xf2, 0xf3, 0x2e, 0x64, 0x67, 0x48, 0x41];
/** Bytes that lead to opcode maps of their own: EVEX, XOP, VEX. */
const ESCAPES: ReadonlySet<number | undefined> = new Set([0x62, 0x8f, 0xc4, 0xc5]);

/** Random bytes that mean nothing to processors of either maker. */
function undefinedOpcode(form: UserForm, n: number): UserCase | undefined {
  const { next, env, start } = blankStart(form, n);
  const random16 = Array.from({ length: 15 }, () => next() & 255);
  const prefix = oneIn(next, 2) ? [pick(next, PREFIXES)] : [];
  const bytes = Uint8Array.from([...prefix, ...(form.opcodes ?? []), ...random16].slice(0, 15));
  if (ESCAPES.has(bytes[prefix.length])) return undefined;
  const known = decodings(
    form.bits,
    bytes,
    (i, error) => !i.isInvalid || error !== DecoderError.InvalidInstruction,
  );
  if (known.includes(true)) return undefined;
  return { form: form.name, code: 'INVALID', env, bytes, start, pokes: [], undefinedFlags: 0 };
}

const plain = new Map<number, readonly UserForm[]>();
/** Forms with an encoding, and the names of their codes. */
function plainForms(bits: number): readonly UserForm[] {
  const known = plain.get(bits);
  if (known) return known;
  const forms = userForms().filter(
    (f) => f.bits === bits && !f.opcodes && !f.before && !f.sequence && !f.shape && !f.invalid,
  );
  plain.set(bits, forms);
  return forms;
}

function sequence(form: UserForm, n: number): UserCase | undefined {
  return sequenceCase(form, n, form.sequence ?? 2, plainForms(form.bits));
}

/** An instance of a random form behind one of the form's prefixes, where that is something both makers agree on. */
function prefixedCase(form: UserForm, n: number): UserCase | undefined {
  const next = random(seedOf(form.name, n));
  const forms = plainForms(form.bits);
  const c = plainCase(pick(next, forms), next() % 997);
  if (!c) return undefined;
  // one byte more than an instruction may have is enough
  const bytes = Uint8Array.from([...pick(next, form.before ?? []), ...c.bytes].slice(0, 16));
  const [seen, other] = decodings(form.bits, bytes, (i) => ({
    code: i.code,
    length: i.length,
    undefinedFlags: undefinedFlags(i, Code[i.code], c.start.gpr[1] ?? 0n),
    // the instruction pointer is 0 here
    loops: i.op0Kind >= OpKind.NearBranch16 && i.op0Kind <= OpKind.NearBranch64 && i.nearBranch64 < i.length,
  }));
  const { code, length, loops } = seen;
  if (bytes.length > 15 !== (form.tooLong === true) || code !== other.code || loops) return undefined;
  if (bytes.length <= 15) {
    if (code === Code.INVALID ? !form.mayFail : length !== bytes.length || length !== other.length)
      return undefined;
    if (code !== Code.INVALID && !forms.some((f) => f.code === code)) return undefined;
  }
  const name = Code[code];
  // without a segment base 16-bit addresses reach neither operand of CMPS, and no manual says which is looked at first
  if (/^Cmps[bwdq]_/.test(name) && bytes.includes(0x67)) return undefined;
  if (seen.undefinedFlags === undefined) return undefined;
  const start = { ...c.start, xmm: c.start.xmm ?? vectorValues(next) };
  return { ...c, form: form.name, code: name, bytes, start, undefinedFlags: seen.undefinedFlags };
}
