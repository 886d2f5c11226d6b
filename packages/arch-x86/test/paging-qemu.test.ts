/**
 * Page walks in long mode against qemu-system-x86_64: every access through tables of its own, what the handler sees of it
 * (vector, error code, CR2), A and D it leaves at every level, and whether data moved. Where QEMU is not installed its
 * recorded answers are compared.
 */
import { capture, missing } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { CR4 } from '../src/state.ts';
import { type Kind, type PagingCase, pagingHere, pagingUnderQemu } from './support/paging-image.ts';

/** Without read-modify-writes: QEMU reports them as reads where reading already fails, which no CPU does. */
const KINDS: readonly Kind[] = ['read', 'write', 'fetch'];
const CPLS = [0, 3] as const;
const BOTH = [false, true] as const;
type Entries = PagingCase['entries'];
const ALL: Entries = [7n, 7n, 7n, 7n];
/** All rights, with bits of one level (4 to 1) changed. */
const changed = (level: number, f: (e: bigint) => bigint, from: Entries = ALL): Entries =>
  from.map((e, i) => (4 - i === level ? f(e) : e)) as unknown as Entries;
const NX = 1n << 63n;

/** Groups of cases by what they try. */
const GROUPS: Readonly<Record<string, readonly PagingCase[]>> = {
  'R/W and U/S at two levels, under CR0.WP, SMEP, SMAP and EFLAGS.AC': [0n, 2n, 4n, 6n].flatMap((upper) =>
    [0n, 2n, 4n, 6n].flatMap((lower) =>
      KINDS.flatMap((kind) =>
        CPLS.flatMap((cpl) =>
          BOTH.flatMap((wp) =>
            [0, CR4.SMEP, CR4.SMAP, CR4.SMEP | CR4.SMAP].flatMap((cr4) =>
              BOTH.map(
                (ac): PagingCase => ({
                  kind,
                  cpl,
                  wp,
                  ac,
                  cr4,
                  leaf: 1,
                  nxe: true,
                  entries: [7n, upper | 1n, 7n, lower | 1n],
                }),
              ),
            ),
          ),
        ),
      ),
    ),
  ),
  'NX at every level, with and without NXE': [4, 3, 2, 1].flatMap((level) =>
    KINDS.flatMap((kind) =>
      CPLS.flatMap((cpl) =>
        BOTH.map(
          (nxe): PagingCase => ({
            kind,
            cpl,
            nxe,
            wp: true,
            leaf: 1,
            entries: changed(level, (e) => e | NX),
          }),
        ),
      ),
    ),
  ),
  'P = 0 at every level, and what the error code says of a fetch': [4, 3, 2, 1].flatMap((level) =>
    KINDS.flatMap((kind) =>
      CPLS.flatMap((cpl) =>
        BOTH.flatMap((nxe) =>
          [0, CR4.SMEP].map(
            (cr4): PagingCase => ({ kind, cpl, nxe, cr4, leaf: 1, entries: changed(level, (e) => e & ~1n) }),
          ),
        ),
      ),
    ),
  ),
  'reserved bits, and bits that are free': ([1, 2, 3] as const).flatMap((leaf) =>
    [4, 3, 2, 1].flatMap((level) =>
      (level === leaf
        ? [8n, 9n, 11n, 12n, 13n, 20n, 21n, 29n, 39n, 40n, 47n, 51n, 52n, 58n]
        : [7n, 8n, 9n, 11n, 40n, 47n, 51n, 52n, 62n]
      )
        .filter((bit) => level >= leaf && !(bit === 7n && level < 4))
        // address bits that would lead elsewhere
        .filter(
          (bit) => level !== leaf || bit < 12n || bit >= 40n || (leaf > 1 && bit < 9n * BigInt(leaf) + 3n),
        )
        .flatMap((bit) =>
          (['read', 'write'] as const).map(
            (kind): PagingCase => ({
              kind,
              cpl: 3,
              wp: true,
              nxe: true,
              leaf,
              entries: changed(level, (e) => e | (1n << bit)),
            }),
          ),
        ),
    ),
  ),
  'protection keys': [0, 1, 2, 3].flatMap((rights) =>
    [3n, 5n, 7n].flatMap((page) =>
      KINDS.flatMap((kind) =>
        CPLS.flatMap((cpl) =>
          BOTH.map(
            (wp): PagingCase => ({
              kind,
              cpl,
              wp,
              nxe: true,
              cr4: CR4.PKE,
              pkru: rights << 10,
              leaf: 1,
              entries: [7n, 7n, 7n, page | (5n << 59n)],
            }),
          ),
        ),
      ),
    ),
  ),
  'A and D set before, pages of every size': ([1, 2, 3] as const).flatMap((leaf) =>
    [0n, 0x20n, 0x40n, 0x60n].flatMap((bits) =>
      [3n, 5n, 7n].flatMap((page) =>
        KINDS.flatMap((kind) =>
          CPLS.map(
            (cpl): PagingCase => ({
              kind,
              cpl,
              wp: true,
              nxe: true,
              leaf,
              entries: changed(leaf, () => page | bits),
            }),
          ),
        ),
      ),
    ),
  ),
};

