/**
 * Bare-metal images of many small cases, which run here, under qemu-system-x86_64 and on KVM. A case is a state of the
 * processor (mode, privilege, paging, control registers, MSRs, registers), words of memory to change, and a label of code.
 * Its result is what the next exception finds: the frame, control and debug registers, general registers, and words of
 * memory. Code ends in UD2, so that every case has an exception.
 */
import { assemble } from '../../src/asm/assemble.ts';
import { AT, CASE, descriptor, ENV, RECORD, SEL, TABLE, USER } from './bare-layout.ts';
import { GPRS, pageTables, program, program16 } from './bare-program.ts';

/** What a case's code runs in. */
export type CaseMode = 'real' | 'v86' | 'pm16' | 'pm32' | 'compat16' | 'compat32' | 'long';
/** Kinds of paging. */
export type CasePaging = 'none' | '32' | 'pae' | '4' | '5';

/** Registers a case may set. */
export type CaseRegister = (typeof GPRS)[number];

/** One case. What is left out is 0, or as usual in its mode. */
export interface Case {
  readonly mode: CaseMode;
  /** Label of the code it runs. */
  readonly code: string;
  readonly cpl?: 0 | 3;
  /** Default: none, and 4-level where the mode is a long one. */
  readonly paging?: CasePaging;
  readonly regs?: Readonly<Partial<Record<CaseRegister, number | bigint>>>;
  readonly flags?: number;
  /** Bits of CR0, CR4 and EFER set besides what the mode needs; `cr0Clear`: bits cleared. */
  readonly cr0?: number;
  readonly cr0Clear?: number;
  readonly cr4?: number;
  readonly efer?: number;
  /** Bits of CR3 besides the address. */
  readonly cr3?: number;
  readonly cs?: number;
  readonly ss?: number;
  readonly ds?: number;
  /** Stack pointer. */
  readonly sp?: number | bigint;
  /** Added to where the code begins. */
  readonly ip?: number | bigint;
  /** Doublewords to change in memory, in order. */
  readonly poke?: readonly (readonly [address: number, value: number])[];
  readonly msr?: readonly (readonly [index: number, value: bigint])[];
  /** Exceptions to return from before the last. */
  readonly events?: number;
  /** Bits of RFLAGS that nothing defines afterwards. */
  readonly ignored?: number;
  /** Physical addresses of doublewords to look at afterwards, at most 4. */
  readonly watch?: readonly number[];
}

/** Code that cases run: by width, then by label. */
export interface Codes {
  readonly 16?: Readonly<Record<string, string>>;
  readonly 32?: Readonly<Record<string, string>>;
  readonly 64?: Readonly<Record<string, string>>;
}

const isLong = (m: CaseMode): boolean => m === 'long' || m === 'compat32' || m === 'compat16';
/** Width of a mode's code. */
const widthOf = (m: CaseMode): 16 | 32 | 64 =>
  m === 'long' ? 64 : m === 'pm32' || m === 'compat32' ? 32 : 16;
/** Paging of a case. */
export const pagingOf = (c: Case): CasePaging => c.paging ?? (isLong(c.mode) ? '4' : 'none');
/** Privilege a case runs at. */
export const cplOf = (c: Case): 0 | 3 => (c.mode === 'v86' ? 3 : (c.cpl ?? 0));
/** What is added to linear addresses so that the case's code may use them. */
const aliasOf = (c: Case): number => (cplOf(c) === 3 && pagingOf(c) !== 'none' ? USER : 0);

const CR4_OF: Readonly<Record<CasePaging, number>> = { none: 0, '32': 0, pae: 0x20, '4': 0x20, '5': 0x1020 };
const CR3_OF: Readonly<Record<CasePaging, number>> = {
  none: 0,
  '32': TABLE.pd32,
  pae: TABLE.pdptPae,
  '4': TABLE.pml4,
  '5': TABLE.pml5,
};
const selectors = (c: Case): readonly [cs: number, ss: number, ds: number] => {
  const user = cplOf(c) === 3;
  switch (c.mode) {
    case 'real':
    case 'v86':
      return [AT.code16 >>> 4, AT.data16 >>> 4, 0];
    case 'pm16':
    case 'compat16':
      return user ? [SEL.code16u, SEL.data16u, SEL.data16u] : [SEL.code16, SEL.data16, SEL.data16];
    case 'pm32':
    case 'compat32':
      return user ? [SEL.code3, SEL.data3, SEL.data3] : [SEL.code0, SEL.data0, SEL.data0];
    case 'long':
      return user ? [SEL.long3, SEL.data3, SEL.data3] : [SEL.long0, SEL.data0, SEL.data0];
  }
};

/** What lets users reach 16-bit segments under paging: their alias, or pages of low memory for users. */
function reach(c: Case): readonly (readonly [address: number, value: number])[] {
  const paging = pagingOf(c);
  if (cplOf(c) === 0 || paging === 'none' || widthOf(c.mode) !== 16) return [];
  if (c.mode !== 'v86')
    return [SEL.code16u, SEL.data16u].map((s, n) => [
      AT.gdt + (s & ~7) + 4,
      descriptor(n ? 0xf3 : 0xfb, 0xffff, 0, (n ? AT.data16 : AT.code16) + USER)[1],
    ]);
  if (paging === 'pae') return [[TABLE.pd, 0xe7]];
  return [AT.code16, AT.stack0 - 0x1000, AT.data].map((a) => [TABLE.pt32 + 4 * (a >>> 12), a | 0x67]);
}

