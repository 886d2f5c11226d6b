/**
 * How often handlers run in what compilers make of C: the engine puts the heaviest into its fast loop, and what is not
 * listed is made when it first runs. Counted under QEMU's user emulation over gzip, xz, perl, sqlite, bash, gcc's cc1 and
 * the speed guest (Debian 12's builds, -O2), each with the same share: executions in a million instructions. What
 * kernels do beside (per-CPU variables, frame pointers, CLI) is estimated.
 */
import type { Row } from './row.ts';

const COUNTED = `
  mov.r8r8 54306, jne.i8.long 51794, mov.r8m8.b 49338, je.i8.long 48134, mov.r4r4 39648, add.r8i8 36612,
  push.r8.long 35655, pop.r8.long 35169, mov.r4m4.b 25043, mov.m8r8.b 22656, movzx.r4m1.b 19458,
  cmp.r8r8 17349, cmp.r4i4 17347, cmp.r4r4 16624, and.r4i4 16463, xor.r4r4 15992, add.r8r8 15600,
  jmp.i8.long 14564, test.r8r8 14505, ret.q.w8.long 14451, call.i8.long 12539, lea.r8m8.b 12504,
  lea.r8m8.x 12075, mov.m4r4.b 11945, jae.i8.long 10583, sub.r4i4 10516, test.r4r4 10126, sub.r8i8 10083,
  jbe.i8.long 9896, movsx.r8r4 9746, add.r4r4 9176, jb.i8.long 8556, lea.r4m8.b 8541, mov.r4i4 7976,
  movzx.r4m2.x 7966, movzx.r4m2.b 7837, ja.i8.long 7612, cmp.m1r1.x 7462, sub.r4r4 6622, cmp.r8i8 6605,
  test.r1r1 6315, mov.r8m8.rip 6294, shr.r4i1 5789, cmp.m1i1.b 5784, shr.r8i1 5681, mov.r8m8.x 5616,
  mov.m1i1.b 5593, movzx.r4r1 5504, mov.r4m4.x 5383, lea.r8m8.rip 5239, mov.r4m4.rip 5176, cmp.r1i1 5096,
  test.r1i1 4967, add.r4i4 4743, mov.m2r2.b 4667, xor.r8r8 4449, jmp.indirect.m8.rip.long 4432,
  sub.r8r8 4204, shl.r8i1 4139, movzx.r4m1.x 4115, jle.i8.long 3983, lea.r4m8.x 3204, mov.m1r1.b 3180,
  mov.m8r8.x 2949, movsx.r8m4.x 2852, mov.m4r4.x 2826, shl.r4i1 2804, jmp.indirect.r8.long 2794,
  mov.r8m8.seg_b 2784, mov.m4r4.rip 2595, cmp.r8m8.b 2521, mov.m4i4.b 2288, xor.r4m4.x 2274, cmp.m1r1.b 2272,
  movsx.r8m4.b 2269, movzx.r4r2 2265, nop 2185, cmp.r2i2 2147, test.m1i1.b 2105, jg.i8.long 2059,
  test.r4i4 2013, sub.r8m8.seg_b 1979, imul.r4m4.b 1955, test.r2r2 1828, mov.m8i8.b 1798, cmp.r1r1 1765,
  mov.m2r2.x 1660, js.i8.long 1598, and.r4r4 1568, and.r8i8 1568, mov.m8r8.rip 1497, cmp.m8r8.b 1470,
  cmp.m4i4.x 1448, xor.r8m8.x 1424, cmp.m4r4.b 1420, jge.i8.long 1368, sete.r1 1367, add.r8m8.b 1325,
  cmovns.r4r4 1309, call.indirect.m8.b.long 1288, imul.r4r4 1274, jl.i8.long 1202, movsx.r4m1.b 1176,
  mov.r8i8 1107, imul.r8r8 1095, add.m8i8.b 1061, or.r8r8 1049, shr.r4r1 1041, add.r4m4.b 1035,
  jmp.indirect.m8.x.long 1018, rol.r2i1 980, cmp.m8i8.b 935, or.r4r4 903, cmp.m2i2.b 886, cmp.r8m8.rip 873,
  cdqe.w8 826, inc.r8 811, rol.r8i1 783, mul.r8 767, cmove.r4r4 743, mov.m1r1.x 739, cmp.m4i4.rip 702,
  jns.i8.long 683, cmp.m1i1.rip 675, add.m8r8.b 623, shr.1.r4i1 589, setne.r1 575, or.r1r1 571,
  cmovb.r8r8 567, or.r4i4 564, add.m4i4.b 552, and.r4m4.b 530, bswap.r8 508, shr.r2i1 500, cmovbe.r4r4 493,
  cmp.m4r4.rip 484, cmp.r4m4.b 479, not.r8 467, shl.r8r1 458, and.r8r8 448, sar.r8i1 445, shl.r4r1 426,
  or.r1i1 426, cmp.m2r2.b 425, mov.r4m4.seg_b 422, mov.m2r2.rip 421, setae.r1 417, neg.r8 405,
  cmp.m8i8.seg_b 405, leave.q.w8.long 400, cmovb.r4r4 395, call.indirect.r8.long 394, xor.r8m8.b 394,
  sbb.r4r4 386, bsf.r4r4 378, mov.m4r4.seg_b 372, bt.r8r8 372, mov.m8i8.rip 358, and.r2m2.b 351,
  cmp.r4m4.rip 344, shr.r1i1 331, mov.m1i1.x 327, div.r8 322, mov.m4i4.rip 318, dec.r4 317, cmp.m4i4.b 317,
  or.r2m2.rip 305, mov.r8m8.seg_rip 300, sub.r8m8.b 289, not.r4 283, tzcnt.r8r8 280, movsx.r8m4.rip 274,
  and.r1i1 270, sar.1.r4i1 269, sub.r8m8.x 262, cmp.r2r2 255, mov.r1m1.b 248, sub.m8i8.b 242, cmove.r8r8 239,
  shr.r8r1 239, setb.r1 234, add.m2i2.x 232, cmovne.r8r8 221, movzx.r4m1.rip 216, sub.r4m4.b 208,
  jmp.indirect.m8.b.long 200, test.m2i2.b 193, test.m1i1.x 191, call.indirect.m8.x.long 177, and.r8m8.x 170,
  cmp.m1i1.x 169, mov.m1r1.rip 168, and.m4i4.b 164, and.m1i1.b 163, shr.1.r1i1 162, cmovae.r4r4 161,
  mov.m4i4.x 160, add.r8m8.x 150, xor.r1m1.b 146, cmovle.r8r8 146, and.r2i2 145, add.r8m8.seg_b 142,
  mov.r1m1.x 142, sar.1.r8i1 141, and.r8m8.b 139, cmp.m8r8.rip 130, cmovae.r8r8 128, add.r1m1.b 123,
  setbe.r1 122, add.r8m8.rip 121, mov.r4m4.seg_rip 120, or.m4i4.b 116, cmovbe.r8r8 116, add.m4r4.b 115,
  sar.r4r1 114, add.r4m4.rip 113, cmp.m8i8.rip 112, cmovne.r4r4 112, bswap.r4 110, sar.r4i1 110,
  cmova.r4r4 106, shr.1.r8i1 105, sub.m4i4.b 103, add.m4i4.seg_rip 100, inc.r4 100, bsf.r8r8 92,
  cmovl.r4r4 91, or.r4m4.rip 88, xor.r4i4 87, imul.3.r4r4i4 87, push.i8.long 81, sub.r4m4.x 80,
  add.m4r4.rip 80, or.m1i1.b 78, cmovg.r4r4 76, mov.m8i8.x 76, cmp.r2m2.b 74, setg.r1 72, cmovg.r8r8 70,
  cmovs.r4r4 70, shr.1.m4i1.b 69, or.m1r1.rip 68, cmp.r8m8.x 66, movsx.r4r1 66, push.m8.b.long 66, neg.r4 65,
  add.m2i2.b 62, add.r8m8.seg_rip 60, cli 60, mov.m8r8.seg_rip 60, inc.m4.seg_rip 60, dec.m4.seg_rip 60,
  sub.m4i4.seg_rip 60, pushf.q.long 40
`;

