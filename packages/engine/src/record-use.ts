/** What a handler does with its record. */
import type { Slot } from './ir.ts';
import type { FieldSlot, Node, Program, Statement } from './node.ts';

/** Most bytes that one field has. */
const WIDEST = 8;

/** Whether a handler may look at bytes `from` to `to - 1` of its record; fields that begin up to 7 bytes before count. */
export function mayRead(p: Program, from: number, to: number): boolean {
  const touches = (at: number, bytes: number): boolean => at < to && at + bytes > from;
  const slot = (s: Slot): boolean => typeof s !== 'number' && touches((s as unknown as FieldSlot).at, 1);
  const node = (n: Node | undefined): boolean => {
    switch (n?.kind) {
      case 'op':
        return n.args.some(node);
      case 'elem':
        return slot(n.slot);
      case 'field':
        return touches(n.at, WIDEST);
      case 'mulh':
        return node(n.a) || node(n.b);
      default:
        return false;
    }
  };
  const statement = (s: Statement): boolean => {
    switch (s.kind) {
      case 'let':
        return node(s.e);
      case 'setElem':
        return slot(s.slot) || node(s.v);
      case 'put':
      case 'rmwStore':
        return node(s.v);
      case 'load':
      case 'rmwLoad':
      case 'jumpTo':
        return node(s.addr);
      case 'store':
        return node(s.addr) || s.values.some(node);
      case 'jump':
        return node(s.offset.low) || node(s.offset.full) || node(s.cond);
      case 'when':
        return node(s.c) || s.yes.some(statement) || s.no.some(statement);
      case 'slow':
        return s.args.some(node);
      case 'guard':
        return false;
    }
  };
  return p.statements.some(statement);
}

/** How many jumps by distance a handler contains. */
export function jumpsIn(list: readonly Statement[]): number {
  let n = 0;
  for (const s of list) {
    if (s.kind === 'jump') n++;
    else if (s.kind === 'when') n += jumpsIn(s.yes) + jumpsIn(s.no);
  }
  return n;
}
