/** Chapter "tables": real stage 1 tables, 4K granule, 48-bit addresses, one page for each level. */
import { AT, KERNEL, PORT, RAM, tableGpa, VICTIMS } from './layout.ts';
import type { GuestSetup } from './setup.ts';

/** Bits of a leaf descriptor (VMSAv8-64). AttrIndx 0 is Normal write-back, 1 is Device-nGnRnE. */
const LEAF = {
  page: 3n,
  device: 1n << 2n,
  /** AP[1]: EL0 too. */
  user: 1n << 6n,
  /** AP[2]. */
  readOnly: 1n << 7n,
  inner: 3n << 8n,
  accessed: 1n << 10n,
  pxn: 1n << 53n,
  uxn: 1n << 54n,
} as const;
/** A descriptor that names the next table. */
const TABLE = 3n;

const NORMAL = LEAF.page | LEAF.inner | LEAF.accessed;
const NOEXEC = LEAF.pxn | LEAF.uxn;
const KERNEL_DATA = NORMAL | NOEXEC;
const KERNEL_TEXT = NORMAL | LEAF.readOnly | LEAF.uxn;
const USER_DATA = NORMAL | LEAF.user | LEAF.uxn;
/** Executable at both levels: EL1 may be asked to fetch from it too. */
const USER_TEXT = NORMAL | LEAF.user | LEAF.readOnly;
const DEVICE = LEAF.page | LEAF.device | LEAF.accessed | LEAF.user | NOEXEC;

/** A hierarchy of four tables in four consecutive pages, and what is written where. */
class Tables {
  readonly words = new Map<bigint, bigint>();
  readonly #root: bigint;
  constructor(root: bigint) {
    this.#root = root;
  }
  /** Maps one page. @param leafTable gpa of the level 3 table, when it is not the fourth page. */
  map(va: bigint, gpa: bigint, attributes: bigint, leafTable: bigint = this.#root + 0x3000n): void {
    const index = (level: number): bigint => ((va >> BigInt(39 - 9 * level)) & 0x1ffn) * 8n;
    const tables = [this.#root, this.#root + 0x1000n, this.#root + 0x2000n, leafTable];
    for (let l = 0; l < 3; l++)
      this.words.set((tables[l] as bigint) + index(l), (tables[l + 1] as bigint) | TABLE);
    this.words.set(leafTable + index(3), gpa | attributes);
  }
}

/** Every descriptor by its gpa. */
export function tables(s: GuestSetup): ReadonlyMap<bigint, bigint> {
  const identity = new Tables(RAM.gpa + AT.identity);
  identity.map(RAM.gpa + AT.boot, RAM.gpa + AT.boot, KERNEL_TEXT);

  const upper = new Tables(RAM.gpa + AT.upper);
  for (let at = 0n; at < 0x1f_f000n; at += 0x1000n) {
    const text = at === AT.text || at === AT.text + 0x1000n;
    upper.map(KERNEL + at, RAM.gpa + at, text ? KERNEL_TEXT : at === AT.user ? USER_TEXT : KERNEL_DATA);
  }
  upper.map(PORT.va, PORT.gpa, LEAF.page | LEAF.device | LEAF.accessed | NOEXEC);

  const victims = new Tables(tableGpa(0));
  const data = s.dataGpa ?? VICTIMS.D.gpa;
  victims.map(VICTIMS.D.va, data, s.dataGpa === undefined ? NORMAL | LEAF.user : USER_DATA);
  victims.map(VICTIMS.K.va, VICTIMS.K.gpa, KERNEL_DATA);
  victims.map(VICTIMS.F.va, VICTIMS.F.gpa, USER_TEXT);
  victims.map(VICTIMS.device.va, VICTIMS.device.gpa, DEVICE);
  victims.map(VICTIMS.outside.va, VICTIMS.outside.gpa, USER_TEXT);
  if (s.dataGpa !== undefined) {
    victims.map(VICTIMS.D.va + 0x1000n, data + 0x1000n, USER_DATA);
    victims.map(VICTIMS.D.va + 0x1f_f000n, data + 0x1f_f000n, USER_DATA);
    victims.map(VICTIMS.D.va + 0x20_0000n, data + 0x20_0000n, USER_DATA, tableGpa(4));
  }
  const out = new Map([...identity.words, ...upper.words, ...victims.words]);
  const level = s.tableOutside;
  if (level !== undefined && level > 0)
    for (const [at, d] of victims.words)
      if (d === (tableGpa(level) | TABLE)) out.set(at, VICTIMS.outside.gpa | TABLE);
  return out;
}

/** TTBR0_EL1 of the processes. */
export function victimRoot(s: GuestSetup): bigint {
  return s.tableOutside === 0 ? VICTIMS.outside.gpa : tableGpa(0);
}
