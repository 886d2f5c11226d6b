/**
 * One input of a session, from TypeScript to a script that can run at the top level again and again.
 *
 * oxc removes the types; then the top level is rewritten so that what a module allows once a session allows on every line:
 * `const`, `let` and `class` become `var` (redeclaration), static imports become awaited dynamic ones, and an input that
 * awaits is wrapped in an async function whose declarations stay outside of it. Code runs in strict mode, as it would in a
 * module, except that a plain assignment to an unknown name declares it.
 */
import { parseSync } from 'oxc-parser';
import { transformSync } from 'oxc-transform';
import {
  applyEdits,
  awaits,
  boundNames,
  children,
  type Edit,
  find,
  isFunction,
  isNode,
  type Node,
} from './syntax.ts';

/** The name under which compiled code finds the session's `import()`. */
export const IMPORT = '__import';

/** The name under which loops that run after an `await` look for Ctrl-C; it throws to end the line. */
export const LOOK = '__look';

/** An input that can be run. */
export interface Compiled {
  readonly kind: 'script';
  /** JavaScript for `vm.Script`; empty when the input has only types or comments. */
  readonly code: string;
  /** Whether the script's value is a promise of `{ value }` or of undefined. */
  readonly isAsync: boolean;
  /** The name declared by the last statement when it declares exactly one, e.g. `e` of `let e = run()`. */
  readonly declares?: string;
}

/** What became of an input: a script, a part of one (more lines are needed), or a mistake. */
export type Compilation =
  | Compiled
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'error'; readonly error: SyntaxError };

interface OxcError {
  readonly message: string;
  readonly labels: readonly { readonly start: number; readonly end: number }[];
  readonly codeframe: string | null;
}

/** Whether a syntax error only says that the input is not finished yet. */
function isUnfinished(error: OxcError, input: string): boolean {
  const end = input.trimEnd().length;
  const at = Math.max(0, ...error.labels.map((l) => l.start));
  if (at >= end) return true;
  if (error.message === 'Unterminated multiline comment') return true;
  if (error.message === 'Unterminated string') return input[at] === '`' || input[at] === '}';
  // `try {}` on a line of its own: the handler follows
  return /^Missing catch or finally/.test(error.message) && error.labels.some((l) => l.end >= end);
}

function stripTypes(source: string): { code: string; errors: readonly OxcError[] } {
  return transformSync('session.ts', source, {
    lang: 'ts',
    sourceType: 'module',
    typescript: { onlyRemoveTypeImports: true },
  });
}

/** A syntax error that shows the place under the message. */
function syntaxError(error: OxcError): SyntaxError {
  const frame = (error.codeframe ?? '').split('\n').filter((l) => /^\s*(\d+ \||:)/.test(l));
  return new SyntaxError([error.message, ...frame].join('\n'));
}

/** `import a, { b as c } from 'm'` as statements that assign the names. */
function importStatement(node: Node, names: string[]): string {
  const source = JSON.stringify((node['source'] as Node)['value']);
  const attributes = (node['attributes'] as Node[]).map((a) => {
    const key = a['key'] as Node;
    return `${JSON.stringify(key['name'] ?? key['value'])}: ${JSON.stringify((a['value'] as Node)['value'])}`;
  });
  const options = attributes.length > 0 ? `, { with: { ${attributes.join(', ')} } }` : '';
  const specifiers = node['specifiers'] as Node[];
  const picks = specifiers.map((s) => {
    const local = (s['local'] as Node)['name'] as string;
    names.push(local);
    if (s.type === 'ImportNamespaceSpecifier') return `${local} = __module;`;
    const imported = s['imported'] as Node | undefined;
    const key = JSON.stringify(imported ? (imported['name'] ?? imported['value']) : 'default');
    const missing = `${source} has no export ${key}; a type is imported with \`import type\``;
    return `if (!(${key} in __module)) throw new SyntaxError(${JSON.stringify(missing)}); ${local} = __module[${key}];`;
  });
  return `{ const __module = await ${IMPORT}(${source}${options}); ${picks.join(' ')} }`;
}

/** Whether a node is a class or function declaration with a name. */
function isNamed(node: Node): boolean {
  return /^(Class|Function)Declaration$/.test(node.type) && isNode(node['id']);
}

/** The top level of one input while it is being rewritten. */
class TopLevel {
  readonly edits: Edit[] = [];
  readonly names: string[] = [];
  readonly functions: string[] = [];
  declares: string | undefined;
  private readonly isAsync: boolean;

  constructor(isAsync: boolean) {
    this.isAsync = isAsync;
  }

  private replace(start: number, end: number, text: string): void {
    this.edits.push({ start, end, text });
  }

  statement(node: Node, isLast: boolean): void {
    switch (node.type) {
      case 'ImportDeclaration':
        this.replace(node.start, node.end, importStatement(node, this.names));
        break;
      case 'ExportNamedDeclaration':
      case 'ExportDefaultDeclaration':
      case 'ExportAllDeclaration':
        this.exported(node, isLast);
        break;
      case 'VariableDeclaration':
        this.variables(node, isLast);
        break;
      case 'ClassDeclaration': {
        const name = (node['id'] as Node)['name'] as string;
        if (this.isAsync) this.names.push(name);
        this.replace(node.start, node.start, `${this.isAsync ? '' : 'var '}${name} = `);
        this.replace(node.end, node.end, ';');
        break;
      }
      case 'FunctionDeclaration':
        if (this.isAsync) this.functions.push((node['id'] as Node)['name'] as string);
        break;
      case 'ExpressionStatement':
        this.expression(node['expression'] as Node, isLast);
        break;
      default:
        if (this.isAsync) this.nestedVars(node);
    }
  }

