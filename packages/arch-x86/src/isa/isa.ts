/** The x86 instruction set as the engine takes it: registers, flags, record layout, handlers, decoder. */
import type { DecodeSite, Isa, StateVar } from '@faultyard/engine';
import type { Instruction } from 'iced-x86';
import { RecordDecoder } from './decode.ts';
import { CONTEXTS, FIELDS, FILES, LINK, RECORD_SIZE, STATE } from './layout.ts';
import type { Row } from './row.ts';
import { ROWS } from './rows.ts';
import { buildTable, type Table } from './table.ts';

/** What an x86 instruction set is made from. */
export interface X86IsaOptions {
  /** Features present, as rows name them; absent: all. */
  readonly features?: ReadonlySet<string>;
  /** Whose rules the decoder follows where they differ; default AMD. */
  readonly vendor?: 'AMD' | 'Intel';
  /** Rows beyond {@link ROWS} (plugins' instructions); a code that both list is theirs. */
  readonly rows?: readonly Row[];
  /** Who brought a row, for errors. Default: `x86` for all. */
  readonly owner?: (row: Row) => string;
  /** Further state variables that added rows use. */
  readonly state?: Readonly<Record<string, StateVar>>;
}

/** The engine's view of x86 with the table behind it. */
export interface X86Isa extends Isa {
  readonly table: Table;
  /**
   * The instruction that starts `bytes` (up to 15 of them count), decoded as at offset `ip` of the code segment into
   * `into`, which is returned: code INVALID if it is none, or does not end within them. One of added encodings has the
   * code it is like (UD2 without operands), and its own length.
   */
  instruction(bytes: Uint8Array, mode: number, ip: bigint, into: Instruction): Instruction;
}

const tables: Map<string, Table> = new Map();

/** The table of our own rows with the given features, made once. */
function standardTable(features: ReadonlySet<string> | undefined): Table {
  const key = features ? [...features].sort().join(' ') : '*';
  let t = tables.get(key);
  if (!t) {
    t = buildTable(ROWS, { features });
    tables.set(key, t);
  }
  return t;
}

/**
 * Builds the instruction set. Two of the same features without added rows share their list of handlers.
 * @throws TableError if an added row is malformed or claims a code or encoding of another added row.
 */
export function x86Isa(options: X86IsaOptions = {}): X86Isa {
  const { rows = [], vendor = 'AMD', features } = options;
  const table =
    rows.length > 0
      ? buildTable(ROWS, { features, added: rows, owner: options.owner })
      : standardTable(features);
  const decoder = new RecordDecoder(table, vendor);
  return {
    name: 'x86',
    unit: 1,
    recordSize: RECORD_SIZE,
    fields: FIELDS,
    link: LINK,
    files: FILES,
    state: { ...STATE, ...options.state },
    contexts: CONTEXTS,
    handlers: table.handlers,
    pairs: table.pairs,
    undefinedHandler: table.undefinedHandler,
    table,
    decode: (site: DecodeSite, out: { handler: number }): number => decoder.decode(site, out),
    instruction: (bytes, mode, ip, into) => decoder.instruction(bytes, mode, ip, into),
  };
}
