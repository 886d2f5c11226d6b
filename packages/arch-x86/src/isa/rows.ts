/** All rows of the instruction set. */
import type { Row } from './row.ts';
import { MOVE_ROWS } from './rows-move.ts';

/** The rows, chapter by chapter. */
export const ROWS: readonly Row[] = [...MOVE_ROWS];