  /** `var` inside of a statement: its names belong outside of the async wrapper, so only the assignments stay. */
  private nestedVars(node: Node): void {
    if (isFunction(node) || node.type === 'ClassBody') return;
    if (node.type === 'VariableDeclaration' && node['kind'] === 'var') {
      const declarators = node['declarations'] as Node[];
      this.names.push(...declarators.flatMap((d) => boundNames(d['id'] as Node)));
      this.replace(node.start, declarators[0]?.start ?? node.start, '');
      for (const d of declarators) {
        if (!d['init']) continue;
        this.replace(d.start, d.start, '(');
        this.replace(d.end, d.end, ')');
      }
    }
    for (const child of children(node)) this.nestedVars(child);
  }

  /** An export is what it declares; a list of names is nothing. */
  private exported(node: Node, isLast: boolean): void {
    const declaration = node['declaration'];
    if (!isNode(declaration)) this.replace(node.start, node.end, '');
    else if (declaration.type === 'VariableDeclaration' || isNamed(declaration)) {
      this.replace(node.start, declaration.start, '');
      this.statement(declaration, isLast);
    } else this.replace(node.start, declaration.start, 'var _default = ');
  }

  private variables(node: Node, isLast: boolean): void {
    const declarators = node['declarations'] as Node[];
    const names = declarators.flatMap((d) => boundNames(d['id'] as Node));
    if (isLast && names.length === 1) this.declares = names[0];
    if (!this.isAsync) {
      this.asVar(node, declarators);
      return;
    }
    this.names.push(...names);
    let at = node.start;
    for (const d of declarators) {
      const id = d['id'] as Node;
      this.replace(at, id.start, at === node.start ? '(' : '); (');
      // `let x` sets undefined, `var x` keeps what is there
      if (!d['init'] && node['kind'] !== 'var') this.replace(id.end, id.end, ' = undefined');
      at = d.end;
    }
    this.replace(at, node.end, ');');
  }

  /** Without an await the keyword is all that changes, so that the declaration has no value, as in a module. */
  private asVar(node: Node, declarators: readonly Node[]): void {
    const kind = node['kind'] as string;
    if (kind === 'var') return;
    this.replace(node.start, node.start + kind.length, 'var');
    for (const d of declarators) if (!d['init']) this.replace(d.end, d.end, ' = undefined');
  }

  private expression(node: Node, isLast: boolean): void {
    let target = node.type === 'ParenthesizedExpression' ? (node['expression'] as Node) : node;
    while (target.type === 'AssignmentExpression' && target['operator'] === '=') {
      this.names.push(...boundNames(target['left'] as Node));
      target = target['right'] as Node;
    }
    if (!this.isAsync || !isLast) return;
    this.replace(node.start, node.start, 'return { value: (');
    this.replace(node.end, node.end, ') };');
  }
}

/** Compiles one input, which may be several statements on several lines. */
export function compile(input: string): Compilation {
  // as in Node's REPL, `{ a: 1 }` is an object
  const asObject = /^\s*\{/.test(input) && !/;\s*$/.test(input);
  let stripped = stripTypes(asObject ? `(${input.trimEnd()}\n)` : input);
  if (asObject && stripped.errors.length > 0) stripped = stripTypes(input);
  const error = stripped.errors[0];
  if (error)
    return isUnfinished(error, input) ? { kind: 'incomplete' } : { kind: 'error', error: syntaxError(error) };
  return rewrite(stripped.code);
}

/**
 * Loops that can run when the event loop resumes a line, where no signal can break them off: those of async functions and
 * of inputs that await.
 */
function* loopsAfterAwait(node: Node, isAsync: boolean): Generator<Node> {
  if (isAsync && /^(For|While|DoWhile|ForOf|ForIn)Statement$/.test(node.type)) yield node;
  const inside = isFunction(node) ? node['async'] === true : isAsync;
  for (const child of children(node)) yield* loopsAfterAwait(child, inside);
}

/** Rewrites the top level of JavaScript that parsed as a module. */
function rewrite(js: string): Compilation {
  const parsed = parseSync('session.mjs', js, { lang: 'js', sourceType: 'module' });
  const problem = parsed.errors[0];
  if (problem) return { kind: 'error', error: syntaxError(problem) };
  const program = parsed.program as unknown as Node;
  const body = program['body'] as Node[];
  if (body.length === 0) return { kind: 'script', code: '', isAsync: false };
  const isAsync = body.some((n) => n.type === 'ImportDeclaration' || awaits(n));
  const top = new TopLevel(isAsync);
  body.forEach((n, i) => {
    top.statement(n, i === body.length - 1);
  });
  for (const call of find(program, 'ImportExpression'))
    top.edits.push({ start: call.start, end: call.start + 'import'.length, text: IMPORT });
  for (const loop of loopsAfterAwait(program, isAsync)) {
    const inner = loop['body'] as Node;
    top.edits.push({ start: inner.start, end: inner.start, text: `{ ${LOOK}(); ` });
    top.edits.push({ start: inner.end, end: inner.end, text: ' }' });
  }
  const code = applyEdits(js, top.edits);
  const names = [...new Set([...top.names, ...top.functions])];
  const declarations = names.length > 0 ? `var ${names.join(', ')};` : '';
  const publish = top.functions.map((f) => `globalThis.${f} = ${f};`).join(' ');
  return {
    kind: 'script',
    code: isAsync
      ? `'use strict';${declarations}(async () => {${publish}${code}\n})()`
      : `'use strict';void 0;${declarations}${code}`,
    isAsync,
    ...(top.declares === undefined ? {} : { declares: top.declares }),
  };
}
