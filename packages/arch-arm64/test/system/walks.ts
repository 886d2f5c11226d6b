/** Stage 1: permissions of every kind at every level, faults, granules, both ranges, AT and TLBI. */
import { atEl0, type CpuName, expectTrap, report } from '../support/bare-metal.ts';
import { type Granule, Tables } from '../support/tables.ts';
import type { SystemImage } from './images.ts';

/** Descriptor bits. */
const AF = 1 << 10;
const SH = 3 << 8;
const EL0 = 1 << 6;
const RO = 1 << 7;
const NG = 1 << 11;
const UXN = 0x0040_0000_0000_0000n;
const PXN = 0x0020_0000_0000_0000n;

const TG0: Readonly<Record<Granule, number>> = { 12: 0, 14: 2, 16: 1 };
const TG1: Readonly<Record<Granule, number>> = { 12: 2, 14: 1, 16: 3 };
/** Level of the blocks that map RAM and the serial port. */
const BLOCK: Readonly<Record<Granule, number>> = { 12: 1, 14: 2, 16: 2 };
const TEST_VA = 0x8000_0000;

interface Space {
  readonly granule: Granule;
  readonly size: number;
  readonly tables: Tables;
  /** Step between leaves at level 3. */
  readonly page: number;
}

/** Tables that identity-map RAM (EL1 RWX, EL0 X) and the serial port. */
function space(granule: Granule, size = 39): Space {
  const tables = new Tables('tt0', granule, size);
  const block = BLOCK[granule];
  tables.set(0x4000_0000, block, `0x40000000 + ${AF | SH | 1}`);
  // the serial port, Device-nGnRnE, never executable
  const device = `${AF | 4 | 1} + ${UXN} + ${PXN}`;
  if (granule === 12) tables.set(0x0900_0000, 2, `0x09000000 + ${device}`);
  else tables.set(0x0900_0000, 2, `${granule === 14 ? 0x0800_0000 : 0} + ${device}`);
  return { granule, size, tables, page: 2 ** granule };
}

/** Switches the MMU on: MAIR, TCR, TTBRs, SCTLR. `tcr`: further bits. */
function enable(s: Space, tcr = '0', ttbr1 = 'tt0'): string {
  const t = 64 - s.size;
  return `
  ldr x0, =0x4400ff
  msr mair_el1, x0
  ldr x0, =${t} | (${t} << 16) | (${TG0[s.granule]} << 14) | (${TG1[s.granule]} << 30) | 0x35003500 | (2 << 32) | (${tcr})
  msr tcr_el1, x0
  ldr x0, =tt0
  msr ttbr0_el1, x0
  ldr x0, =${ttbr1}
  msr ttbr1_el1, x0
  dsb sy
  isb
  tlbi vmalle1
  dsb sy
  isb
  mrs x0, sctlr_el1
  ldr x1, =0x1005
  orr x0, x0, x1
  msr sctlr_el1, x0
  isb
`;
}

