/** What a source file imports, as far as the edges care. */
import ts from 'typescript';

/** One import, export-from, dynamic import or module augmentation. */
export interface Import {
  /** The module's name as written. */
  readonly specifier: string;
  /** The line it stands on, from 1. */
  readonly line: number;
  /** True if nothing of it is left at run time: `import type`, `export type`, `import('…')` in a type. */
  readonly typeOnly: boolean;
}

/** Every import of a TypeScript or JavaScript file, in the order written. */
export function importsOf(path: string, text: string): Import[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, false);
  const found: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean): void => {
    if (!node || !ts.isStringLiteralLike(node)) return;
    const { line } = file.getLineAndCharacterOfPosition(node.getStart(file));
    found.push({ specifier: node.text, line: line + 1, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    } else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isModuleDeclaration(node)) add(node.name, true);
    else if (ts.isImportTypeNode(node))
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}
