/**
 * The interpreter's module. Every handler exists as a function of its own (`outlined.ts`), complete with slow path.
 * The fast loop has the everyday handlers inline with their fast path only and calls the function for all else; the
 * counted loop calls functions for everything. Both are `loop.ts`.
 *
 * Why not all inline: V8 gives huge functions a register allocator that keeps nothing in registers across blocks
 * (measured on 2,344 A64 handlers: 465 instead of 601 MIPS, and seconds until optimised code is there).
 */
import { record } from './builder.ts';
import { layoutBlock } from './cpu-block.ts';
import { recordFields } from './fields.ts';
import type { Isa } from './isa.ts';
import { FIRST_HANDLER, IMPORTS, INTERNAL, signature } from './layout.ts';
import { Loop } from './loop.ts';
import type { Node, Program, Statement } from './node.ts';
import { outline } from './outlined.ts';
import { type Definition, encodeModule } from './wasm/module.ts';

/** Nodes and statements that go inline. About as many keep the fast loop below V8's limit for good registers. */
const INLINE_COST = 11_500;

/**
 * Emits the module. Its exports `fast` and `counted`, both `(block, context, rec, end)`, start at the pc in the block
 * if `rec` is 0, else at that record of the page named in the block; `end` is the budget in record bytes. They return
 * why they left.
 */
export function emitInterpreter(isa: Isa): Uint8Array<ArrayBuffer> {
  const layout = layoutBlock(isa);
  const fields = recordFields(isa);
  const programs = isa.handlers.map((h) => record(isa, h.name, h.sem, fields));
  const inline = chooseInline(isa, programs);
  const loops = (['fast', 'counted'] as const).map((variant): Definition => {
    const l = new Loop(isa, layout, variant);
    l.emit(variant === 'fast' ? inline : [], programs);
    return { signature: signature(4), body: l.w, export: variant };
  });
  const handlers = programs.map(
    (p): Definition => ({ signature: signature(3), body: outline(isa, layout, p) }),
  );
  const first = IMPORTS.length + INTERNAL.length + loops.length;
  const table: number[] = new Array<number>(FIRST_HANDLER).fill(first);
  for (let i = 0; i < handlers.length; i++) table.push(first + i);
  return encodeModule({ imports: IMPORTS, functions: [...INTERNAL, ...loops, ...handlers], table });
}

/** Handler indices of the fast loop: by weight, then in order, as long as there is room. */
export function chooseInline(isa: Isa, programs: readonly Program[]): number[] {
  const order = isa.handlers
    .map((h, i) => ({ i, weight: h.weight ?? 0, cold: h.cold ?? false }))
    .filter((h) => !h.cold)
    .sort((a, b) => b.weight - a.weight || a.i - b.i);
  const chosen: number[] = [];
  let room = INLINE_COST;
  for (const { i } of order) {
    const p = programs[i];
    if (!p) continue;
    room -= 4 + costOf(p.statements);
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