/** All kinds of access to one address: EL1, LDTR, EL0, fetches, and the four ATs. */
function accesses(va: string): string {
  const load = `  ldr x2, =${va}\n`;
  const at = (op: string): string => `${load}  at ${op}, x2\n  isb\n  mrs x25, par_el1\n${report('x25')}`;
  return `
  ${expectTrap(`${load}  ldr x3, [x2, #0x100]\n  svc #1`)}
  ${expectTrap(`${load}  str x3, [x2, #0x100]\n  svc #2`)}
  ${expectTrap(`${load}  ldtr x3, [x2, #0x80]\n  svc #3`)}
  ${expectTrap(`${load}  sttr x3, [x2, #0x80]\n  svc #4`)}
  ${expectTrap(`${load}  br x2`)}
  ${atEl0(`${load}  ldr x3, [x2, #0x100]`)}
  ${atEl0(`${load}  str x3, [x2, #0x100]`)}
  ${atEl0(`${load}  br x2`)}
  ${at('s1e1r')}${at('s1e1w')}${at('s1e0r')}${at('s1e0w')}
  b 7f
  .ltorg
7:
`;
}

/** The page behind every test address: an instruction to fetch, and data. */
const TARGET = `
.balign 65536
target:
  svc #0x55
  .space 65532
`;

/** A page of each permission at level 3. */
function permissions(granule: Granule, tcr = '0'): string {
  const s = space(granule);
  let body = '';
  let va = TEST_VA;
  for (const ap of [0, EL0, RO, EL0 | RO])
    for (const xn of [0n, UXN, PXN, UXN | PXN]) {
      s.tables.set(va, 3, `target + ${ap | AF | SH | 3} + ${xn}`);
      body += accesses(`${va}`);
      va += s.page;
    }
  return `${enable(s, tcr)}${body}  b finish\n.ltorg\n${TARGET}${s.tables.text()}`;
}

/** Limits that tables put on what is below them: APTable, UXNTable, PXNTable at the levels above the leaf. */
function hierarchy(granule: Granule): string {
  const s = space(granule);
  let body = '';
  const step = 2 ** (granule + granule - 3);
  const limits = [
    '0x2000000000000000',
    '0x4000000000000000',
    '0x1000000000000000',
    '0x0800000000000000',
    '0x7800000000000000',
  ];
  limits.forEach((bits, i) => {
    const va = TEST_VA + step * (i + 1);
    s.tables.set(va, 3, `target + ${EL0 | AF | SH | 3}`, bits);
    body += accesses(`${va}`);
  });
  return `${enable(s)}${body}  b finish\n.ltorg\n${TARGET}${s.tables.text()}\n`;
}

/** Everything a walk can meet at each level but a valid leaf (QEMU 7.2 takes blocks at level 0 and 16K level 1: left out). */
function faults(granule: Granule, size: number): string {
  const s = space(granule, size);
  let body = '';
  const block = granule === 12 ? [1, 2] : [2];
  let n = 0;
  const used = BLOCK[granule];
  const fresh = (level: number): number => {
    // a region of its own, so that invalid tables are met where they are meant
    n++;
    if (level < used) return 2 ** (granule + (granule - 3) * (3 - level)) * (n + 1);
    return granule === 16
      ? 0x2000_0000 * (8 + n)
      : granule === 14
        ? 0x0200_0000 * (80 + n)
        : 0x4000_0000 * (4 + n);
  };
  for (let level = s.tables.start; level <= 3; level++) {
    const leaf = level === 3 ? 3 : 1;
    const good = AF | SH | EL0 | leaf;
    const put = (d: string): void => {
      const va = fresh(level);
      s.tables.set(va, level, d);
      body += accesses(`${va}`);
    };
    put('0');
    put('2');
    if (level === 3) put(`target + ${AF | SH | EL0 | 1}`);
    if (level === 3 || block.includes(level)) {
      put(`${good & ~AF}`);
      put(`0x0000200000000000 + ${good}`);
      put(`0x0000200000000000 + ${good & ~AF}`);
    } else put('0x0000200000000003');
    if (level < 3) put('0x0000200000000003');
  }
  const beyond = [
    `0x${(2n ** BigInt(size)).toString(16)}`,
    `0x${(2n ** 55n).toString(16)}`,
    '0x0100000080000000',
    '0xff00000080000000',
  ];
  for (const va of beyond) body += accesses(va);
  return `${enable(s)}${body}  b finish\n.ltorg\n${TARGET}${s.tables.text()}\n`;
}

/** The upper range, top byte ignore, and disabled walks. */
function ranges(granule: Granule): string {
  const s = space(granule);
  s.tables.set(TEST_VA, 3, `target + ${EL0 | AF | SH | 3}`);
  s.tables.set(TEST_VA + s.page, 3, `target + ${EL0 | RO | AF | SH | NG | 3}`);
  const high = '0xffffff8080000000';
  const again = (what: string): string => `${what}\n  isb\n  tlbi vmalle1\n  dsb sy\n  isb\n`;
  const tcr = (set: string, clear = '0'): string =>
    again(
      `  mrs x0, tcr_el1\n  ldr x1, =${clear}\n  bic x0, x0, x1\n  ldr x1, =${set}\n  orr x0, x0, x1\n  msr tcr_el1, x0`,
    );
  return `${enable(s)}
  ${accesses(high)}
  ${accesses(`${high} + ${s.page}`)}
  ${accesses('0xab00000080000000')}
  ${accesses('0x00ffff8080000000')}
  ${tcr('0x6000000000')}
  ${accesses('0xab00000080000000')}
  ${accesses('0x00ffff8080000000')}
  ${tcr('0', '0x6000000000')}
  ${tcr('0x800000')}
  ${accesses(high)}
  ${tcr('0', '0x800000')}
  ${tcr('10 << 16', '0x3f0000')}
  ${accesses(high)}
  ${tcr('39 << 16', '0x3f0000')}
  ${accesses(high)}
  ${accesses('0xfffffffffe000000')}
  ${tcr('40 << 16', '0x3f0000')}
  ${accesses('0xffffffffff000000')}
  b finish
.ltorg
${TARGET}${s.tables.text()}`;
}

/** PSTATE.PAN and UAO: what EL1 and LDTR may reach (the n1 only). */
function privileges(): string {
  const s = space(12);
  let body = '';
  const before = ['  msr pan, #1', '  .inst 0xd500417f // msr uao, #1', '  msr pan, #1\n  .inst 0xd500417f'];
  [0, EL0, RO, EL0 | RO].forEach((ap, i) => {
    const va = TEST_VA + i * 4096;
    s.tables.set(va, 3, `target + ${ap | AF | SH | 3}`);
    for (const state of before) {
      const load = `  ldr x2, =${va}\n${state}\n`;
      for (const access of [
        'ldr x3, [x2, #0x100]',
        'str x3, [x2, #0x100]',
        'ldtr x3, [x2, #0x80]',
        'sttr x3, [x2, #0x80]',
      ])
        body += expectTrap(`${load}  ${access}\n  svc #1`);
      body += expectTrap(`${load}  at s1e1r, x2\n  isb\n  mrs x25, par_el1\n  svc #2`);
      body += `${report('x25')}${expectTrap(`${load}  dc civac, x2\n  svc #3`)}  b 7f\n  .ltorg\n7:\n`;
    }
  });
  return `${enable(s)}${body}  b finish\n.ltorg\n${TARGET}${s.tables.text()}\n`;
}

