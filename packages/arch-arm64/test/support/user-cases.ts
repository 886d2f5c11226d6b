/**
 * Cases for the user-mode oracle: every instance of every form that EL0 can run, with base registers chosen so that
 * most accesses meet the window, some its edges, and some the unmapped pages beside it.
 */
import { extract } from '../../src/isa/bits.ts';
import { type Bits, type Form, ZR } from '../../src/isa/form.ts';
import { type Table, variantOf } from '../../src/isa/table.ts';
import { evaluate, type Machine } from './evaluate.ts';
import { formsOf, instances, random, seedOf, type TestForm } from './instances.ts';
import { CODE_BASE, CODE_SIZE, startState, type UserCase, WINDOW, WINDOW_SIZE } from './user-world.ts';

/** Rows that the oracle cannot run: privileged, or they leave the process, or read what differs between hosts. */
const NOT_HERE = /^(SVC|HVC|SMC|BRK|HLT|DCPS|ERET|DRPS|MSR|MRS|SYSL?$|WF[EI]$|SEVL?$|YIELD|ESB|ISB|LDLAR)/;

/** Instances of rows that are too wide to be drawn at random: NZCV, read and written. */
const BY_HAND: readonly { readonly form: string; readonly word: number }[] = Array.from(
  { length: 64 },
  (_, t) => [
    { form: 'MRS nzcv', word: 0xd53b4200 + (t & 31) },
    { form: 'MSR nzcv', word: 0xd51b4200 + (t & 31) },
  ],
).flat();

/** Cases a form. */
const COUNT = 60;

/** B and BL reach further than the code region: the word with its displacement cut to what stays inside. */
function within(form: Form, word: number): number {
  if (form.name !== 'B' && form.name !== 'BL') return word;
  const near = ((word & 0x7ffff) << 14) >> 14;
  return ((word & 0xfc000000) | (near & 0x03ffffff)) >>> 0;
}

/** The forms that the oracle runs at random. */
function userForms(table: Table): TestForm[] {
  return formsOf(table).filter((form) => !NOT_HERE.test(form.row.form.name));
}

/** Names of the forms that cases exist for. */
export function userFormNames(table: Table): Set<string> {
  return new Set([...userForms(table), ...BY_HAND.map(({ form }) => ({ name: form }))].map((f) => f.name));
}

/** All cases of a table, in table order; the same for the same table. */
export function userCases(table: Table): UserCase[] {
  const cases: UserCase[] = [];
  for (const form of userForms(table)) {
    // Forms with few encodings run each of them from several starts.
    const words = instances(form, 1, COUNT);
    for (let i = 0, made = 0; made < COUNT && i < COUNT * 2; i++) {
      const word = within(form.row.form, words[i % words.length] ?? 0);
      const seed = seedOf(form.name, word + Math.floor(i / words.length)) >>> 0;
      const c = prepare(table, form.name, form.row.form, word, seed);
      if (!c) continue;
      cases.push(c);
      made++;
    }
  }
  for (const [i, { form, word }] of BY_HAND.entries()) {
    cases.push({ form, words: [word], seed: seedOf(form, i), given: new Map() });
  }
  return cases;
}

function prepare(table: Table, name: string, form: Form, word: number, seed: number): UserCase | undefined {
  const row = table.find(word);
  if (!row) throw new Error(`${name}: ${word.toString(16)} is not in the table`);
  const b = extract(row.pattern, word);
  const next = random(seed);
  const given = new Map<number, bigint>();
  const branch = /^(B|BL|B\.cond|[CT]BN?Z.*)$/.test(form.name);
  if (branch) return branchTarget(b) ? { form: name, words: [word], seed, given } : undefined;
  if (/^(BR|BLR|RET)$/.test(form.name)) {
    if (b.Rn === 31) return undefined;
    given.set(b.Rn ?? 0, CODE_BASE + BigInt((next() % (CODE_SIZE >> 2)) * 4));
    return { form: name, words: [word], seed, given };
  }
  const words = sequence(form, b, word, next);
  // A small index keeps the access in reach; with base = index it is left to chance.
  if (b.option !== undefined && b.Rm !== 31 && b.Rm !== b.Rn && next() % 4 !== 0) {
    const small = BigInt((next() % 2000) - 1000);
    const upper = b.option === 2 || b.option === 6 ? BigInt(next()) << 32n : 0n;
    given.set(b.Rm ?? 0, BigInt.asUintN(64, upper === 0n ? small : upper | BigInt.asUintN(32, small)));
  }
  if (b.Rn !== undefined) {
    const zeroed: UserCase = { form: name, words: [word], seed, given: new Map(given).set(b.Rn, 0n) };
    const offset = firstAddress(table, zeroed);
    // Where the base is the index, too, it is added to itself, shifted.
    const share =
      b.Rm === b.Rn && b.option !== undefined ? 1n + (1n << BigInt(b.S === 1 ? (b.size ?? 0) : 0)) : 1n;
    if (offset !== undefined) given.set(b.Rn, BigInt.asUintN(64, (place(form, next) - offset) / share));
  } else if (form.name === 'DC ZVA' && b.Rt !== 31) {
    given.set(b.Rt ?? 0, place(form, next));
  }
  return { form: name, words, seed, given };
}

