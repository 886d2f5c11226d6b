/** All rows of the instruction set. */
import type { Row } from './row.ts';
import { ARITHMETIC_ROWS } from './rows-arithmetic.ts';
import { BIT_ROWS } from './rows-bits.ts';
import { BMI_ROWS } from './rows-bmi.ts';
import { BRANCH_ROWS } from './rows-branch.ts';
import { CONDITIONAL_ROWS } from './rows-conditional.ts';
import { CONVERT_ROWS } from './rows-convert.ts';
import { DECIMAL_ROWS } from './rows-decimal.ts';
import { EXCHANGE_ROWS } from './rows-exchange.ts';
import { FLAG_ROWS } from './rows-flags.ts';
import { HINT_ROWS } from './rows-hints.ts';
import { MOVE_ROWS } from './rows-move.ts';
import { MULTIPLY_ROWS } from './rows-multiply.ts';
import { SHIFT_ROWS } from './rows-shift.ts';
import { SSE_SPREAD_ROWS } from './rows-sse-spread.ts';
import { STACK_ROWS } from './rows-stack.ts';
import { STRING_ROWS } from './rows-string.ts';
import { SYSTEM_ROWS } from './rows-system.ts';
import { X87_SSE_ROWS } from './rows-x87-sse.ts';

/** The rows, chapter by chapter. */
export const ROWS: readonly Row[] = [
  ...MOVE_ROWS,
  ...ARITHMETIC_ROWS,
  ...SHIFT_ROWS,
  ...MULTIPLY_ROWS,
  ...BIT_ROWS,
  ...BMI_ROWS,
  ...EXCHANGE_ROWS,
  ...CONDITIONAL_ROWS,
  ...CONVERT_ROWS,
  ...DECIMAL_ROWS,
  ...STRING_ROWS,
  ...BRANCH_ROWS,
  ...STACK_ROWS,
  ...FLAG_ROWS,
  ...HINT_ROWS,
  ...SYSTEM_ROWS,
  ...X87_SSE_ROWS,
  ...SSE_SPREAD_ROWS,
];