/** SCTLR_EL1.WXN: code is read-only here, the stack lies in a writable alias. */
function writableNeverExecutable(): string {
  const s = space(12);
  s.tables.set(0x4000_0000, 1, `0x40000000 + ${AF | SH | RO | 1}`);
  s.tables.set(0x1_4000_0000, 1, `0x40000000 + ${AF | SH | 1}`);
  let body = '';
  [0, EL0, RO, EL0 | RO].forEach((ap, i) => {
    s.tables.set(TEST_VA + i * 4096, 3, `target + ${ap | AF | SH | 3}`);
    body += accesses(`${TEST_VA + i * 4096}`);
  });
  const on = `  mrs x0, sctlr_el1
  orr x0, x0, #0x80000
  msr sctlr_el1, x0
  isb
  mov x0, sp
  ldr x1, =0x100000000
  add sp, x0, x1
`;
  return `${enable(s).replace('  mrs x0, sctlr_el1', '  b 6f\n  .ltorg\n6:\n  mrs x0, sctlr_el1')}${on}${body}  b finish\n.ltorg\n${TARGET}${s.tables.text()}`;
}

/** TLBI: a stale translation stays or goes by address, ASID and level. Runs with 4K. */
function invalidation(): string {
  const s = space(12);
  for (let i = 0; i < 4; i++)
    s.tables.set(TEST_VA + i * 4096, 3, `target + ${EL0 | AF | SH | (i & 1 ? NG : 0) | 3}`);
  const l3 = 'tt0_2_0';
  const touch = (i: number): string =>
    expectTrap(`  ldr x2, =${TEST_VA + i * 4096}\n  ldr x3, [x2, #0x100]\n  svc #${i}`);
  const set = (i: number, d: string): string =>
    `  ldr x2, =${l3} + ${8 * i}\n  ldr x3, =${d}\n  str x3, [x2]\n  dsb sy\n  isb\n`;
  const good = (i: number): string => `target + ${EL0 | AF | SH | (i & 1 ? NG : 0) | 3}`;
  const cycle = (i: number, op: string, arg: string): string => `
  ${set(i, good(i))}
  tlbi vmalle1
  dsb sy
  isb
  ${touch(i)}
  ${set(i, '0')}
  ldr x2, =${arg}
  ${op}
  dsb sy
  isb
  ${touch(i)}
  b 7f
  .ltorg
7:
`;
  const page = (i: number): string => `${(TEST_VA + i * 4096) / 4096}`;
  return `${enable(s)}
  ${cycle(0, 'tlbi vae1, x2', page(0))}
  ${cycle(1, 'tlbi vae1, x2', page(1))}
  ${cycle(0, 'tlbi vaae1, x2', page(0))}
  ${cycle(1, 'tlbi vaae1is, x2', page(1))}
  ${cycle(1, 'tlbi vale1, x2', page(1))}
  ${cycle(0, 'tlbi vaale1is, x2', page(0))}
  ${cycle(0, 'tlbi vmalle1is', '0')}
  ${cycle(1, 'tlbi aside1, x2', '0')}
  ${cycle(0, 'tlbi vae1is, x2', page(0))}
  ${expectTrap('  .inst 0xd50c871f // tlbi alle2')}
  b finish
.ltorg
${TARGET}${s.tables.text()}`;
}

