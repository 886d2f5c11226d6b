/** Constant folding gives what wasm computes. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as fold from '../src/fold.ts';
import type { Node } from '../src/node.ts';
import { FunctionWriter } from '../src/wasm/function.ts';
import { encodeModule } from '../src/wasm/module.ts';
import { I, I32, I64, L } from '../src/wasm/op.ts';

/** Evaluates a node whose leaves are constants in wasm, without folding. */
function evaluate(n: Node): bigint {
  const w = new FunctionWriter(0);
  const emit = (x: Node): void => {
    if (x.kind === 'const') {
      if (x.ty === 'i32') w.i32(x.lo);
      else w.i64(x.lo, x.hi);
    } else if (x.kind === 'op') {
      for (const a of x.args) emit(a);
      w.op(x.op);
    }
  };
  emit(n);
  const results = [n.ty === 'i32' ? I32 : I64];
  const bytes = encodeModule({
    imports: [],
    functions: [{ signature: { params: [], results }, body: w, export: 'f' }],
  });
  const e = { memory: new WebAssembly.Memory({ initial: 1 }) };
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e }).exports;
  return BigInt((f as () => bigint | number)());
}
const c32 = fc
  .oneof(fc.constantFrom(0, 1, -1, 31, 32, 63, 2 ** 31 - 1, -(2 ** 31)), fc.integer())
  .map(fold.const32);
const c64 = fc.tuple(c32, c32).map(([a, b]) => fold.const64(a.lo, b.lo));
const ops = [
  'add',
  'sub',
  'mul',
  'and',
  'or',
  'xor',
  'shl',
  'shrU',
  'shrS',
  'rotr',
  'eq',
  'ne',
  'ltS',
  'ltU',
  'geS',
  'geU',
] as const;
const comparison = new Set<string>(ops.slice(10));

test.each(ops)('%s of constants -> the constant wasm computes', (name) => {
  for (const [arbitrary, codes] of [
    [c32, I],
    [c64, L],
  ] as const)
    fc.assert(
      fc.property(arbitrary, arbitrary, (a, b) => {
        const folded = fold.binary(name, a, b);
        const plain = fold.op(comparison.has(name) ? 'i32' : a.ty, codes[name], a, b);
        expect(folded.kind).toBe('const');
        expect(evaluate(folded)).toBe(evaluate(plain));
      }),
      { numRuns: 60, seed: 6 },
    );
});
test('conversions of constants -> the constants wasm computes', () => {
  fc.assert(
    fc.property(c32, c64, fc.constantFrom(8, 16, 32), (a, b, bits) => {
      const mask = 2 ** bits - 1;
      const pairs: [Node, Node][] = [
        [fold.wrap(b), fold.op('i32', L.wrap, b)],
        [fold.extU(a), fold.op('i64', L.extendU, a)],
        [fold.extS(a), fold.op('i64', L.extendS, a)],
        [fold.eqz(a), fold.op('i32', I.eqz, a)],
        [fold.eqz(b), fold.op('i32', L.eqz, b)],
        [
          fold.sext(b, bits as 8),
          fold.op('i64', bits === 8 ? L.extend8 : bits === 16 ? L.extend16 : L.extend32, b),
        ],
        [fold.sext(a, bits as 8), bits === 32 ? a : fold.op('i32', bits === 8 ? I.extend8 : I.extend16, a)],
        [fold.zext(b, bits as 8), fold.op('i64', L.and, b, fold.const64(mask | 0, 0))],
        [fold.zext(a, bits as 8), fold.op('i32', I.and, a, fold.const32(mask))],
        [fold.select(a, b, fold.const64(1, 2)), fold.op('i64', 0x1b, b, fold.const64(1, 2), a)],
      ];
      for (const [folded, plain] of pairs) {
        expect(folded.kind).toBe('const');
        expect(evaluate(folded)).toBe(evaluate(plain));
      }
    }),
    { numRuns: 60, seed: 7 },
  );
});
test('identities keep the operand', () => {
  const x: Node = { kind: 'let', ty: 'i64', id: 0 };
  const zero = fold.const64(0, 0);
  const ones = fold.const64(-1, -1);
  for (const name of ['add', 'or', 'xor', 'sub', 'shl', 'shrU'] as const)
    expect(fold.binary(name, x, zero)).toBe(x);
  expect(fold.binary('and', x, ones)).toBe(x);
  expect(fold.binary('and', x, zero)).toBe(zero);
});
