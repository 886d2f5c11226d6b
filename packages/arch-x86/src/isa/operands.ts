/** The {@link Operands} of one variant of a row: what its meaning sees while the handler is emitted. */
import type { Builder, Expr, Fields, I32, I64, Slot } from '@faultyard/engine';
import { FORMS, Form, linearIn, linearLong, linearOf, offsetOf } from './address.ts';
import { R, Seg, type SegNumber } from './layout.ts';
import type { Operands, Repeat, Width } from './row.ts';
import { TableError } from './table-error.ts';

/** An operand of a variant. `memory`: the record's one; `implied`: ES:DI beside it. */
export interface VariantOperand {
  readonly kind: 'register' | 'vector' | 'memory' | 'implied' | 'immediate' | 'other';
  readonly size: Width;
}

/** The constants of one handler. */
export interface Variant {
  readonly row: string;
  readonly operands: readonly VariantOperand[];
  readonly width: Width;
  /** Index into FORMS; -1 without a memory operand. */
  readonly form: number;
  readonly repeat: Repeat;
  /** Sizes that the mode gives, where the row has a variant for each. */
  readonly mode: ModeSizes | undefined;
  /** Address size fixed by the encoding, or 0. */
  readonly addressSize: number;
  readonly linearBits: 48 | 57;
}

/** What a decode mode says. */
export interface ModeSizes {
  readonly name: string;
  readonly code: 2 | 4 | 8;
  readonly stack: 2 | 4 | 8;
  readonly flat: boolean;
}
/** The decode modes that meanings can tell apart. */
export const MODES: readonly ModeSizes[] = [
  { name: 'long', code: 8, stack: 8, flat: false },
  { name: 'flat', code: 4, stack: 4, flat: true },
  { name: 'c16s16', code: 2, stack: 2, flat: false },
  { name: 'c16s32', code: 2, stack: 4, flat: false },
  { name: 'c32s16', code: 4, stack: 2, flat: false },
  { name: 'c32s32', code: 4, stack: 4, flat: false },
];

const REGISTERS = ['r0', 'r1', 'r2'] as const;

/** Operands over a builder. */
export class VariantOperands implements Operands {
  readonly b: Builder;
  readonly f: Fields;
  readonly width: Width;
  readonly #v: Variant;

