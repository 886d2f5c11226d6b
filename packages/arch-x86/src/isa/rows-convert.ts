/** Conversions and table look-up between fixed registers: CBW to CQO, XLAT, SALC, BOUND (AMD64 APM volume 3). */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { carry } from './flags.ts';
import { lowByte, R } from './layout.ts';
import type { Row } from './row.ts';
import { Slow } from './slow.ts';

const ax = (b: Builder, size: 1 | 2 | 4): I32 => b.elem('r', R.RAX, 0, size);
/** Copies of the sign, as I32. */
const spread = (b: Builder, v: I32): I32 => b.shrS(v, b.c32(31));

/** Rows of this chapter. */
export const CONVERT_ROWS: readonly Row[] = [
  {
    name: 'cbw',
    width: 2,
    codes: ['Cbw'],
    sem: ({ b }) => b.setElem('r', R.RAX, 0, 2, b.sext(ax(b, 1), 8)),
  },
  {
    name: 'cwde',
    width: 4,
    codes: ['Cwde'],
    sem: ({ b }) => b.set(R.RAX, b.extU(b.sext(ax(b, 2), 16))),
  },
  {
    name: 'cdqe',
    width: 8,
    codes: ['Cdqe'],
    sem: ({ b }) => b.set(R.RAX, b.extS(ax(b, 4))),
  },
  {
    name: 'cwd',
    width: 2,
    codes: ['Cwd'],
    sem: ({ b }) => b.setElem('r', R.RDX, 0, 2, spread(b, b.sext(ax(b, 2), 16))),
  },
  {
    name: 'cdq',
    width: 4,
    codes: ['Cdq'],
    sem: ({ b }) => b.set(R.RDX, b.extU(spread(b, ax(b, 4)))),
  },
  {
    name: 'cqo',
    width: 8,
    codes: ['Cqo'],
    sem: ({ b }) => b.set(R.RDX, b.shrS(b.get(R.RAX), b.c32(63))),
  },
  {
    name: 'xlat',
    codes: ['Xlat_m8'],
    sem(o) {
      const { b, addressSize } = o;
      const al = b.elem('b', lowByte(R.RAX), 0, 1);
      let offset: I64;
      if (addressSize === 8) offset = b.add(b.get(R.RBX), b.extU(al));
      else {
        const sum = b.add(b.elem('r', R.RBX, 0, 4), al);
        offset = b.extU(addressSize === 2 ? b.zext(sum, 16) : sum);
      }
      b.setElem('b', lowByte(R.RAX), 0, 1, b.load(1, o.linearAt('operand', offset, 1, false)));
    },
  },
  {
    name: 'salc',
    codes: ['Salc'],
    sem: ({ b }) => b.setElem('b', lowByte(R.RAX), 0, 1, b.sub(b.c32(0), carry(b))),
  },
  {
    name: 'bound',
    codes: ['Bound_r16_m1616', 'Bound_r32_m3232'],
    sem(o) {
      const { b } = o;
      const w = o.width as 2 | 4;
      const [first, last] = b.loads(w, 2, o.linear(2 * w, false)) as [I32, I32];
      const value = (v: Expr): I32 => (w === 2 ? b.sext(v as I32, 16) : (v as I32));
      const index = b.let(value(o.read(0)));
      const outside = b.or(b.ltS(index, value(first)), b.ltS(value(last), index));
      b.when(outside, () => b.slow(Slow.BoundRange));
    },
  },
];
