/**
 * The meaning of the rows by itself, evaluated on bigints without the engine: right, and restartable. The evaluator
 * throws if a row makes an access, asks a guard or leaves after it has changed anything.
 */
import { describe, expect, it } from 'vitest';
import { extract } from '../src/isa/bits.ts';
import { standardTable } from '../src/isa/forms.ts';
import { Slow } from '../src/isa/slow.ts';
import { variantOf } from '../src/isa/table.ts';
import { evaluate, type Machine, type Memory, type Outcome } from './support/evaluate.ts';
import { readVectors } from './support/user-vectors.ts';
import {
  CODE_BASE,
  CODE_SIZE,
  CODE_SLOT,
  codeFiller,
  startState,
  type UserCase,
  type UserEnd,
  type UserResult,
  WINDOW,
  WINDOW_PATTERN,
  WINDOW_SIZE,
} from './support/user-world.ts';

const table = standardTable();

/** The window, and code that can only be read. */
function memory(c: UserCase, window: Uint8Array): Memory {
  const inWindow = (at: bigint, n: number): boolean =>
    at >= WINDOW && at + BigInt(n) <= WINDOW + BigInt(WINDOW_SIZE);
  const inCode = (at: bigint, n: number): boolean =>
    at >= CODE_BASE && at + BigInt(n) <= CODE_BASE + BigInt(CODE_SIZE);
  const codeByte = (at: number): number => {
    const word = c.words[(at - Number(CODE_SLOT)) >> 2] ?? codeFiller(at & ~3);
    return (word >>> (8 * (at & 3))) & 255;
  };
  return {
    read(at, n) {
      if (inWindow(at, n)) return window.slice(Number(at - WINDOW), Number(at - WINDOW) + n);
      if (inCode(at, n)) return Uint8Array.from({ length: n }, (_, i) => codeByte(Number(at) + i));
      return undefined;
    },
    writable: inWindow,
    write: (at, bytes) => window.set(bytes, Number(at - WINDOW)),
  };
}

function machineOf(c: UserCase, window: Uint8Array): Machine {
  const s = startState(c);
  const flags = BigInt(s.nzcv);
  return {
    x: [...s.x, s.sp],
    v: s.v,
    pc: s.pc,
    guards: 0,
    memory: memory(c, window),
    state: new Map([
      ['fn', BigInt.asUintN(64, flags << 32n)],
      ['fz', ((flags >> 30n) & 1n) ^ 1n],
      ['fc', (flags >> 29n) & 1n],
      ['fv', BigInt.asUintN(64, flags << 35n)],
    ]),
  };
}

function step(m: Machine, word: number): Outcome {
  const row = table.find(word);
  if (!row) return { kind: 'slow', op: Slow.Undefined, args: [] };
  const b = extract(row.pattern, word);
  const variant = variantOf(row, b);
  if (!variant) throw new Error(`no handler for ${word.toString(16)}`);
  return evaluate(m, row.form.record(b), (builder, f) => row.form.sem(builder, f, variant.values));
}

const endOf = (o: Outcome): UserEnd => {
  if (o.kind === 'done') return 'done';
  if (o.kind === 'fault') return o.access.misaligned ? 'bus' : 'segv';
  if (o.kind === 'slow' && o.op === Slow.Undefined) return 'ill';
  throw new Error(`left by ${JSON.stringify(o, (_, x) => (typeof x === 'bigint' ? x.toString(16) : x))}`);
};

/** What is wrong with a case; `undefined` if nothing. */
function wrong(c: UserCase, want: UserResult): string | undefined {
  const window = WINDOW_PATTERN.slice();
  const m = machineOf(c, window);
  let outcome: Outcome = { kind: 'done' };
  for (const word of c.words) if (outcome.kind === 'done') outcome = step(m, word);
  const flag = (name: string): bigint => m.state.get(name) ?? 0n;
  const z = flag('fz') === 0n ? 1n : 0n;
  const nzcv = ((flag('fn') >> 63n) << 3n) | (z << 2n) | (flag('fc') << 1n) | (flag('fv') >> 63n);
  const expected = WINDOW_PATTERN.slice();
  for (const [at, byte] of want.window) expected[at] = byte;
  const { state } = want;
  const bad: string[] = [];
  if (endOf(outcome) !== want.end) bad.push(`end ${endOf(outcome)}, not ${want.end}`);
  if (m.pc !== state.pc) bad.push(`pc ${m.pc.toString(16)}`);
  if (m.x[31] !== state.sp) bad.push('sp');
  if (Number(nzcv) !== state.nzcv >>> 28) bad.push(`nzcv ${nzcv}`);
  for (const [n, x] of state.x.entries()) if (m.x[n] !== x) bad.push(`x${n} ${m.x[n]?.toString(16)}`);
  // QEMU moves the elements of a faulting access one by one; ours move all or none.
  const left = want.end === 'done' ? expected : WINDOW_PATTERN;
  if (Buffer.compare(window, left) !== 0) bad.push('window');
  const v = want.end === 'done' ? state.v : startState(c).v;
  if (Buffer.compare(m.v, v) !== 0) bad.push('v');
  return bad.length > 0
    ? `${c.form} ${c.words.map((w) => w.toString(16)).join(' ')}: ${bad.join(', ')}`
    : undefined;
}

describe('meaning of the rows, without an engine', () => {
  it('every fifth recorded case -> evaluator: as QEMU, and nothing changes before the last access', () => {
    const chosen = readVectors().filter((_, i) => i % 5 === 0);
    expect(new Set(chosen.map(({ case: c }) => c.form)).size).toBeGreaterThan(1000);
    expect(chosen.map(({ case: c, result }) => wrong(c, result)).filter((w) => w !== undefined)).toEqual([]);
  }, 60_000);
});
