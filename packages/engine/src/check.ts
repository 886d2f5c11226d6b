/** Checks semantics when an instruction set is made: engines emit them later, rare ones only when they are first run. */
import { record } from './builder.ts';
import { recordFields } from './fields.ts';
import type { Handler, Isa } from './isa.ts';

/**
 * Goes through the semantics of one handler, as the interpreter's emission will.
 * @throws SemanticsError when they break the builder's rules.
 */
export function checkHandler(isa: Isa, h: Handler): void {
  record(isa, h.name, h.sem, recordFields(isa));
}