function encode(c: Case, address: number): Uint8Array {
  const poke = [...reach(c), ...(c.poke ?? [])];
  const msr = c.msr ?? [];
  const out = new Uint8Array(CASE.lists + poke.length * 8 + msr.length * 12);
  const dv = new DataView(out.buffer);
  const put = (at: number, v: number): void => dv.setUint32(at, v >>> 0, true);
  const put64 = (at: number, v: number | bigint): void =>
    dv.setBigUint64(at, BigInt.asUintN(64, BigInt(v)), true);
  const paging = pagingOf(c);
  const [cs, ss, ds] = selectors(c);
  const user = cplOf(c) === 3;
  const width = widthOf(c.mode);
  put(CASE.size, out.length);
  put(CASE.env, isLong(c.mode) ? ENV.long : c.mode === 'real' ? ENV.real : ENV.protected);
  const base = c.mode === 'real' ? 0x20 : 0x21;
  put(CASE.cr0, ((base | (paging === 'none' ? 0 : 0x8000_0000)) & ~(c.cr0Clear ?? 0)) | (c.cr0 ?? 0));
  put(CASE.cr3, CR3_OF[paging] | (c.cr3 ?? 0));
  put(CASE.cr4, CR4_OF[paging] | (c.cr4 ?? 0));
  put(CASE.efer, (isLong(c.mode) ? 0x100 : 0) | (c.efer ?? 0));
  const alias = aliasOf(c);
  put64(CASE.rip, BigInt(address) + BigInt(width === 16 ? 0 : alias) + BigInt(c.ip ?? 0));
  put(CASE.cs, c.cs ?? cs);
  put(CASE.rflags, (c.flags ?? 0) | 2 | (c.mode === 'v86' ? 0x2_0000 : 0));
  put64(CASE.rsp, c.sp ?? (width === 16 ? AT.stack0 - AT.data16 : user ? AT.stack3 + alias : AT.stack0));
  put(CASE.ss, c.ss ?? ss);
  put(CASE.ds, c.ds ?? ds);
  for (const [n, r] of GPRS.entries()) put64(CASE.gprs + 8 * n, c.regs?.[r] ?? 0);
  put(CASE.events, c.events ?? 0);
  put(CASE.pokes, poke.length);
  put(CASE.msrs, msr.length);
  for (const [n, w] of (c.watch ?? []).entries()) put(CASE.watch + 4 * n, w);
  let at: number = CASE.lists;
  for (const [a, v] of poke) {
    put(at, a);
    put(at + 4, v);
    at += 8;
  }
  for (const [index, v] of msr) {
    put(at, index);
    put64(at + 4, v);
    at += 12;
  }
  return out;
}

/** An image, and where its code's labels are. */
export interface Image {
  readonly bytes: Uint8Array;
  readonly symbols: Readonly<Record<string, bigint>>;
}

/** Assembles an image. */
export function bareImage(codes: Codes, cases: readonly Case[]): Image {
  const prefixed = (width: 16 | 32 | 64): Record<string, string> =>
    Object.fromEntries(Object.entries(codes[width] ?? {}).map(([n, t]) => [`c${width}_${n}`, t]));
  const half = assemble(program16(prefixed(16)), { origin: 0, bits: 16 });
  const main = assemble(program(half, prefixed(32), prefixed(64)), { origin: AT.image, bits: 32 });
  if (AT.image + main.bytes.length > AT.tables) throw new Error('the program is too long');
  const list = cases.map((c) => {
    const width = widthOf(c.mode);
    const address = (width === 16 ? half : main).symbols[`c${width}_${c.code}`];
    if (address === undefined) throw new Error(`no ${width}-bit code ${c.code}`);
    return encode(c, Number(address));
  });
  const length = list.reduce((n, c) => n + c.length, 4);
  if (AT.cases + length > AT.page) throw new Error(`too many cases: ${length} bytes`);
  const bytes = new Uint8Array(AT.cases - AT.image + length);
  bytes.set(main.bytes);
  bytes.set(pageTables(), AT.tables - AT.image);
  let at = AT.cases - AT.image;
  for (const c of list) {
    bytes.set(c, at);
    at += c.length;
  }
  return { bytes, symbols: main.symbols };
}

/** Records of a run, by case: as many as it had exceptions. */
export function recordsByCase(results: Uint8Array, count: number): readonly (readonly Uint32Array[])[] {
  const out: Uint32Array[][] = Array.from({ length: count }, () => []);
  const dv = new DataView(results.buffer, results.byteOffset, results.byteLength);
  for (let at = 0; at + RECORD <= results.length; at += RECORD) {
    const words = Uint32Array.from({ length: RECORD / 4 }, (_, k) => dv.getUint32(at + 4 * k, true));
    const index = (words[0] ?? 0) >>> 8;
    words[0] = (words[0] ?? 0) & 0xff;
    out[index]?.push(words);
  }
  return out;
}
