/**
 * Cases of several instructions: flags that one leaves and a later one reads, registers that pass values on, and pairs that
 * the engine runs at one dispatch. The first may access memory; branches stand last.
 */
import { Code, Decoder, type Instruction, RflagsBits } from 'iced-x86';
import { FL } from '../../src/isa/flags.ts';
import { random, seedOf } from './random.ts';
import { undefinedFlags } from './undefined-flags.ts';
import type { UserForm } from './user-forms.ts';
import { plainCase } from './user-plain-cases.ts';
import { oneIn, pick, type Source } from './user-values.ts';
import type { UserCase } from './user-world.ts';

/** What may follow in a sequence: register forms of plain integer instructions. */
const FOLLOWS =
  /^(Add|Or|Adc|Sbb|And|Sub|Xor|Cmp|Test|Inc|Dec|Neg|Not|Mul|Imul|Div|Shl|Shr|Sar|Rol|Ror|Rcl|Rcr|Bt[scr]?|Bs[fr]|Lzcnt|Tzcnt|Popcnt|Set|Cmov|Mov|Movzx|Movsx|Movsxd|Lea|Xchg|Xadd|Cmpxchg|Bswap|Adcx|Adox|VEX|Lahf|Sahf|Cmc|Clc|Stc|Cbw|Cwd|Cdq|Cqo|Push_r|Pop_r|Daa|Das|Aa[asmd]|Salc)/;
/** What a sequence may begin with, beside those. */
const BEGINS = /^(Push|Pop|Leave|Add|Sub|Cmp|Test|And|Xor|Mov|Movzx|Movsx|Imul|Adc|Sbb|Inc|Dec|Xadd|Cmpxchg)/;
const BRANCH = /^J\w+_rel(8|32)_/;
const LEFT_OUT = /^(Push|Pop)[af]|_CL$|xmm|_[cd]r|Sreg|moffs|16b|8b_|_m\d+$|bsw|nt_|_m\d+_xmm|_[CDEFGS]S$/;

interface Choice {
  readonly first: readonly UserForm[];
  readonly middle: readonly UserForm[];
  readonly last: readonly UserForm[];
}
const choices = new Map<number, Choice>();
const codeOf = (f: UserForm): string => f.name.split(' ')[1] ?? '';

function choiceOf(bits: number, forms: readonly UserForm[]): Choice {
  const known = choices.get(bits);
  if (known) return known;
  const plain = forms.filter((f) => f.prefix === 'none' && !LEFT_OUT.test(codeOf(f)));
  const middle = plain.filter((f) => f.kind === 'register' && FOLLOWS.test(codeOf(f)));
  const choice: Choice = {
    first: [...plain.filter((f) => BEGINS.test(codeOf(f))), ...middle],
    middle,
    last: plain.filter((f) => BRANCH.test(codeOf(f))),
  };
  choices.set(bits, choice);
  return choice;
}

const BITS: readonly (readonly [iced: number, flag: number])[] = [
  [RflagsBits.OF, FL.OF],
  [RflagsBits.SF, FL.SF],
  [RflagsBits.ZF, FL.ZF],
  [RflagsBits.AF, FL.AF],
  [RflagsBits.CF, FL.CF],
  [RflagsBits.PF, FL.PF],
  [RflagsBits.DF, FL.DF],
];
const flagsOf = (bits: number): number => BITS.reduce((f, [iced, flag]) => f | (bits & iced ? flag : 0), 0);

/** Follows which flags are undefined along a sequence. */
class Flags {
  now = 0;
  /** Undefined at some point: an exception may show them. */
  ever = 0;
  /** False when the instruction reads, or leaves as a result, what is undefined. */
  next(i: Instruction): boolean {
    const name = Code[i.code];
    if (flagsOf(i.rflagsRead) & this.now) return false;
    // PUSHF, LAHF and SETcc are such readers, too; the count of a shift by an immediate may leave all flags
    const kept = /^(Ro|Rc|S[ah][lr])/.test(name) && /_imm8$/.test(name);
    const undefinedBits = undefinedFlags(i, name, 0n);
    if (undefinedBits === undefined) return false;
    this.now = (kept ? this.now : this.now & ~flagsOf(i.rflagsModified)) | undefinedBits;
    this.ever |= this.now;
    return true;
  }
}

/** A sequence of `length` instructions, or `undefined` where this attempt gives none. */
export function sequenceCase(
  form: UserForm,
  n: number,
  length: number,
  forms: readonly UserForm[],
): UserCase | undefined {
  const next: Source = random(seedOf(form.name, n));
  const choice = choiceOf(form.bits, forms);
  const first = plainCase(pick(next, choice.first), next() % 997);
  if (!first) return undefined;
  const parts = [first.bytes];
  while (parts.length < length) {
    const branch = parts.length === length - 1 && oneIn(next, 2);
    const c = plainCase(pick(next, branch ? choice.last : choice.middle), next() % 997);
    if (c) parts.push(c.bytes);
  }
  const bytes = Uint8Array.from(parts.flatMap((p) => [...p]));
  const flags = new Flags();
  const decoder = new Decoder(form.bits, bytes, 0);
  let good = true;
  while (decoder.canDecode) {
    const i = decoder.decode();
    // the first byte is at 0
    const loops = i.isJmpShortOrNear || i.isJccShortOrNear ? i.nearBranchTarget < bytes.length : false;
    good &&= !i.isInvalid && !loops && flags.next(i);
    i.free();
  }
  decoder.free();
  if (!good) return undefined;
  return { ...first, form: form.name, code: 'sequence', bytes, undefinedFlags: flags.ever };
}
