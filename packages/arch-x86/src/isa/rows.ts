/** All rows of the instruction set. */
import type { Row } from './row.ts';
import { ARITHMETIC_ROWS } from './rows-arithmetic.ts';
import { BRANCH_ROWS } from './rows-branch.ts';
import { CONDITIONAL_ROWS } from './rows-conditional.ts';
import { CONVERT_ROWS } from './rows-convert.ts';
import { DECIMAL_ROWS } from './rows-decimal.ts';
import { FLAG_ROWS } from './rows-flags.ts';
import { HINT_ROWS } from './rows-hints.ts';
import { MOVE_ROWS } from './rows-move.ts';
import { STACK_ROWS } from './rows-stack.ts';
import { SYSTEM_ROWS } from './rows-system.ts';

/** The rows, chapter by chapter. */
export const ROWS: readonly Row[] = [
  ...MOVE_ROWS,
  ...ARITHMETIC_ROWS,
  ...CONDITIONAL_ROWS,
  ...CONVERT_ROWS,
  ...DECIMAL_ROWS,
  ...BRANCH_ROWS,
  ...STACK_ROWS,
  ...FLAG_ROWS,
  ...HINT_ROWS,
  ...SYSTEM_ROWS,
];
