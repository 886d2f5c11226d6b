/** The walk with another root and reader: nested page tables under the guest's own, through the port and its TLB. */
import { Access } from '@faultyard/engine';
import { describe, expect, test } from 'vitest';
import { CTX_USER } from '../src/isa/layout.ts';
import { CR0, SR } from '../src/state.ts';
import { BareMemory, Cause } from './support/bare-memory.ts';
import { NestedStage } from './support/nested-stage.ts';
import { paging } from './support/tables.ts';

const { Read, Write, Exec } = Access;
const VA = 0x40_0000_0000n;
/** Nested tables; the guest's physical addresses are shifted by 1 MiB: its page 0 is at 10_0000h. */
const [NPML4, NPDPT, NPD, NPT] = [0x8000, 0x9000, 0xa000, 0xb000];
const SHIFT = 0x20_0000;
const FINAL = 1n << 32n;
const TABLE = 1n << 33n;

/** A guest whose tables lie in its own physical memory, all mapped by 4 KiB nested pages; VA leads to its page 5. */
function nested(): {
  readonly m: BareMemory;
  readonly stage: NestedStage;
  readonly npte: (gpa: number) => number;
} {
  const m = new BareMemory();
  m.poke(NPML4, BigInt(NPDPT) | 7n);
  m.poke(NPDPT, BigInt(NPD) | 7n);
  m.poke(NPD, BigInt(NPT) | 7n);
  const npte = (gpa: number): number => NPT + (gpa >>> 12) * 8;
  for (let page = 0; page < 256; page++) m.poke(npte(page * 4096), BigInt(SHIFT + page * 4096) | 7n);
  // the guest's tables at its pages 1 to 4
  const own = (gpa: number, entry: bigint): void => m.poke(SHIFT + gpa, entry);
  own(0x1000, 0x2007n);
  own(0x2000 + 256 * 8, 0x3007n);
  own(0x3000, 0x4007n);
  own(0x4000, 0x5007n);
  m.at(SHIFT + 0x5000);
  m.state.setSys(SR.CR3, 0x1000, 0);
  const npt = paging({ root: NPML4, levels: 4, nx: true, wp: true });
  const stage = new NestedStage(npt, m.port.tables);
  m.port.nested = { acting: stage, silent: stage };
  m.tlb.asid = 1;
  return { m, stage, npte };
}

describe('nested paging', () => {
  test('an access -> both walks; A and D in both; kept under the ASID', () => {
    const { m, npte } = nested();
    expect(m.access(VA + 0x18n, Write, { size: 8 })).toMatchObject({ gpa: SHIFT + 0x5018 });
    expect(m.peek(SHIFT + 0x4000) & 0x60n).toBe(0x60n);
    expect(m.peek(npte(0x5000)) & 0x60n).toBe(0x60n);
    // the guest's tables were reached for writing
    expect(m.peek(npte(0x3000)) & 0x60n).toBe(0x60n);
    m.poke(npte(0x5000), 0n);
    expect(m.access(VA, Read)).toMatchObject({ gpa: SHIFT + 0x5000 });
    m.tlb.dropPage(0, 0x40, 0);
    expect(m.access(VA, Read)).toMatchObject({ cause: Cause.Nested });
  });
  test.each<[string, number, (m: BareMemory, npte: (gpa: number) => number) => void, bigint, number]>([
    ['no page behind a read', Read, (m, npte) => m.poke(npte(0x5000), 0n), FINAL | 4n, 0x5018],
    ['no page behind a write', Write, (m, npte) => m.poke(npte(0x5000), 0n), FINAL | 6n, 0x5018],
    [
      'a page that is read-only',
      Write,
      (m, npte) => m.poke(npte(0x5000), BigInt(SHIFT + 0x5000) | 5n),
      FINAL | 7n,
      0x5018,
    ],
    [
      'a page of the supervisor',
      Read,
      (m, npte) => m.poke(npte(0x5000), BigInt(SHIFT + 0x5000) | 3n),
      FINAL | 5n,
      0x5018,
    ],
    [
      'a fetch of a page with NX',
      Exec,
      (m, npte) => m.poke(npte(0x5000), BigInt(SHIFT + 0x5000) | 7n | (1n << 63n)),
      FINAL | 0x15n,
      0x5018,
    ],
    [
      'reserved bits',
      Read,
      (m, npte) => m.poke(npte(0x5000), BigInt(SHIFT + 0x5000) | 7n | (1n << 51n)),
      FINAL | 0xdn,
      0x5018,
    ],
    [
      'a table of the guest that is not there',
      Read,
      (m, npte) => m.poke(npte(0x3000), 0n),
      TABLE | 6n,
      0x3000,
    ],
    [
      'a table of the guest that is read-only',
      Exec,
      (m, npte) => m.poke(npte(0x4000), BigInt(SHIFT + 0x4000) | 5n),
      TABLE | 7n,
      0x4000,
    ],
  ])('%s -> #NPF with its error code, the entry or the byte', (_, kind, make, errorCode, gpa) => {
    const { m, stage, npte } = nested();
    make(m, npte);
    expect(m.access(VA + 0x18n, kind as 0, { size: 2 })).toMatchObject({ cause: Cause.Nested });
    expect([stage.errorCode.toString(16), stage.gpa]).toEqual([errorCode.toString(16), gpa]);
  });
  test('the guest’s own tables deny -> its #PF, before the page itself is translated', () => {
    const { m, npte } = nested();
    m.poke(SHIFT + 0x4000, 0x5003n);
    m.poke(npte(0x5000), 0n);
    expect(m.access(VA, Read, { ctx: CTX_USER })).toMatchObject({ cause: Cause.PageFault, errorCode: 5 });
  });
  test('a read-only nested page, read first, then written with CR0.WP = 0 -> refused all the same', () => {
    const { m, stage, npte } = nested();
    m.poke(npte(0x5000), BigInt(SHIFT + 0x5000) | 5n);
    m.cr0(CR0.WP, false);
    expect(m.access(VA, Read)).toMatchObject({ gpa: SHIFT + 0x5000 });
    expect(m.access(VA, Write)).toMatchObject({ cause: Cause.Nested });
    expect(stage.errorCode).toBe(FINAL | 7n);
  });
  test('paging of the guest off -> the second stage alone', () => {
    const { m, npte } = nested();
    m.legacy(0, -1);
    expect(m.access(0x5010n, Write)).toMatchObject({ gpa: SHIFT + 0x5010 });
    expect(m.peek(npte(0x5000)) & 0x60n).toBe(0x60n);
  });
  test('stage 2 of the host misses under a nested table -> mapped and walked again', () => {
    const { m } = nested();
    m.stage2.zapAll();
    expect(m.once(VA, Read)).toMatchObject({ cause: Cause.Stage2, walk: true });
    expect(m.access(VA, Read)).toMatchObject({ gpa: SHIFT + 0x5000 });
  });
});
