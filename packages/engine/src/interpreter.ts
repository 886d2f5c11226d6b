/**
 * The interpreter's module. Every handler also exists as a function of its own (`outlined.ts`), complete with slow
 * path, made when it is first needed. The fast loop has the everyday handlers inline with their fast path only and calls the function for all else; the
 * counted loop calls functions for everything. Both are `loop.ts`.
 *
 * Why not all inline: V8 gives huge functions a register allocator that keeps nothing in registers across blocks
 * (measured on 2,344 A64 handlers: 465 instead of 601 MIPS, and seconds until optimised code is there).
 */
import { record } from './builder.ts';
import { layoutBlock } from './cpu-block.ts';
import { Fn } from './emit-parts.ts';
import { recordFields } from './fields.ts';
import type { HandlerPair, Isa } from './isa.ts';
import { FIRST_HANDLER, IMPORTS, INTERNAL, signature } from './layout.ts';
import { Loop } from './loop.ts';
import type { Node, Program, Statement } from './node.ts';
import { outline } from './outlined.ts';
import { type Definition, encodeModule } from './wasm/module.ts';

/** Nodes and statements that go inline. About as many keep the fast loop below V8's limit for good registers. */
const INLINE_COST = 11_500;

/** The interpreter's module, and the meaning of the handlers that had to be looked at for it. */
export interface Interpreter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** By handler; absent for cold ones. */
  readonly programs: readonly (Program | undefined)[];
}

/**
 * Emits the module. Its exports `fast` and `counted`, both `(block, context, rec, end)`, start at the pc in the block
 * if `rec` is 0, else at that record of the page named in the block; `end` is the budget in record bytes. They return
 * why they left. Its `table` holds the handlers' functions by record number; at first every entry is the import
 * `complete`, which puts the function there (see {@link emitHandlers}) and calls it.
 * @throws SemanticsError for a handler, not a cold one, that breaks the builder's rules.
 */
export function emitInterpreter(isa: Isa): Interpreter {
  const layout = layoutBlock(isa);
  const fields = recordFields(isa);
  const programs = isa.handlers.map((h) => (h.cold ? undefined : record(isa, h.name, h.sem, fields)));
  const pairs = choosePairs(isa, programs);
  const inline = chooseInline(isa, programs, pairs);
  const loops = (['fast', 'counted'] as const).map((variant): Definition => {
    const l = new Loop(isa, layout, variant);
    if (variant === 'fast') l.emit(inline, programs, pairs);
    else l.emit([], programs);
    return { signature: signature(4), body: l.w, export: variant };
  });
  const table = new Array<number>(FIRST_HANDLER + programs.length + (isa.pairs?.length ?? 0)).fill(
    Fn.complete,
  );
  const bytes = encodeModule({ imports: IMPORTS, functions: [...INTERNAL, ...loops], table });
  return { bytes, programs };
}

/**
 * Emits a module whose exports are the functions of some handlers, by their numbers; `known` is the meaning of those that
 * have been looked at.
 */
export function emitHandlers(
  isa: Isa,
  handlers: readonly number[],
  known: readonly (Program | undefined)[] = [],
): Uint8Array<ArrayBuffer> {
  const layout = layoutBlock(isa);
  const fields = recordFields(isa);
  const functions = handlers.map((n): Definition => {
    const h = isa.handlers[n];
    if (!h) throw new RangeError(`${isa.name} has no handler ${n}`);
    const program = known[n] ?? record(isa, h.name, h.sem, fields);
    return { signature: signature(3), body: outline(isa, layout, program), export: `${n}` };
  });
  return encodeModule({ imports: IMPORTS, functions: [...INTERNAL, ...functions] });
}

/** Numbers of the pairs that the fast loop can have: both handlers are there, and the first may go on behind itself. */
function choosePairs(isa: Isa, programs: readonly (Program | undefined)[]): number[] {
  const able = ([first, second]: HandlerPair): boolean =>
    programs[first] !== undefined && programs[second] !== undefined && !isa.handlers[first]?.ends;
  return (isa.pairs ?? []).flatMap((pair, n) => (able(pair) ? [n] : []));
}

/** Handler indices of the fast loop: by weight, then in order, as long as there is room beside the pairs. */
export function chooseInline(
  isa: Isa,
  programs: readonly (Program | undefined)[],
  pairs: readonly number[] = [],
): number[] {
  const order = isa.handlers
    .map((h, i) => ({ i, weight: h.weight ?? 0, cold: h.cold ?? false }))
    .filter((h) => !h.cold)
    .sort((a, b) => b.weight - a.weight || a.i - b.i);
  const chosen: number[] = [];
  const cost = (i: number): number => 4 + costOf(programs[i]?.statements ?? []);
  let room = INLINE_COST;
  for (const n of pairs) for (const i of isa.pairs?.[n] ?? []) room -= cost(i);
  for (const { i } of order) {
    const p = programs[i];
    if (!p) continue;
    room -= cost(i);
    if (room < 0) break;
    chosen.push(i);
  }
  return chosen.sort((a, b) => a - b);
}

function costOf(list: readonly Statement[]): number {
  let n = 0;
  for (const s of list) {
    n += 1;
    switch (s.kind) {
      case 'let':
        n += size(s.e);
        break;
      case 'setElem':
      case 'put':
        n += 2 + size(s.v);
        break;
      case 'load':
      case 'rmwLoad':
        n += 16 + size(s.addr);
        break;
      case 'store':
        n += 16 + size(s.addr) + s.values.reduce((m, v) => m + size(v), 0);
        break;
      case 'rmwStore':
        n += 2 + size(s.v);
        break;
      case 'jump':
        n += 12 + (s.cond ? size(s.cond) : 0);
        break;
      case 'jumpTo':
        n += 4 + size(s.addr);
        break;
      case 'when':
        n += size(s.c) + costOf(s.yes) + costOf(s.no);
        break;
      case 'slow':
        n += 4 + s.args.reduce((m, v) => m + size(v) + 2, 0);
        break;
      case 'guard':
        n += 4;
        break;
    }
  }
  return n;
}

function size(n: Node): number {
  switch (n.kind) {
    case 'op':
      return n.args.reduce((m, a) => m + size(a), 1);
    case 'elem':
      return 4;
    case 'mulh':
      return 2 + size(n.a) + size(n.b);
    case 'pc':
      return 5;
    default:
      return 1;
  }
}