const WEIGHTS: ReadonlyMap<string, number> = new Map(
  COUNTED.trim()
    .split(/,\s+/)
    .map((entry) => {
      const [name, count] = entry.split(' ') as [string, string];
      return [name, Number(count)];
    }),
);

/** The heaviest pairs of instructions that follow each other within a block, counted likewise. */
const COUNTED_PAIRS = `
  pop.r8.long pop.r8.long, push.r8.long push.r8.long, cmp.r8r8 jne.i8.long, test.r8r8 je.i8.long,
  push.r8.long mov.r8r8, mov.r8m8.b mov.r8m8.b, pop.r8.long ret.q.w8.long, cmp.r4r4 jae.i8.long,
  cmp.m1r1.x jne.i8.long, mov.r8r8 mov.r8r8, cmp.r4i4 jbe.i8.long, movsx.r8r4 mov.r4r4, mov.r4r4 add.r8r8,
  add.r8r8 cmp.m1r1.x, movzx.r4m2.x cmp.r4r4, and.r4i4 movzx.r4m2.x, sub.r4i4 je.i8.long,
  movzx.r4m1.b add.r8i8, mov.r8r8 push.r8.long, add.r8i8 add.r8i8, mov.r8m8.b add.r8i8, add.r8i8 pop.r8.long,
  test.r1r1 je.i8.long, test.r4r4 je.i8.long, mov.r8m8.b mov.m8r8.b, cmp.r4i4 je.i8.long,
  mov.m8r8.b mov.r8m8.b, mov.r8r8 call.i8.long, test.r4r4 jne.i8.long, mov.r4r4 add.r4r4,
  add.r8i8 mov.m8r8.b, mov.r8m8.b test.r8r8, mov.r8m8.b mov.r8r8, add.r8i8 cmp.r8r8, push.r8.long mov.r4r4,
  push.r8.long sub.r8i8, test.r8r8 jne.i8.long, mov.m1i1.b cmp.r4i4, mov.r4m4.b mov.r4m4.b,
  add.r4r4 mov.m1i1.b, test.r1i1 jne.i8.long, mov.r4r4 push.r8.long, mov.r8r8 sub.r8i8, add.r8i8 xor.r4r4,
  add.r8r8 jmp.indirect.r8.long, movsx.r8m4.x add.r8r8, cmp.m1i1.b jne.i8.long, xor.r8r8 mov.r8r8,
  cmp.r8i8 jne.i8.long, cmp.r4i4 ja.i8.long, mov.m8r8.b cmp.r8r8, mov.r4r4 and.r4i4, test.r1i1 je.i8.long,
  mov.r8r8 shr.r8i1, cmp.r8r8 jb.i8.long, mov.r8m8.b sub.r8m8.seg_b, sub.r8m8.seg_b jne.i8.long,
  mov.r8m8.seg_b mov.m8r8.b, add.r8i8 add.r4r4, add.r4r4 cmp.r8r8, mov.r4m4.b imul.r4m4.b,
  imul.r4m4.b add.r8i8, mov.m8r8.b xor.r4r4, mov.r4r4 mov.r4r4
`;

/** Pairs of handlers by name that the fast loop runs at one dispatch, heaviest first. */
export const PAIRS: readonly (readonly [first: string, second: string])[] = COUNTED_PAIRS.trim()
  .split(/,\s+/)
  .map((pair) => pair.split(' ') as [string, string]);

/** Names of all handlers that have a counted weight. */
export const WEIGHED: readonly string[] = [...WEIGHTS.keys()];

/** Weight of a handler: as counted, or as its row says; undefined: cold. */
export function weightOf(row: Row, name: string): number | undefined {
  return WEIGHTS.get(name) ?? row.weight;
}
