/** What is wrong with a row of the instruction table. */
import { FaultyardError } from '@faultyard/core';

/** Two rows that claim the same: a code, an encoding, or a name. */
export interface RowClash {
  /** `instruction code`, `instruction encoding`, `instruction row`. */
  readonly what: string;
  readonly name: string;
  /** The later row's owner, then the earlier one's. */
  readonly plugin: string;
  readonly other: string;
  readonly fix: string;
}

/**
 * Thrown at load for a row that cannot be part of the table (its author has a bug): FY_INSTRUCTION for a malformed one,
 * FY_PLUGIN_CLASH for two that claim the same.
 */
export class TableError extends FaultyardError {
  constructor(why: string | RowClash, fix: string = 'correct the row') {
    if (typeof why === 'string') super('FY_INSTRUCTION', { why, fix });
    else super('FY_PLUGIN_CLASH', { ...why });
  }
}
