/** What the assembler reports. */

/** One mistake in the source. */
export interface Diagnostic {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** What is wrong and what would have been accepted. */
  readonly message: string;
}

/** Thrown by `assemble`: every mistake of the source, and a message that shows the first ones in place. */
export class AssemblyError extends Error {
  override readonly name: string = 'AssemblyError';
  readonly code: string = 'FY_ASM';
  readonly diagnostics: readonly Diagnostic[];

  constructor(source: string, diagnostics: readonly Diagnostic[]) {
    const sorted = [...diagnostics].sort((a, b) => a.line - b.line || a.column - b.column);
    const lines = source.split('\n');
    const shown = sorted.slice(0, 5).map((d) => {
      const text = lines[d.line - 1] ?? '';
      const caret = text.slice(0, d.column - 1).replace(/[^\t]/g, ' ');
      return `line ${d.line}, column ${d.column}: ${d.message}\n  ${text}\n  ${caret}^`;
    });
    const more = sorted.length > 5 ? `\nand ${sorted.length - 5} more` : '';
    super(shown.join('\n') + more);
    this.diagnostics = sorted;
  }
}
