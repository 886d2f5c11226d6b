/**
 * What the vectors of `user-vectors.test.ts` cannot show of the rows: divisions at the edges of their digits, where string
 * instructions stop, faults before any change, and flags that the manuals leave undefined (`src/isa/undefined-flags.ts`).
 */
import { describe, expect, test } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { FL } from '../src/isa/flags.ts';
import { UNDEFINED_FLAGS, undefinedFlags } from '../src/isa/undefined-flags.ts';
import { MiniMachine } from './support/mini-machine.ts';
import { random } from './support/random.ts';
import {
  CODE_PAGE,
  ENVIRONMENTS,
  READ_ONLY,
  type UserResult,
  WINDOW,
  WINDOW_SIZE,
} from './support/user-world.ts';

const machine = new MiniMachine();
const [long, , , seg16] = ENVIRONMENTS;
const [RAX, RCX, RDX, RBX, RSI, RDI] = [0, 1, 2, 3, 6, 7] as const;
const MASK = (1n << 64n) - 1n;
const signed = (v: bigint): bigint => BigInt.asIntN(64, v);

interface Start {
  readonly gpr?: Readonly<Record<number, bigint>>;
  readonly flags?: number;
  readonly pokes?: readonly { readonly at: number; readonly bytes: readonly number[] }[];
}

/** Runs one instruction of 64-bit code, or of 16-bit code with segments. */
function run(text: string, start: Start = {}, bits: 64 | 16 = 64): UserResult {
  const env = bits === 64 ? long : seg16;
  const bytes = assemble(bits === 64 ? text : `.code16\n${text}`).bytes;
  const gpr = new BigUint64Array(16);
  for (const [n, v] of Object.entries(start.gpr ?? {})) gpr[Number(n)] = BigInt.asUintN(64, v);
  const rip = BigInt(CODE_PAGE + 0x100) - (bits === 64 ? 0n : BigInt(seg16.segments[1]?.base ?? 0));
  const pokes = (start.pokes ?? []).map((p) => ({ at: p.at, bytes: Uint8Array.from(p.bytes) }));
  const out = machine.run({
    form: text,
    code: text,
    env,
    bytes,
    start: { gpr, rip, flags: start.flags ?? 0, xmm: undefined },
    pokes,
    undefinedFlags: 0,
  });
  if ('slow' in out) throw new Error(`${text}: slow operation ${out.slow}`);
  return out;
}
const gpr = (r: UserResult, n: number): bigint => r.state.gpr[n] as bigint;

/** Numbers whose halves are near the ends of their ranges: where a guessed digit is wrong by 1 or 2. */
function* hard(seed: number): Generator<bigint, never> {
  const next = random(seed);
  const digits = [0n, 1n, 2n, 0x7fff_ffffn, 0x8000_0000n, 0x8000_0001n, 0xffff_fffen, 0xffff_ffffn];
  const digit = (): bigint =>
    next() % 3 === 0 ? BigInt(next()) : (digits[next() % digits.length] as bigint);
  for (;;) yield (digit() << 32n) | digit();
}

describe('division of RDX:RAX', () => {
  test('div by 2,000 hard divisors -> quotient, remainder, or #DE just where it must be', () => {
    const values = hard(1);
    let faults = 0;
    for (let n = 0; n < 2000; n++) {
      const [a, b, d] = [values.next().value, values.next().value, values.next().value];
      // most dividends fit
      const hi = n % 8 === 0 || d === 0n ? a : a % d;
      const r = run('div rcx', { gpr: { [RAX]: b, [RDX]: hi, [RCX]: d } });
      const dividend = (hi << 64n) | b;
      if (d === 0n || hi >= d) {
        faults++;
        expect([r.fault?.vector, gpr(r, RAX), gpr(r, RDX)]).toEqual([0, b, hi]);
      } else expect([r.fault, gpr(r, RAX), gpr(r, RDX)]).toEqual([undefined, dividend / d, dividend % d]);
    }
    expect(faults).toBeGreaterThan(50);
  });
  test('idiv by 2,000 hard divisors -> truncated quotient, remainder with the sign of the dividend, or #DE', () => {
    const values = hard(2);
    let faults = 0;
    for (let n = 0; n < 2000; n++) {
      const [a, b, d] = [values.next().value, values.next().value, values.next().value];
      const small = d === 0n ? 0n : (signed(a) % signed(d)) >> 1n;
      const hi = BigInt.asUintN(64, n % 8 === 0 ? a : small);
      const r = run('idiv rcx', { gpr: { [RAX]: b, [RDX]: hi, [RCX]: d } });
      const dividend = (signed(hi) << 64n) | b;
      const quotient = d === 0n ? undefined : dividend / signed(d);
      if (quotient === undefined || BigInt.asIntN(64, quotient) !== quotient) {
        faults++;
        expect([r.fault?.vector, gpr(r, RAX), gpr(r, RDX)]).toEqual([0, b, hi]);
        continue;
      }
      const rest = BigInt.asUintN(64, dividend % signed(d));
      expect([r.fault, gpr(r, RAX), gpr(r, RDX)]).toEqual([undefined, quotient & MASK, rest]);
    }
    expect(faults).toBeGreaterThan(50);
  });
  test.each([
    ['idiv rcx', 0n, -(1n << 63n), -1n, 0],
    ['idiv rcx', 0n, -1n, 1n, 0],
    ['idiv ecx', 0n, 0x8000_0000n, 0xffff_ffffn, 0],
    ['idiv ecx', 0x8000_0000n, 0xffff_ffffn, 1n, undefined],
    ['idiv cl', 0x8000n, 0n, 0xffn, 0],
    ['idiv cl', 0xff80n, 0n, 1n, undefined],
  ])('%s: rax=%i rdx=%i rcx=%i -> #DE or not', (text, rax, rdx, rcx, vector) => {
    const r = run(text, { gpr: { [RAX]: rax, [RDX]: rdx, [RCX]: rcx } });
    expect(r.fault?.vector).toBe(vector);
  });
});

