/**
 * The fields that most rows share, read all at once into one object: the decoder's fast way to a row's `Bits`. One
 * object of one shape keeps the rows' closures fast; a row that has any other field, or asks for one that it does not
 * have, gets an object of its own.
 */
import type { Pattern } from './bits.ts';
import type { Form } from './form.ts';

/** Position and width of each common field. */
const COMMON: Readonly<Record<string, readonly [pos: number, width: number]>> = {
  Rd: [0, 5],
  Rt: [0, 5],
  Rn: [5, 5],
  Rm: [16, 5],
  Rs: [16, 5],
  Ra: [10, 5],
  Rt2: [10, 5],
  sf: [31, 1],
  size: [30, 2],
  L: [22, 1],
  opc: [22, 2],
  shift: [22, 2],
  sh: [22, 1],
  N: [22, 1],
  hw: [21, 2],
  immr: [16, 6],
  imms: [10, 6],
  imm5: [16, 5],
  imm6: [10, 6],
  imm7: [15, 7],
  imm9: [12, 9],
  imm12: [10, 12],
  imm16: [5, 16],
  imm19: [5, 19],
  imm26: [0, 26],
  imm3: [10, 3],
  option: [13, 3],
  S: [12, 1],
  cond: [12, 4],
  nzcv: [0, 4],
  immlo: [29, 2],
  immhi: [5, 19],
  o0: [15, 1],
  op: [24, 1],
};

/** The common fields of one word. */
export class CommonFields {
  Rd = 0;
  Rt = 0;
  Rn = 0;
  Rm = 0;
  Rs = 0;
  Ra = 0;
  Rt2 = 0;
  sf = 0;
  size = 0;
  L = 0;
  opc = 0;
  shift = 0;
  sh = 0;
  N = 0;
  hw = 0;
  immr = 0;
  imms = 0;
  imm5 = 0;
  imm6 = 0;
  imm7 = 0;
  imm9 = 0;
  imm12 = 0;
  imm16 = 0;
  imm19 = 0;
  imm26 = 0;
  imm3 = 0;
  option = 0;
  S = 0;
  cond = 0;
  nzcv = 0;
  immlo = 0;
  immhi = 0;
  o0 = 0;
  op = 0;

  /** Reads every field of `w`, as {@link COMMON} places them. */
  load(w: number): void {
    const low = w & 31;
    const middle = (w >>> 10) & 63;
    const high = (w >>> 16) & 63;
    const top = (w >>> 22) & 3;
    this.Rd = low;
    this.Rt = low;
    this.Rn = (w >>> 5) & 31;
    this.Rm = high & 31;
    this.Rs = high & 31;
    this.Ra = middle & 31;
    this.Rt2 = middle & 31;
    this.sf = w >>> 31;
    this.size = w >>> 30;
    this.L = top & 1;
    this.opc = top;
    this.shift = top;
    this.sh = top & 1;
    this.N = top & 1;
    this.hw = (w >>> 21) & 3;
    this.immr = high;
    this.imms = middle;
    this.imm5 = high & 31;
    this.imm6 = middle;
    this.imm7 = (w >>> 15) & 127;
    this.imm9 = (w >>> 12) & 511;
    this.imm12 = (w >>> 10) & 4095;
    this.imm16 = (w >>> 5) & 65535;
    this.imm19 = (w >>> 5) & 0x7ffff;
    this.imm26 = w & 0x3ffffff;
    this.imm3 = middle & 7;
    this.option = (w >>> 13) & 7;
    this.S = (w >>> 12) & 1;
    this.cond = (w >>> 12) & 15;
    this.nzcv = w & 15;
    this.immlo = (w >>> 29) & 3;
    this.immhi = (w >>> 5) & 0x7ffff;
    this.o0 = (w >>> 15) & 1;
    this.op = (w >>> 24) & 1;
  }
}

/** Whether a row's fields can be read from {@link CommonFields}: it has no others and asks for none it has not. */
export function isCommon(form: Form, pattern: Pattern): boolean {
  const placed = pattern.fields.every((f) => {
    const common = COMMON[f.name];
    return common !== undefined && common[0] === f.pos && common[1] === f.width;
  });
  if (!placed) return false;
  let foreign = false;
  const probe = new Proxy<Record<string, number>>(
    {},
    {
      get(_, name): number | undefined {
        if (pattern.fields.some((f) => f.name === name)) return 1;
        foreign = true;
        return undefined;
      },
    },
  );
  form.when?.(probe);
  for (const rule of Object.values(form.derive ?? {})) rule.of(probe);
  form.record(probe);
  return !foreign;
}
