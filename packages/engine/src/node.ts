/** What a {@link Builder} records: pure expressions and the statements that use them. */
import type { Expr, Size, Slot, Ty } from './ir.ts';

/** A constant; `hi` is meaningful for 64 bits only. */
export interface ConstNode extends Expr {
  readonly kind: 'const';
  readonly lo: number;
  readonly hi: number;
}
/** A wasm instruction applied to its operands. */
export interface OpNode extends Expr {
  readonly kind: 'op';
  readonly op: number;
  readonly args: readonly Node[];
}
/** A value bound by a statement. */
export interface LetNode extends Expr {
  readonly kind: 'let';
  readonly id: number;
}
/** `size` bytes at byte `at` of a register. */
export interface ElemNode extends Expr {
  readonly kind: 'elem';
  readonly file: string;
  readonly slot: Slot;
  readonly at: number;
  readonly size: Size;
}
/** A state variable. */
export interface StateNode extends Expr {
  readonly kind: 'state';
  readonly name: string;
}
/** A load from the predecoded record. */
export interface FieldNode extends Expr {
  readonly kind: 'field';
  readonly at: number;
  readonly op: number;
}
/** Address of this instruction or of the next. */
export interface PcNode extends Expr {
  readonly kind: 'pc';
  readonly next: boolean;
}
/** High half of a 128-bit product. */
export interface MulhNode extends Expr {
  readonly kind: 'mulh';
  readonly signed: boolean;
  readonly a: Node;
  readonly b: Node;
}
/** Any expression. */
export type Node = ConstNode | OpNode | LetNode | ElemNode | StateNode | FieldNode | PcNode | MulhNode;

/** A register slot that is read from record byte `at`. */
export interface FieldSlot {
  readonly at: number;
}

/** What is fixed about one memory access when its handler is emitted. */
export interface AccessSite {
  /** Bytes of one element, and of the whole access. */
  readonly size: Size;
  readonly total: number;
  readonly signed: boolean;
  /** Context index, or undefined for the current one. */
  readonly ctx: number | undefined;
  /** Alignment demanded in bytes, 1 = none. */
  readonly align: number;
  readonly cls: number;
  readonly ordinal: number;
}

/** A statement. */
export type Statement =
  | { readonly kind: 'let'; readonly id: number; readonly e: Node }
  | {
      readonly kind: 'setElem';
      readonly file: string;
      readonly slot: Slot;
      readonly at: number;
      readonly size: Size;
      readonly v: Node;
    }
  | { readonly kind: 'put'; readonly name: string; readonly v: Node }
  | { readonly kind: 'load'; readonly site: AccessSite; readonly addr: Node; readonly ids: readonly number[] }
  | {
      readonly kind: 'store';
      readonly site: AccessSite;
      readonly addr: Node;
      readonly values: readonly Node[];
    }
  | { readonly kind: 'rmwLoad'; readonly site: AccessSite; readonly addr: Node; readonly id: number }
  | { readonly kind: 'rmwStore'; readonly site: AccessSite; readonly v: Node }
  | { readonly kind: 'jump'; readonly offset: JumpOffset; readonly cond: Node | undefined }
  | { readonly kind: 'jumpTo'; readonly addr: Node }
  | {
      readonly kind: 'when';
      readonly c: Node;
      readonly yes: readonly Statement[];
      readonly no: readonly Statement[];
    }
  | { readonly kind: 'slow'; readonly op: number; readonly args: readonly Node[] }
  | { readonly kind: 'guard'; readonly n: number };

/** Displacement of a jump in both widths. */
export interface JumpOffset {
  readonly low: Node;
  readonly full: Node;
}

/** What a semantic function said. */
export interface Program {
  readonly statements: readonly Statement[];
  /** Types of the bound values, by id. */
  readonly lets: readonly Ty[];
}

/** The recorded form of an expression. */
export function nodeOf(e: Expr): Node {
  return e as Node;
}