describe('string instructions', () => {
  const window = (offset: number): bigint => BigInt(WINDOW + offset);

  test('rep movsq into a read-only page -> the elements before it are done; the fault sees the rest of the count', () => {
    const to = READ_ONLY - 20;
    const r = run('rep movsq', { gpr: { [RSI]: window(0x100), [RDI]: window(to), [RCX]: 9n } });
    expect(r.fault).toEqual({ vector: 14, error: 7, address: window(READ_ONLY) });
    expect([gpr(r, RCX), gpr(r, RSI), gpr(r, RDI)]).toEqual([7n, window(0x110), window(READ_ONLY - 4)]);
    expect(Math.max(...r.window.keys())).toBeLessThan(READ_ONLY - 4);
  });
  test('std, rep stosd down into unmapped pages -> the same the other way round', () => {
    const r = run('rep stosd', { gpr: { [RAX]: 0x1234_5678n, [RDI]: window(8), [RCX]: -1n }, flags: FL.DF });
    expect(r.fault).toEqual({ vector: 14, error: 6, address: window(-4) });
    expect([gpr(r, RCX), gpr(r, RDI)]).toEqual([MASK - 3n, window(-4)]);
  });
  test('repe cmpsb -> ends behind the first difference, flags of that comparison', () => {
    const pokes = [
      { at: 0x10, bytes: [1, 2, 3, 4, 9] },
      { at: 0x20, bytes: [1, 2, 3, 5, 9] },
    ];
    const r = run('repe cmpsb', { gpr: { [RSI]: window(0x10), [RDI]: window(0x20), [RCX]: 5n }, pokes });
    expect([gpr(r, RCX), gpr(r, RSI), gpr(r, RDI)]).toEqual([1n, window(0x14), window(0x24)]);
    expect(r.state.flags & (FL.CF | FL.ZF | FL.SF)).toBe(FL.CF | FL.SF);
  });
  test('repne scasw with a count of 0 -> nothing changes, flags neither', () => {
    const r = run('repne scasw', { gpr: { [RDI]: window(0), [RCX]: 0n }, flags: FL.CF | FL.OF });
    expect([gpr(r, RDI), r.state.flags]).toEqual([window(0), FL.CF | FL.OF]);
  });
  test('32-bit addresses in 64-bit code -> registers lose their upper halves, but with a count of 0 they do not', () => {
    const upper = 0xffff_ffff_0000_0000n;
    const start = { [RAX]: 0n, [RDI]: upper | window(0x30) };
    const one = run('addr32 rep stosb', { gpr: { ...start, [RCX]: upper | 1n } });
    expect([gpr(one, RDI), gpr(one, RCX)]).toEqual([window(0x31), 0n]);
    const none = run('addr32 rep stosb', { gpr: { ...start, [RCX]: upper } });
    expect([gpr(none, RDI), gpr(none, RCX)]).toEqual([upper | window(0x30), upper]);
  });
  test('rep lodsw of an overridden segment up to its limit -> one element; the next one leaves it: #GP', () => {
    // ES ends at 9fffh
    const r = run('rep lodsw ax, es:[si]', { gpr: { [RSI]: 0x9ffdn, [RCX]: 3n } }, 16);
    expect([r.fault?.vector, gpr(r, RCX), gpr(r, RSI)]).toEqual([13, 2n, 0x9fffn]);
  });
});

