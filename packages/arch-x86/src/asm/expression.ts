/** Constant expressions: their tree, and their value where symbols have one. */

/** An expression as it was written. Registers occur in memory operands only. */
export type Expression =
  | { readonly kind: 'number'; readonly value: bigint }
  /** `.` is the statement's address; numeric labels come as `1b`, `1f`. */
  | { readonly kind: 'symbol'; readonly name: string; readonly position: number }
  | { readonly kind: 'register'; readonly name: string; readonly position: number }
  | { readonly kind: 'unary'; readonly operator: '-' | '~'; readonly operand: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
      readonly position: number;
    };

/** A number, and whether it is (or came from) the address of a label. */
export interface Value {
  readonly value: bigint;
  readonly label: boolean;
}

/** What expressions refer to. */
export interface Scope {
  /** Value of a symbol; `undefined` if it has none (yet). */
  lookup(name: string): Value | undefined;
  /** Reports why an expression has no value, at an offset in the statement. */
  fail(position: number, message: string): void;
}

/** Binary operators by precedence, weakest first (those of C; GNU as puts | & ^ above + -, so use parentheses). */
export const LEVELS: readonly (readonly string[])[] = [
  ['|'],
  ['^'],
  ['&'],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];

/** The value of an expression, or `undefined` after {@link Scope.fail}. */
export function evaluate(e: Expression, scope: Scope): Value | undefined {
  switch (e.kind) {
    case 'number':
      return { value: e.value, label: false };
    case 'symbol':
      return scope.lookup(e.name) ?? refuse(scope, e.position, `"${e.name}" is not defined`);
    case 'register':
      return refuse(scope, e.position, `a register (${e.name}) cannot be part of a value`);
    case 'unary': {
      const v = evaluate(e.operand, scope);
      return v && { value: e.operator === '-' ? -v.value : ~v.value, label: v.label };
    }
    case 'binary': {
      const left = evaluate(e.left, scope);
      const right = evaluate(e.right, scope);
      if (!left || !right) return undefined;
      const value = apply(e.operator, left.value, right.value);
      if (value === undefined) return refuse(scope, e.position, 'division by zero');
      // the distance between two labels is a number
      const distance = e.operator === '-' && left.label && right.label;
      return { value, label: !distance && (left.label || right.label) };
    }
    default:
      return e satisfies never;
  }
}

function refuse(scope: Scope, position: number, message: string): undefined {
  scope.fail(position, message);
  return undefined;
}

function apply(operator: string, a: bigint, b: bigint): bigint | undefined {
  switch (operator) {
    case '|':
      return a | b;
    case '^':
      return a ^ b;
    case '&':
      return a & b;
    case '<<':
      return b >= 0n && b < 128n ? a << b : 0n;
    case '>>':
      return b >= 0n ? a >> b : 0n;
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return b === 0n ? undefined : a / b;
    default:
      return b === 0n ? undefined : a % b;
  }
}

/** A sum of registers, each times a factor, and of everything else. */
export interface Sum {
  readonly registers: readonly {
    readonly name: string;
    readonly position: number;
    readonly factor: bigint;
    /** It was written with a factor. */
    readonly scaled: boolean;
  }[];
  readonly rest: readonly { readonly term: Expression; readonly negative: boolean }[];
}

/** Takes a memory operand's expression apart; `undefined` where a register is used in another way than in a sum. */
export function sumOf(e: Expression, negative = false): Sum | undefined {
  if (e.kind === 'register') {
    if (negative) return undefined;
    return {
      registers: [{ name: e.name, position: e.position, factor: 1n, scaled: false }],
      rest: [],
    };
  }
  if (e.kind === 'binary' && (e.operator === '+' || e.operator === '-')) {
    const left = sumOf(e.left, negative);
    const right = sumOf(e.right, negative !== (e.operator === '-'));
    if (!left || !right) return undefined;
    return { registers: [...left.registers, ...right.registers], rest: [...left.rest, ...right.rest] };
  }
  if (e.kind === 'binary' && e.operator === '*') {
    const [register, factor] = e.left.kind === 'register' ? [e.left, e.right] : [e.right, e.left];
    if (register.kind === 'register') {
      if (factor.kind !== 'number' || negative) return undefined;
      return {
        registers: [{ name: register.name, position: register.position, factor: factor.value, scaled: true }],
        rest: [],
      };
    }
  }
  return hasRegister(e) ? undefined : { registers: [], rest: [{ term: e, negative }] };
}

/** Whether a register occurs in it. */
function hasRegister(e: Expression): boolean {
  if (e.kind === 'register') return true;
  if (e.kind === 'unary') return hasRegister(e.operand);
  return e.kind === 'binary' && (hasRegister(e.left) || hasRegister(e.right));
}