/** What the cases end in: INT 80h, or #PF with its error code: P W U RSVD I PK as they can come together. */
const SEEN: readonly string[] = [
  '128',
  ...[0, 1, 2, 3, 4, 5, 6, 7, 9, 0xb, 0xd, 0xf, 0x10, 0x11, 0x14, 0x15, 0x21, 0x23, 0x25, 0x27].map(
    (n) => `14 ${n.toString(16)}`,
  ),
].sort();

const unless = missing('qemu-system-x86_64');
const said = capture({
  record: new URL('recorded/paging-qemu.txt', import.meta.url),
  unless,
  live: () => `${pagingUnderQemu(Object.values(GROUPS).flat()).join('\n')}\n`,
});
/** QEMU sets RSVD without P, where every CPU sets both (SDM volume 3A, 4.7). */
const withPresent = (line: string): string =>
  line.replace(/^14 ([0-9a-f]+)/, (_, code: string) => {
    const n = Number.parseInt(code, 16);
    return `14 ${(n & 8 ? n | 1 : n).toString(16)}`;
  });
const there = said.text.trim().split('\n').map(withPresent);
/** QEMU sets A of a 1 GiB page before it looks at its rights and reserved bits. */
const comparable = (c: PagingCase, line = ''): string =>
  c.leaf === 3 && line.startsWith('14')
    ? line.replace(
        /\.([0-9a-f]+)\.0\.0 /,
        (_, e: string) => `.${(Number.parseInt(e, 16) & ~0x20).toString(16)}.0.0 `,
      )
    : line;
const here = pagingHere(Object.values(GROUPS).flat());

/** A case for people. */
function show(c: PagingCase): string {
  const entries = c.entries.map((e) => e.toString(16)).join('.');
  const on = (['wp', 'nxe', 'ac'] as const).filter((k) => c[k]).join(' ');
  return `${c.kind} at CPL ${c.cpl}, leaf ${c.leaf}, ${entries}, CR4 ${(c.cr4 ?? 0).toString(16)}, PKRU ${c.pkru ?? 0}, ${on}`;
}

it.skipIf(unless !== undefined)(
  `QEMU on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => expect(said.text).toEqual(said.recorded),
);

describe(`against ${said.how === 'live' ? 'QEMU' : `QEMU's recorded answers (${said.why})`}`, () => {
  let from = 0;
  for (const [name, cases] of Object.entries(GROUPS)) {
    const first = from;
    from += cases.length;
    it(`${name} (${cases.length} cases) -> the same faults, the same tables`, () => {
      const different = cases.flatMap((c, i) =>
        comparable(c, here[first + i]) === comparable(c, there[first + i])
          ? []
          : [`${show(c)}: ${here[first + i]}, QEMU ${there[first + i]}`],
      );
      expect(different).toEqual([]);
    });
  }
  it('the cases -> faults of every kind, and accesses that go through', () => {
    const seen = new Set(
      there.map((l) =>
        l
          .split(' ')
          .slice(0, l.startsWith('14') ? 2 : 1)
          .join(' '),
      ),
    );
    expect(there.length).toBe(from);
    expect([...seen].sort()).toEqual(SEEN);
  });
});
