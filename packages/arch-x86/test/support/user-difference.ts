/** What differs between two results of a case: nothing, where the processor's is defined. */

import { FL } from '../../src/isa/flags.ts';
import { Seg } from '../../src/isa/layout.ts';
import { segmentBase, type UserCase, type UserFault, type UserResult, WINDOW } from './user-world.ts';

const NAMES = [
  ...'ax cx dx bx sp bp si di'.split(' ').map((n) => `r${n}`),
  ...Array.from({ length: 8 }, (_, i) => `r${i + 8}`),
];

/**
 * Where processors and manuals part, or nobody says anything: what a fault leaves behind of an instruction that was on its
 * way. Which parts of the result are not compared then.
 */
function unsaid(
  c: UserCase,
  fault: UserFault | undefined,
): ReadonlySet<'flags' | 'page' | 'registers' | 'window'> {
  const { code } = c;
  if (!fault) return new Set();
  // Intel's REP CMPS and SCAS bring back the flags of their start (SDM volume 2, REP)
  if (/^(Cmps|Scas)[bwdq]_/.test(code) && repeats(c)) return new Set(['flags']);
  // one push or pop after the other, or all at once
  if (/^Pusha/.test(code)) return new Set(['page', 'window']);
  if (/^Popa/.test(code)) return new Set(['page', 'registers']);
  if (/^Enter/.test(code)) return new Set(['window']);
  // in one piece, or in two
  if (/^Maskmovdqu/.test(code)) return new Set(['page']);
  // the return address may be there before the target is looked at
  if (/^Call/.test(code) && fault.vector === 13) return new Set(['window']);
  return new Set();
}

/** Offsets in the window of a segment register's upper half: Intel's PUSH of 32 bits does not write it (SDM volume 2). */
function unwritten(c: UserCase, want: UserResult): readonly number[] {
  if (!/^Pushd_[CDEFGS]S$/.test(c.code)) return [];
  const stack = segmentBase(c.env, Seg.SS) - BigInt(WINDOW);
  const top = want.state.gpr[4] ?? 0n;
  const at = Number(stack + (c.env.segments[Seg.SS]?.big ? top : BigInt.asUintN(16, top)));
  return [at + 2, at + 3];
}

/** The legacy prefixes of a case's instruction. */
function prefixes(c: UserCase): readonly number[] {
  const end = c.bytes.findIndex((b) => !LEGACY.has(b));
  return [...c.bytes.subarray(0, end)];
}
const LEGACY: ReadonlySet<number> = new Set([
  0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3,
]);
const repeats = (c: UserCase): boolean => prefixes(c).some((b) => b === 0xf2 || b === 0xf3);

/** A repeated string instruction of 64-bit code with 32-bit addresses that did nothing, or not all. */
function unmoved(c: UserCase, fault: UserFault | undefined): boolean {
  const string = /^(Movs|Cmps|Stos|Lods|Scas)[bwdq]_/.test(c.code) && !c.code.includes('xmm');
  if (!string || c.env.bits !== 64 || !repeats(c) || !prefixes(c).includes(0x67)) return false;
  return fault !== undefined || BigInt.asUintN(32, c.start.gpr[1] ?? 0n) === 0n;
}

/** Differences, in words. */
export function difference(c: UserCase, want: UserResult, got: UserResult): string[] {
  const out: string[] = [];
  const note = (what: string, a: string, b: string): void => {
    if (a !== b) out.push(`${what}: ${a} expected, ${b} found`);
  };
  const hex = (v: bigint | number | undefined): string => (v ?? 0).toString(16);
  const skip = unsaid(c, want.fault);
  const end = (f: UserFault | undefined): string =>
    ending(f && skip.has('page') ? { ...f, error: 0, address: 0n } : f);
  note('end', end(want.fault), end(got.fault));
  note('rip', hex(want.state.rip), hex(got.state.rip));
  const defined = skip.has('flags') ? FL.DF : ~c.undefinedFlags;
  note('flags', hex(want.state.flags & defined), hex(got.state.flags & defined));
  // Intel's 32-bit counter and pointers lose their upper halves before anything is done, AMD's with the first element
  const compared = unmoved(c, want.fault) ? 0xffff_ffffn : (1n << 64n) - 1n;
  for (const [n, v] of want.state.gpr.entries())
    if (!skip.has('registers'))
      note(NAMES[n] ?? '', hex(v & compared), hex((got.state.gpr[n] ?? 0n) & compared));
  if (want.state.xmm && got.state.xmm) {
    const part = (v: Uint8Array, n: number): string =>
      Buffer.from(v.subarray(16 * n, 16 * n + 16)).toString('hex');
    for (let n = 0; n < 16; n++) note(`xmm${n}`, part(want.state.xmm, n), part(got.state.xmm, n));
  }
  const bytes = (m: ReadonlyMap<number, number>): string =>
    [...m].map(([i, b]) => `${hex(i)}=${hex(b)}`).join(' ');
  for (const at of unwritten(c, want)) {
    want.window.delete(at);
    got.window.delete(at);
  }
  if (!skip.has('window')) note('window', bytes(want.window), bytes(got.window));
  return out;
}

function ending(f: UserFault | undefined): string {
  if (!f) return 'done';
  return f.vector === 14
    ? `#PF(${f.error.toString(16)}) ${f.address.toString(16)}`
    : `exception ${f.vector}(${f.error})`;
}

/** A case in words: form, bytes and start. */
export function describeCase(c: UserCase): string {
  const code = Buffer.from(c.bytes).toString('hex');
  const registers = [...c.start.gpr]
    .map((v, n) => `${NAMES[n]}=${v.toString(16)}`)
    .slice(0, c.env.bits === 64 ? 16 : 8);
  const pokes = c.pokes.map((p) => `${p.at.toString(16)}:${Buffer.from(p.bytes).toString('hex')}`);
  const at = `${(c.start.rip + segmentBase(c.env, Seg.CS)).toString(16)}`;
  return `${c.form} [${c.env.name}] ${code} at ${at}, flags=${c.start.flags.toString(16)} ${registers.join(' ')} ${pokes.join(' ')}`;
}
