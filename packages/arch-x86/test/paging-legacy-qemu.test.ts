/**
 * Page walks of 32-bit and PAE paging against qemu-system-x86_64: as `paging-qemu.test.ts`. Where QEMU is not installed its
 * recorded answers are compared.
 */
import { capture, missing } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { CR4 } from '../src/state.ts';
import { type LegacyCase, legacyHere, legacyUnderQemu } from './support/legacy-paging-image.ts';
import type { Kind } from './support/paging-image.ts';

const KINDS: readonly Kind[] = ['read', 'write', 'fetch'];
const BOTH = [false, true] as const;
/** Every kind of access at either level of privilege, in both kinds of paging unless `of` names one. */
const each = (
  of: readonly boolean[],
  f: (c: Pick<LegacyCase, 'kind' | 'cpl' | 'pae'>) => readonly LegacyCase[],
): LegacyCase[] =>
  of.flatMap((pae) => KINDS.flatMap((kind) => ([0, 3] as const).flatMap((cpl) => f({ kind, cpl, pae }))));
const RIGHTS = [1n, 3n, 5n, 7n] as const;

const GROUPS: Readonly<Record<string, readonly LegacyCase[]>> = {
  'R/W and U/S of both entries, under CR0.WP, SMEP, SMAP and EFLAGS.AC': each(BOTH, (c) =>
    RIGHTS.flatMap((pde) =>
      RIGHTS.flatMap((pte) =>
        BOTH.flatMap((wp) =>
          (
            [
              [0, false],
              [CR4.SMEP, false],
              [CR4.SMAP, false],
              [CR4.SMAP, true],
            ] as const
          ).map(([cr4, ac]): LegacyCase => ({ ...c, pde, pte, wp, cr4, ac })),
        ),
      ),
    ),
  ),
  'P = 0 in either entry, A and D set before': each(BOTH, (c) =>
    [6n, 7n, 0x27n].flatMap((pde) =>
      [6n, 0x27n, 0x47n, 0x67n].map((pte): LegacyCase => ({ ...c, pde, pte })),
    ),
  ),
  'large pages, with and without CR4.PSE': each(BOTH, (c) =>
    [3n, 5n, 7n, 0x27n, 0x47n].flatMap((pde) =>
      [0, CR4.PSE].flatMap((cr4) =>
        BOTH.map((wp): LegacyCase => ({ ...c, pde, pte: 0n, large: true, wp, cr4 })),
      ),
    ),
  ),
  '32-bit: bits of large and small pages that are reserved or free': each([false], (c) =>
    [8n, 9n, 11n, 12n, 21n].flatMap((bit): LegacyCase[] => [
      { ...c, pde: 7n | (1n << bit), pte: 0n, large: true, cr4: CR4.PSE },
      ...(bit < 12n ? [{ ...c, pde: 7n | (1n << bit), pte: 7n | (1n << bit) }] : []),
    ]),
  ),
  'PAE: reserved bits at either level, NX with and without NXE': each([true], (c) =>
    [8n, 11n, 40n, 47n, 51n, 52n, 58n, 62n, 63n].flatMap((bit) =>
      BOTH.flatMap((nxe): LegacyCase[] => [
        { ...c, nxe, pde: 7n | (1n << bit), pte: 7n },
        { ...c, nxe, pde: 7n, pte: 7n | (1n << bit) },
        { ...c, nxe, pde: 7n | (1n << bit), pte: 0n, large: true },
      ]),
    ),
  ),
  'PAE: low address bits of a 2 MiB page': each([true], (c) =>
    [12n, 13n, 17n, 20n].map((bit): LegacyCase => ({ ...c, pde: 7n | (1n << bit), pte: 0n, large: true })),
  ),
};

const unless = missing('qemu-system-x86_64');
const said = capture({
  record: new URL('recorded/paging-legacy-qemu.txt', import.meta.url),
  unless,
  live: () => `${legacyUnderQemu(Object.values(GROUPS).flat()).join('\n')}\n`,
});
/** QEMU sets RSVD without P, where every CPU sets both (SDM volume 3A, 4.7). */
const withPresent = (line: string): string =>
  line.replace(/^14 ([0-9a-f]+)/, (_, code: string) => {
    const n = Number.parseInt(code, 16);
    return `14 ${(n & 8 ? n | 1 : n).toString(16)}`;
  });
const there = said.text.trim().split('\n').map(withPresent);
const here = legacyHere(Object.values(GROUPS).flat());

/** A case for people. */
function show(c: LegacyCase): string {
  const on = (['large', 'wp', 'nxe', 'ac'] as const).filter((k) => c[k]).join(' ');
  const entries = `${c.pde.toString(16)}.${c.pte.toString(16)}`;
  return `${c.pae ? 'PAE' : '32-bit'} ${c.kind} at CPL ${c.cpl}, ${entries}, CR4 ${(c.cr4 ?? 0).toString(16)}, ${on}`;
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
        here[first + i] === there[first + i]
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
    const codes = [0, 1, 2, 3, 4, 5, 6, 7, 9, 0xb, 0xd, 0xf, 0x11, 0x15, 0x19, 0x1d];
    expect(there.length).toBe(from);
    expect([...seen].sort()).toEqual(['128', ...codes.map((n) => `14 ${n.toString(16)}`)].sort());
  });
});