const image = (name: string, cpu: CpuName, what: string, body: () => string): SystemImage => ({
  name,
  cpu,
  what,
  body,
});

/** Images of this chapter. */
export const walkImages: readonly SystemImage[] = [
  image('permissions-4k', 'cortex-a57', 'all AP, UXN, PXN at a 4K page -> every access and AT', () =>
    permissions(12),
  ),
  image('permissions-16k', 'neoverse-n1', 'all AP, UXN, PXN at a 16K page -> every access and AT', () =>
    permissions(14),
  ),
  image('permissions-64k', 'cortex-a57', 'all AP, UXN, PXN at a 64K page -> every access and AT', () =>
    permissions(16),
  ),
  image('hierarchy-4k', 'cortex-a57', 'APTable, UXNTable, PXNTable -> every access and AT', () =>
    hierarchy(12),
  ),
  image('hierarchy-64k', 'cortex-a57', 'APTable, UXNTable, PXNTable -> every access and AT', () =>
    hierarchy(16),
  ),
  image(
    'faults-4k-39',
    'cortex-a57',
    'invalid, reserved, AF=0, too long addresses at each level -> FSC',
    () => faults(12, 39),
  ),
  image('faults-4k-48', 'cortex-a57', 'the same from level 0 -> FSC', () => faults(12, 48)),
  image('faults-16k-39', 'neoverse-n1', 'the same with 16K -> FSC', () => faults(14, 39)),
  image('faults-64k-39', 'cortex-a57', 'the same with 64K -> FSC', () => faults(16, 39)),
  image('ranges-4k', 'cortex-a57', 'TTBR1, TBI, EPD1 -> every access and AT', () => ranges(12)),
  image('ranges-16k', 'neoverse-n1', 'TTBR1, TBI, EPD1 -> every access and AT', () => ranges(14)),
  image('privileges', 'neoverse-n1', 'PAN and UAO with every AP -> loads, LDTR, AT, DC', privileges),
  image('wxn', 'cortex-a57', 'SCTLR_EL1.WXN -> writable pages are not executable', writableNeverExecutable),
  image(
    'tlbi',
    'cortex-a57',
    'a descriptor cleared, then TLBI of each kind -> the translation goes',
    invalidation,
  ),
];
