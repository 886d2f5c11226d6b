/**
 * Documentation out of TypeScript sources: every exported declaration that has a doc comment, and every member of an
 * exported class or interface (also of those merged into another package).
 */
import { parseSync } from 'oxc-parser';
import { isNode, type Node } from '../evaluate/syntax.ts';

/** One documented thing. */
export interface Doc {
  /** `createVm`, or `Vm.run` for a member. */
  readonly name: string;
  readonly kind: 'function' | 'class' | 'interface' | 'type' | 'constant' | 'member';
  /** The declaration on one line, without its body. */
  readonly signature: string;
  /** The doc comment without its decoration; empty for a member that has none. */
  readonly text: string;
  readonly file: string;
  readonly line: number;
}

interface Comment {
  readonly type: string;
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

/** The text of a doc comment: stars and indentation gone, paragraphs kept. */
export function commentText(value: string): string {
  return value
    .replace(/^\*/, '')
    .split('\n')
    .map((l) => l.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .replace(/\{@link ([^}|]+)[^}]*\}/g, '$1')
    .trim();
}

const NAMED: Readonly<Record<string, Doc['kind']>> = {
  FunctionDeclaration: 'function',
  TSDeclareFunction: 'function',
  ClassDeclaration: 'class',
  TSInterfaceDeclaration: 'interface',
  TSTypeAliasDeclaration: 'type',
};

/** Reads one source file. */
export function extractDocs(source: string, file: string): Doc[] {
  return new Extractor(source, file).docs;
}

class Extractor {
  readonly docs: Doc[] = [];
  private readonly source: string;
  private readonly file: string;
  private readonly comments: readonly Comment[];

  constructor(source: string, file: string) {
    this.source = source;
    this.file = file;
    const parsed = parseSync(file, source, { lang: 'ts', sourceType: 'module' });
    this.comments = parsed.comments.filter((c) => c.type === 'Block' && c.value.startsWith('*'));
    this.body((parsed.program as unknown as Node)['body'] as Node[], false);
  }

  private body(statements: readonly Node[], exported: boolean): void {
    for (const node of statements) {
      if (node.type === 'TSModuleDeclaration') {
        const inner = node['body'];
        if (isNode(inner)) this.body(inner['body'] as Node[], true);
      } else if (node.type === 'ExportNamedDeclaration') {
        const declaration = node['declaration'];
        if (isNode(declaration)) this.declaration(declaration, node);
      } else if (exported) this.declaration(node, node);
    }
  }

  private declaration(node: Node, outer: Node): void {
    if (node.type === 'VariableDeclaration') {
      for (const d of node['declarations'] as Node[]) {
        const id = d['id'] as Node;
        if (id.type === 'Identifier') this.add(id['name'] as string, 'constant', outer, id.end);
      }
      return;
    }
    const kind = NAMED[node.type];
    const id = node['id'];
    if (!kind || !isNode(id)) return;
    const name = id['name'] as string;
    const body = node['body'];
    const bodyStart = isNode(body) && kind !== 'type' ? body.start : node.end;
    this.add(name, kind, outer, kind === 'function' && !isNode(body) ? node.end : bodyStart);
    if (isNode(body) && Array.isArray(body['body']) && kind !== 'function')
      for (const member of body['body'] as Node[]) this.member(name, member);
  }

  private member(owner: string, node: Node): void {
    const key = node['key'];
    if (!isNode(key) || key.type === 'PrivateIdentifier' || node['computed'] === true) return;
    if (node['accessibility'] === 'private' || node['kind'] === 'constructor') return;
    const name = (key['name'] ?? key['value']) as string;
    const value = node['value'];
    const body = isNode(value)
      ? (value['body'] ?? (node.type === 'PropertyDefinition' ? value : undefined))
      : undefined;
    this.add(`${owner}.${name}`, 'member', node, isNode(body) ? body.start : node.end);
  }

  /** Adds a thing that starts at `node` and whose signature ends at `end`; members also without a comment. */
  private add(name: string, kind: Doc['kind'], node: Node, end: number): void {
    const before = this.comments.findLast((c) => c.end <= node.start);
    const near = before && /^\s*(\/\/[^\n]*\s*)*$/.test(this.source.slice(before.end, node.start));
    if (!near && kind !== 'member') return;
    const signature = this.source
      .slice(node.start, end)
      .replace(/^export\s+/, '')
      .replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '')
      .replace(/\s+/g, ' ')
      .replace(/\s*[={;]?\s*$/, '');
    const line = this.source.slice(0, node.start).split('\n').length;
    this.docs.push({
      name,
      kind,
      signature,
      text: near ? commentText(before.value) : '',
      file: this.file,
      line,
    });
  }
}
