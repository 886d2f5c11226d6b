/** Where things lie in bare-metal case images (`bare-image.ts`): addresses, selectors, fields of cases and records. */

/** Physical addresses. The first 32 MiB are mapped to themselves for supervisors, and once more at USER for users. */
export const AT = {
  ivt: 0,
  gdt: 0x1000,
  idt32: 0x2000,
  idt64: 0x3000,
  tss32: 0x4000,
  tss64: 0x5000,
  /** Another task, 32 and 16 bits wide. */
  tss2: 0x5800,
  tss16: 0x5c00,
  ldt: 0x6000,
  /** Operands in memory. */
  data: 0x7000,
  /** UD2: where transfers lead to. */
  landing: 0x8000,
  /** Segment of 16-bit code. */
  code16: 0x1_0000,
  /** Segment of 16-bit stacks. */
  data16: 0x2_0000,
  ist2: 0x2_b000,
  ist1: 0x2_c000,
  stack1: 0x2_d000,
  stack0: 0x2_e000,
  /** Stack that TSSs have for CPL 0. */
  stackTss: 0x2_f000,
  stack3: 0x3_2000,
  /** The supervisor program's own. */
  stackHome: 0x7_e000,
  image: 0x10_0000,
  tables: 0x14_0000,
  cases: 0x18_0000,
  /** A page that tests map. */
  page: 0x7f_0000,
  /** What outlives a reset. */
  kept: 0x7f_f000,
  results: 0x80_0000,
} as const;

/** Linear address at which users see physical address 0. */
export const USER = 0x200_0000;
/** Bytes mapped. */
export const MAPPED = 0x200_0000;

/** Page tables. Those of tests are empty and reached through the second entry of their parents' root. */
export const TABLE = {
  pd32: AT.tables,
  pt32: AT.tables + 0x1000,
  pdptPae: AT.tables + 0x1_1000,
  pd: AT.tables + 0x1_2000,
  pml5: AT.tables + 0x1_3000,
  pml4: AT.tables + 0x1_4000,
  pdpt: AT.tables + 0x1_5000,
  testPml4: AT.tables + 0x1_8000,
  testPdpt: AT.tables + 0x1_9000,
  testPd: AT.tables + 0x1_a000,
  testPt: AT.tables + 0x1_b000,
  testPt32: AT.tables + 0x1_d000,
} as const;

/** Linear address that the test tables map, by paging mode. */
export const TEST_PAGE = {
  '32': 0x4000_0000n,
  pae: 0x4000_0000n,
  '4': 0x80_0000_0000n,
  '5': 0x1_0000_0000_0000n,
} as const;

/** Selectors of the GDT. `a` and `b` are the case's own; `a2` and `b2` their upper halves. */
export const SEL = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss32: 0x28,
  tss64: 0x30,
  long0: 0x40,
  long3: 0x4b,
  code16: 0x50,
  data16: 0x58,
  code16u: 0x63,
  data16u: 0x6b,
  a: 0x80,
  a2: 0x88,
  b: 0x90,
  b2: 0x98,
  conforming: 0xa0,
  absent: 0xa8,
  readOnly: 0xb0,
  tss2: 0xb8,
  ldt: 0xc0,
  data1: 0xc8,
  code1: 0xd0,
  ldt64: 0xd8,
} as const;
/** Bytes of the GDT. */
export const GDT_BYTES = 0x100;

/** A descriptor's two doublewords. `access`: P, DPL, S and type; `flags`: G, D, L, AVL. */
export function descriptor(
  access: number,
  limit = 0xf_ffff,
  flags = 0xc,
  base = 0,
): readonly [number, number] {
  return [
    ((base << 16) | (limit & 0xffff)) >>> 0,
    (((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf_0000) | (flags << 20) | (base & 0xff00_0000)) >>>
      0,
  ];
}
/** A gate's two doublewords. */
export function gate(selector: number, offset: number, access: number, count = 0): readonly [number, number] {
  return [
    ((selector << 16) | (offset & 0xffff)) >>> 0,
    (((offset & 0xffff_0000) | (access << 8) | count) >>> 0) as number,
  ];
}

/** Offsets in a case. */
export const CASE = {
  size: 0,
  env: 4,
  cr0: 8,
  cr3: 12,
  cr4: 16,
  efer: 20,
  rip: 24,
  cs: 32,
  rflags: 36,
  rsp: 40,
  ss: 48,
  ds: 52,
  gprs: 56,
  events: 112,
  pokes: 116,
  msrs: 120,
  watch: 124,
  lists: 140,
} as const;
/** How a case is entered. */
export const ENV = { protected: 0, long: 1, real: 2 } as const;

/** Doublewords of a record. */
export const FIELDS = [
  ...['vector', 'error', 'rip', 'rip.hi', 'cs', 'rflags', 'rsp', 'rsp.hi', 'ss', 'ds:es', 'fs:gs'],
  ...['cr2', 'cr2.hi', 'dr6', 'cr0', 'cr4', 'efer'],
  ...[
    'rax',
    'rax.hi',
    'rbx',
    'rbx.hi',
    'rcx',
    'rcx.hi',
    'rdx',
    'rdx.hi',
    'rsi',
    'rsi.hi',
    'rdi',
    'rdi.hi',
    'rbp',
    'rbp.hi',
  ],
  ...['frame', 'frame.hi', 'tr:ldtr', 'watch0', 'watch1', 'watch2', 'watch3', 'inner ss', 'dr7'],
] as const;
/** Name of a record's field. */
export type Field = (typeof FIELDS)[number];
/** Bytes of a record. */
export const RECORD = FIELDS.length * 4;
/** Offset of a field in a record. */
export const field = (name: Field): number => FIELDS.indexOf(name) * 4;

/** Vectors that are not vectors: what the runner could not do, and a shutdown. */
export const UNHANDLED = 0xfe;
export const SHUTDOWN = 0xff;
