/**
 * Turns `expression; //=> value` into a check of the value.
 *
 * The comment follows a statement on its line, or stands alone on the next. An expression statement is compared by its
 * value, a `const` or `let` by what it was given, and `console.log(…)` by what it prints; `…` in the comment stands
 * for anything. Lines keep their numbers, so that errors point into the page the example came from.
 */
import ts from 'typescript';

const comment = /^[ \t;]*(?:\r?\n[ \t]*)?\/\/=>[ \t]*(.*)/;

function isConsoleLog(node: ts.Expression): node is ts.CallExpression {
  return ts.isCallExpression(node) && node.expression.getText() === 'console.log';
}

/**
 * `code` with each `//=>` made a call of `__shows` or `__prints` (see checks.ts). `line` is the line of the code's
 * first line in its page. Throws if a `//=>` follows nothing that has a value.
 */
export function withChecks(code: string, line: number): string {
  const file = ts.createSourceFile('example.ts', code, ts.ScriptTarget.ESNext, true);
  const edits: { at: number; remove: number; insert: string }[] = [];
  let checks = 0;
  const look = (node: ts.Node): void => {
    const shown = ts.isStatement(node) ? comment.exec(code.slice(node.getEnd()))?.[1]?.trimEnd() : undefined;
    if (shown !== undefined) {
      const where = `(${JSON.stringify(shown)}, ${line + file.getLineAndCharacterOfPosition(node.getEnd()).line})`;
      if (ts.isExpressionStatement(node)) {
        const { expression } = node;
        checks++;
        if (isConsoleLog(expression)) {
          const callee = expression.expression;
          edits.push({ at: callee.getStart(), remove: callee.getWidth(), insert: `__prints${where}` });
        } else {
          edits.push({ at: expression.getStart(), remove: 0, insert: `__shows${where}(` });
          edits.push({ at: expression.getEnd(), remove: 0, insert: ')' });
        }
      } else if (ts.isVariableStatement(node)) {
        const name = node.declarationList.declarations.at(-1)?.name;
        if (name && ts.isIdentifier(name)) {
          checks++;
          edits.push({ at: node.getEnd(), remove: 0, insert: `; __shows${where}(${name.text});` });
        }
      }
    }
    ts.forEachChild(node, look);
  };
  look(file);
  const wanted = code.match(/\/\/=>/g)?.length ?? 0;
  if (checks !== wanted) throw new Error(`of ${wanted} //=> only ${checks} follow a statement with a value`);
  let result = code;
  for (const { at, remove, insert } of edits.sort((a, b) => b.at - a.at))
    result = result.slice(0, at) + insert + result.slice(at + remove);
  return result;
}