/** Whether a branch stays within the code region and does not loop. */
function branchTarget(b: Bits): boolean {
  const [value, width] =
    b.imm26 !== undefined ? [b.imm26, 26] : b.imm19 !== undefined ? [b.imm19, 19] : [b.imm14 ?? 0, 14];
  const by = (value << (32 - width)) >> (32 - width);
  return by !== 0 && Math.abs(by) < 0x40000;
}

/** Where an access should land. */
function place(form: Form, next: () => number): bigint {
  const kind = next() % 16;
  if (kind === 0) return WINDOW + BigInt(WINDOW_SIZE - (next() % 33));
  if (kind === 1) return WINDOW - BigInt(next() % 33);
  const at = WINDOW + BigInt(next() % (WINDOW_SIZE - 512));
  const demanding = /XR|XP|LD<op>|SWP|CAS|LDAR/.test(form.name);
  return demanding ? (kind < 14 ? at & ~15n : at) : kind < 8 ? at & ~15n : at;
}

/** The instruction; before two in three store-exclusives, the load-exclusive that opens their way. */
function sequence(form: Form, b: Bits, word: number, next: () => number): number[] {
  const pair = form.name === 'STXP/STLXP';
  if ((!pair && form.name !== 'STXR/STLXR') || next() % 3 === 0) return [word];
  // Registers that the load may overwrite: neither the base nor each other.
  const free = [3, 7, 11, 19, 23].filter((r) => r !== b.Rn);
  const rt = free[next() % 2] ?? 3;
  const rt2 = pair ? (free[2 + (next() % 2)] ?? 11) : 31;
  const load = ((word | (1 << 22)) & ~0x1f7c1f) | (31 << 16) | (rt2 << 10) | rt;
  return [load >>> 0, word];
}

class Probed extends Error {
  readonly address: bigint;
  constructor(address: bigint) {
    super('probed');
    this.address = address;
  }
}

/** Address of the first access of a case's last instruction; `undefined` if it makes none. */
function firstAddress(table: Table, c: UserCase): bigint | undefined {
  const word = c.words.at(-1) ?? 0;
  const row = table.find(word);
  if (!row) return undefined;
  const b = extract(row.pattern, word);
  const variant = variantOf(row, b);
  if (!variant) return undefined;
  const s = startState(c);
  const probe = (address: bigint): never => {
    throw new Probed(address);
  };
  const machine: Machine = {
    x: [...s.x, s.sp],
    v: s.v,
    state: new Map(),
    pc: s.pc,
    guards: 0,
    memory: { read: probe, writable: probe, write: probe },
  };
  machine.x[ZR] = 0n;
  // A store-exclusive makes its access only while its address is monitored.
  const size = row.form.name === 'STXP/STLXP' ? 8 << (b.sz ?? 0) : 1 << (b.size ?? 0);
  machine.state.set('exclusiveAddress', machine.x[b.Rn ?? 0] ?? 0n).set('exclusiveSize', BigInt(size));
  try {
    evaluate(machine, row.form.record(b), (builder, f) => row.form.sem(builder, f, variant.values));
  } catch (e) {
    if (e instanceof Probed) return e.address;
    throw e;
  }
  return undefined;
}
