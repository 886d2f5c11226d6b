/** All rows of the instruction set. */
import type { Row } from './row.ts';
import { BIT_ROWS } from './rows-bits.ts';
import { BMI_ROWS } from './rows-bmi.ts';
import { EXCHANGE_ROWS } from './rows-exchange.ts';
import { MOVE_ROWS } from './rows-move.ts';
import { MULTIPLY_ROWS } from './rows-multiply.ts';
import { SHIFT_ROWS } from './rows-shift.ts';
import { STRING_ROWS } from './rows-string.ts';

/** The rows, chapter by chapter. */
export const ROWS: readonly Row[] = [
  ...MOVE_ROWS,
  ...SHIFT_ROWS,
  ...MULTIPLY_ROWS,
  ...BIT_ROWS,
  ...BMI_ROWS,
  ...EXCHANGE_ROWS,
  ...STRING_ROWS,
];