  constructor(b: Builder, f: Fields, v: Variant) {
    this.b = b;
    this.f = f;
    this.width = v.width;
    this.#v = v;
  }
  #wrong(why: string): never {
    throw new TableError(`row "${this.#v.row}": ${why}`);
  }
  #operand(i: number): VariantOperand {
    return this.#v.operands[i] ?? this.#wrong(`no operand ${i}`);
  }
  size(i: number): Width {
    return this.#operand(i).size;
  }
  kind(i: number): 'register' | 'vector' | 'memory' | 'immediate' {
    const { kind } = this.#operand(i);
    if (kind === 'other') this.#wrong(`operand ${i} has no value`);
    return kind === 'implied' ? 'memory' : kind;
  }
  slot(i: number): Slot {
    const { kind } = this.#operand(i);
    const name = REGISTERS[i];
    if ((kind !== 'register' && kind !== 'vector') || !name) this.#wrong(`operand ${i} is no register`);
    return this.f.slot(name);
  }
  #register(i: number): Expr {
    const { b } = this;
    const s = this.slot(i);
    switch (this.size(i)) {
      case 1:
        return b.elem('b', s, 0, 1);
      case 2:
        return b.elem('r', s, 0, 2);
      case 4:
        return b.elem('r', s, 0, 4);
      case 8:
        return b.get(s);
    }
  }
  #setRegister(i: number, v: Expr): void {
    const { b } = this;
    const s = this.slot(i);
    const size = this.size(i);
    if (size === 8) b.set(s, v as I64);
    else if (size === 4) b.set(s, b.extU(v as I32));
    else if (size === 2) b.setElem('r', s, 0, 2, v);
    else b.setElem('b', s, 0, 1, v);
  }
  /** An immediate beside a memory operand has 32 bits in the record. */
  #immediate(i: number): Expr {
    const second = this.#v.operands.findIndex((o) => o.kind === 'immediate') !== i;
    if (second) return this.f.i32('disp');
    if (this.size(i) < 8) return this.f.i32('imm');
    return this.#v.form === Form.None ? this.f.i64('imm') : this.b.extS(this.f.i32('imm'));
  }
  #address(i: number, write: boolean): I64 {
    const bytes = this.size(i);
    if (this.#operand(i).kind !== 'implied') return this.linear(bytes, write);
    return this.linearAt(Seg.ES, this.#masked(R.RDI), bytes, write);
  }
  #masked(slot: number): I64 {
    const { b } = this;
    if (this.addressSize === 8) return b.get(slot);
    return b.extU(this.addressSize === 4 ? b.elem('r', slot, 0, 4) : b.elem('r', slot, 0, 2));
  }
  read(i: number): Expr {
    switch (this.#operand(i).kind) {
      case 'register':
        return this.#register(i);
      case 'immediate':
        return this.#immediate(i);
      case 'memory':
      case 'implied':
        return this.b.load(this.size(i) as 8, this.#address(i, false));
      default:
        return this.#wrong(`operand ${i} has no value of its own`);
    }
  }
  write(i: number, v: Expr, cls: number = 0): void {
    const { kind } = this.#operand(i);
    if (kind === 'register') this.#setRegister(i, v);
    else if (kind === 'memory' || kind === 'implied')
      this.b.store(this.size(i), this.#address(i, true), v, { cls });
    else this.#wrong(`operand ${i} cannot be written`);
  }
  modify(i: number, f: (old: Expr) => Expr): Expr {
    const { b } = this;
    if (this.#operand(i).kind === 'register') {
      const old = b.let(this.#register(i));
      this.#setRegister(i, f(old));
      return old;
    }
    const size = this.size(i);
    const at = this.#address(i, true);
    return size === 8 ? b.rmw(8, at, f as (old: I64) => I64) : b.rmw(size, at, f as (old: I32) => I32);
  }
  offset(): I64 {
    const form = FORMS[this.#v.form] ?? this.#wrong('no memory operand');
    return offsetOf(this.b, this.f, form);
  }
  linear(bytes: number, write: boolean): I64 {
    return this.linearAt('operand', this.offset(), bytes, write);
  }
  linearAt(segment: SegNumber | 'operand', offset: I64, bytes: number, write: boolean): I64 {
    const { b, f } = this;
    const form = FORMS[this.#v.form];
    if (segment === 'operand') {
      return linearOf(b, f, form ?? this.#wrong('no memory operand'), offset, bytes, write);
    }
    if (form ? form.code === 'long' : this.codeSize === 8) return linearLong(b, segment, offset);
    return segment <= Seg.DS && this.flat ? offset : linearIn(b, segment, offset, bytes, write);
  }
  get addressSize(): 2 | 4 | 8 {
    const { form, addressSize } = this.#v;
    return FORMS[form]?.size ?? ((addressSize || this.codeSize) as 2 | 4 | 8);
  }
  #mode(): ModeSizes {
    const { mode, form } = this.#v;
    if (mode) return mode;
    if (FORMS[form]?.code === 'long') return MODES[0] as ModeSizes;
    return this.#wrong('the meaning looks at sizes that the mode gives: set `modes`');
  }
  get linearBits(): 48 | 57 {
    return this.#v.linearBits;
  }
  get stackSize(): 2 | 4 | 8 {
    return this.#mode().stack;
  }
  get codeSize(): 2 | 4 | 8 {
    return this.#mode().code;
  }
  get flat(): boolean {
    const { mode, form } = this.#v;
    return mode || form === Form.None ? this.#mode().flat : form === Form.Flat;
  }
}