describe('memory operands', () => {
  const at = BigInt(WINDOW);

  test('btc with a register far below the operand -> the bit there changes, and nothing else', () => {
    const gprs = { [RBX]: at + 0x1000n, [RCX]: -0x8000n + 5n };
    const r = run('btc [rbx], rcx', { gpr: gprs, pokes: [{ at: 0, bytes: [0] }] });
    expect([...r.window]).toEqual([[0, 0x20]]);
    expect(r.state.flags & FL.CF).toBe(0);
  });
  test('lock cmpxchg of an equal but read-only operand -> #PF of a write', () => {
    const r = run('lock cmpxchg [rbx], ecx', { gpr: { [RBX]: at + BigInt(READ_ONLY) } });
    expect(r.fault).toMatchObject({ vector: 14, error: 7 });
  });
  test('cmpxchg16b of a read-only operand that differs -> #PF of a write, registers unchanged', () => {
    const r = run('cmpxchg16b [rbx]', { gpr: { [RBX]: at + BigInt(READ_ONLY), [RAX]: 1n } });
    expect(r.fault).toMatchObject({ vector: 14, error: 7 });
    expect(gpr(r, RAX)).toBe(1n);
  });
  test('cmpxchg16b of a misaligned operand -> #GP', () => {
    expect(run('cmpxchg16b [rbx]', { gpr: { [RBX]: at + 8n } }).fault?.vector).toBe(13);
  });
  test('shl by 0 of a read-only operand -> #PF of a write', () => {
    const r = run('shl dword ptr [rbx], cl', { gpr: { [RBX]: at + BigInt(READ_ONLY) } });
    expect(r.fault).toMatchObject({ vector: 14, error: 7 });
  });
  test('xadd across the end of the window -> #PF, and neither part nor register changes', () => {
    const end = at + BigInt(READ_ONLY) - 2n;
    const r = run('xadd [rbx], ecx', { gpr: { [RBX]: end, [RCX]: 5n } });
    expect([r.fault?.vector, r.window.size, gpr(r, RCX)]).toEqual([14, 0, 5n]);
    expect(WINDOW_SIZE).toBeGreaterThan(READ_ONLY);
  });
});

describe('undefined flags, as AMD leaves them', () => {
  const all = FL.CF | FL.PF | FL.AF | FL.ZF | FL.SF | FL.OF;
  test.each([
    ['mul rcx', { [RAX]: 3n, [RCX]: 5n }, all, all & ~(FL.CF | FL.OF)],
    ['imul eax, ecx', { [RAX]: 3n, [RCX]: 5n }, 0, 0],
    ['div cl', { [RAX]: 7n, [RCX]: 2n }, all, FL.CF | FL.OF | FL.AF],
    ['bsf eax, ecx', { [RCX]: 8n }, all, all & ~FL.ZF],
    ['bsr eax, ecx', { [RCX]: 0n }, 0, FL.ZF],
    ['bt eax, ecx', { [RAX]: 0n }, all, all & ~FL.CF],
    ['lzcnt eax, ecx', { [RCX]: -1n }, FL.PF | FL.SF | FL.OF | FL.CF, FL.PF | FL.SF | FL.OF | FL.ZF],
    ['shl eax, 4', { [RAX]: 0x0800_0000n }, 0, FL.AF | FL.PF | FL.SF | FL.OF],
    ['shr al, 9', { [RAX]: 0xffn }, all, FL.AF | FL.PF | FL.ZF],
    ['rol al, 3', { [RAX]: 0x10n }, FL.ZF, FL.ZF | FL.OF],
    ['rcr al, 9', { [RAX]: 0x40n }, FL.CF, FL.CF | FL.OF],
    ['shld ax, cx, 16', { [RAX]: 1n, [RCX]: 0x8001n }, 0, FL.CF | FL.AF | FL.SF | FL.OF],
    ['shld ax, cx, 20', { [RAX]: 1n, [RCX]: 0x8421n }, all, FL.AF | FL.PF],
    ['shrd ax, cx, 20', { [RAX]: 1n, [RCX]: 0x8421n }, 0, FL.AF | FL.PF],
  ] as const)('%s -> flags', (text, gprs, before, after) => {
    const r = run(text, { gpr: gprs, flags: before });
    expect((r.state.flags & all).toString(16)).toBe(after.toString(16));
  });
  test('shld by more than 16 of 16 bits -> the source once more', () => {
    expect(gpr(run('shld ax, cx, 20', { gpr: { [RAX]: 0x1234n, [RCX]: 0x8421n } }), RAX)).toBe(0x4218n);
  });
  test('the table -> each line names flags, and counts narrow those of shifts', () => {
    for (const u of UNDEFINED_FLAGS) expect(u.flags & ~all).toBe(0);
    expect(undefinedFlags('Shl_rm32_imm8', 1)).toBe(FL.AF);
    expect(undefinedFlags('Shl_rm32_imm8', 32)).toBe(0);
    expect(undefinedFlags('Shl_rm8_CL', 8)).toBe(FL.AF | FL.OF | FL.CF);
    expect(undefinedFlags('Sar_rm8_CL', 8)).toBe(FL.AF | FL.OF);
    expect(undefinedFlags('Shrd_rm16_r16_CL', 17)).toBeUndefined();
    expect(undefinedFlags('Add_rm8_r8', 1)).toBe(0);
  });
});
