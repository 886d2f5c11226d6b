/** A session as a file: its lines as a module that runs, and what they came to as what is expected of the next run. */
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseSync } from 'oxc-parser';
import { UserError } from '../errors.ts';
import { applyEdits, boundNames, type Edit, find, isNode, type Node } from '../evaluate/syntax.ts';
import type { Journal } from './journal.ts';

/** How a session is saved. */
export interface SaveOptions {
  readonly force?: boolean;
  readonly plugins: readonly string[];
}

/** Lines that only look or file, and are of no use in a scenario: `regs()`, `cpu.pc`, `save('x')`. */
const LEAVES_NO_TRACE = /^\s*((save|help|list|matrix|regs|mem|dis|walk|trace)\s*\(.*|[\w$.]+)\s*;?\s*$/;

/** Writes `<name>.ts`; returns its path. @throws UserError when nothing was done, or the file is there already. */
export function saveSession(journal: Journal, name: string, options: SaveOptions): string {
  const file = name.endsWith('.ts') ? name : `${name}.ts`;
  if (!/^[\w./ -]+$/.test(file)) throw new UserError(`save takes a file name, not ${JSON.stringify(name)}`);
  const folder = dirname(file);
  if (!existsSync(folder)) throw new UserError(`there is no folder ${folder}\nmake it, or save elsewhere`);
  const inputs = journal.inputs.filter((input) => !LEAVES_NO_TRACE.test(input));
  if (journal.machines.length === 0) throw new UserError('there is nothing to save yet: no machine was made');
  if (existsSync(file) && options.force !== true)
    throw new UserError(
      `${file} exists\nsave under another name, or save(${JSON.stringify(name)}, { force: true })`,
    );
  const path = /^[./]/.test(file) ? file : `./${file}`;
  const plugins = options.plugins.map((p) => ` --plugin ${p}`).join('');
  const id = file.replace(/^.*\//, '').replace(/\.ts$/, '');
  const head = { id, expected: journal.outcome };
  const text = [
    `// A session of Faultyard. Run it: npm start --silent -- run ${path}${plugins}`,
    `scenario(${literal(head)});`,
    '',
    ...asModule(inputs, journal.globals),
    '',
  ].join('\n');
  writeFileSync(file, text);
  return path;
}

/** A plain value as a TypeScript literal with single quotes. */
function literal(value: unknown, indent = ''): string {
  if (typeof value === 'string') return `'${value.replace(/[\\']/g, '\\$&')}'`;
  if (Array.isArray(value)) return `[${value.map((v) => literal(v, indent)).join(', ')}]`;
  const inner = `${indent}  `;
  const fields = Object.entries(value as object).map(([k, v]) => `${inner}${k}: ${literal(v, inner)},\n`);
  return `{\n${fields.join('')}${indent}}`;
}

/** One input, parsed. An input that is an object, not a block, is kept in parentheses. */
interface Input {
  readonly text: string;
  readonly body: readonly Node[];
}

function parseInput(line: string): Input {
  const parse = (text: string): Input | undefined => {
    const { program, errors } = parseSync('session.ts', text, { lang: 'ts', sourceType: 'module' });
    return errors.length > 0 ? undefined : { text, body: (program as unknown as Node)['body'] as Node[] };
  };
  const asObject = /^\s*\{/.test(line) && !/;\s*$/.test(line) ? parse(`(${line})`) : undefined;
  return asObject ?? parse(line) ?? { text: line, body: [] };
}

/**
 * The inputs of a session as statements of one module. A name that the session declared again is declared once, with
 * `let`, and assigned afterwards; one that was only assigned is declared; a global that lines had used before it was
 * declared stays that global.
 */
export function asModule(inputs: readonly string[], globals: ReadonlySet<string>): string[] {
  const parsed = inputs.map(parseInput);
  const counts = new Map<string, number>();
  for (const { body } of parsed)
    for (const node of body) for (const n of declared(node)) counts.set(n, (counts.get(n) ?? 0) + 1);
  const there = new Set<string>();
  const used = new Set<string>();
  return parsed.map(({ text, body }) => {
    const edits: Edit[] = [];
    for (const node of body) {
      const names = declared(node);
      const isThere = (n: string): boolean => there.has(n) || (globals.has(n) && used.has(n));
      const fresh = names.filter((n) => !isThere(n));
      if (isAssignment(node)) {
        const unknown = fresh.filter((n) => !globals.has(n));
        if (unknown.length > 0)
          edits.push({ start: node.start, end: node.start, text: `let ${unknown.join(', ')}; ` });
      } else if (fresh.length < names.length) edits.push(...assigned(node, fresh));
      else if (names.some((n) => (counts.get(n) ?? 0) > 1)) edits.push(...reassignable(node));
      for (const n of names) there.add(n);
      for (const id of find(node, 'Identifier')) used.add(id['name'] as string);
      const isDone = text.slice(0, node.end).endsWith(';') || edits.some((edit) => edit.end === node.end);
      if (/^(Expression|Variable)/.test(node.type) && !isDone)
        edits.push({ start: node.end, end: node.end, text: ';' });
    }
    return applyEdits(text, edits);
  });
}

/** Whether a statement is a plain assignment, `x = 1`. */
function isAssignment(node: Node): boolean {
  const expression = node['expression'];
  return (
    node.type === 'ExpressionStatement' && isNode(expression) && expression.type === 'AssignmentExpression'
  );
}

/** The names that a top-level statement declares, or creates by plain assignment. */
function declared(node: Node): string[] {
  switch (node.type) {
    case 'VariableDeclaration':
      return (node['declarations'] as Node[]).flatMap((d) => boundNames(d['id'] as Node));
    case 'ClassDeclaration':
    case 'FunctionDeclaration':
      return boundNames(node['id'] as Node);
    case 'ImportDeclaration':
      return (node['specifiers'] as Node[]).flatMap((s) => boundNames(s['local'] as Node));
    case 'ExpressionStatement':
      return isAssignment(node) ? boundNames((node['expression'] as Node)['left'] as Node) : [];
    default:
      return [];
  }
}

/** A first declaration that later ones assign again: `const` becomes `let`, a class or function a variable. */
function reassignable(node: Node): Edit[] {
  if (node.type === 'VariableDeclaration')
    return [{ start: node.start, end: node.start + (node['kind'] as string).length, text: 'let' }];
  if (node.type === 'ClassDeclaration' || node.type === 'FunctionDeclaration')
    return [{ start: node.start, end: node.start, text: `let ${(node['id'] as Node)['name'] as string} = ` }];
  return [];
}

/** A declaration as assignments; `fresh` names are declared before it. */
function assigned(node: Node, fresh: readonly string[]): Edit[] {
  const before = fresh.length > 0 ? `let ${fresh.join(', ')};\n` : '';
  if (node.type === 'ImportDeclaration')
    return [{ start: node.start, end: node.end, text: `${before}${importAgain(node)}` }];
  if (node.type !== 'VariableDeclaration')
    return [
      { start: node.start, end: node.start, text: `${before}${(node['id'] as Node)['name'] as string} = ` },
    ];
  const edits: Edit[] = [];
  let at = node.start;
  // a pattern at the start of a statement needs parentheses, a name does not
  let close = '';
  for (const d of node['declarations'] as Node[]) {
    const id = d['id'] as Node;
    const [open, after] = id.type === 'Identifier' ? ['', ''] : ['(', ')'];
    const type = id['typeAnnotation'] as Node | null;
    const patternEnd = type ? type.start : id.end;
    edits.push({ start: at, end: id.start, text: `${at === node.start ? before : `${close}; `}${open}` });
    close = after;
    const init = d['init'] as Node | null;
    edits.push({ start: patternEnd, end: init ? init.start : id.end, text: init ? ' = ' : ' = undefined' });
    at = d.end;
  }
  edits.push({ start: at, end: node.end, text: `${close};` });
  return edits;
}

/** An import of names that exist already, as assignments. */
function importAgain(node: Node): string {
  const source = (node['source'] as Node)['raw'] as string;
  const names = (node['specifiers'] as Node[]).map((s) => {
    const local = (s['local'] as Node)['name'] as string;
    if (s.type === 'ImportNamespaceSpecifier') return { local, from: '' };
    const imported = s['imported'] as Node | undefined;
    return { local, from: imported ? ((imported['name'] ?? imported['value']) as string) : 'default' };
  });
  return names
    .map(
      ({ local, from }) =>
        `(${local} = ${from === '' ? `await import(${source})` : `(await import(${source}))['${from}']`});`,
    )
    .join(' ');
}
