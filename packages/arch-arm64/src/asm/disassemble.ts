/** Words to text, from the table. */
import { extract } from '../isa/bits.ts';
import { applies, printSyntax, syntaxOf } from '../isa/syntax.ts';
import type { Table } from '../isa/table.ts';

/**
 * The preferred disassembly of a word at address `pc`, in GNU syntax: `add x0, x1, #0x10`. Targets are absolute
 * addresses. An unallocated word is `.inst 0x0badc0de`.
 */
export function disassemble(table: Table, word: number, pc = 0n): string {
  const row = table.find(word);
  if (row) {
    const b = extract(row.pattern, word);
    for (const syntax of syntaxOf(row))
      if (applies(syntax, b)) return printSyntax(syntax, b, pc, table.registers);
  }
  return `.inst 0x${(word >>> 0).toString(16).padStart(8, '0')}`;
}
