/** Members of interfaces with their documentation, from the sources. */
import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** A member of an interface. */
export interface Member {
  readonly name: string;
  /** Its doc comment on one line; links are their text. */
  readonly doc: string;
  /** Names of the fields of its type, if that is written out. */
  readonly fields: readonly string[];
}

const plain = (text: string): string =>
  text
    .replace(/\{@link ([^}|]+)(?:\|[^}]*)?\}/g, '`$1`')
    .replace(/\s+/g, ' ')
    .trim();

/** Members of every declaration of interface `name` in a source file, augmentations included. */
export function members(path: string, name: string): Member[] {
  const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ESNext, true);
  const found: Member[] = [];
  const look = (node: ts.Node): void => {
    if (ts.isInterfaceDeclaration(node) && node.name.text === name)
      for (const member of node.members)
        if (ts.isPropertySignature(member)) {
          const { type } = member;
          const docs = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc);
          found.push({
            name: ts.isStringLiteral(member.name) ? member.name.text : member.name.getText(),
            doc: plain(docs.map((d) => ts.getTextOfJSDocComment(d.comment) ?? '').join(' ')),
            fields:
              type && ts.isTypeLiteralNode(type)
                ? type.members.flatMap((m) => (m.name ? [m.name.getText()] : []))
                : [],
          });
        }
    ts.forEachChild(node, look);
  };
  look(file);
  return found;
}
