/**
 * A small view of the ESTree that oxc-parser returns: the few questions the evaluator, `save` and the documentation
 * extractor ask about a tree, and the text edits they make. Positions are UTF-16 offsets into the parsed text.
 */

/** A syntax node: its type, its span and whatever the type adds. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** A replacement of `[start, end)` by `text`; equal positions insert. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Whether a field of a node is itself a node. */
export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

/** The child nodes of a node, in field order. */
export function* children(node: Node): Generator<Node> {
  for (const field in node) {
    const value = node[field];
    if (Array.isArray(value)) {
      for (const item of value) if (isNode(item)) yield item;
    } else if (isNode(value)) yield value;
  }
}

/** Every node of a type below (and including) a node, in source order of the fields. */
export function* find(node: Node, type: string): Generator<Node> {
  if (node.type === type) yield node;
  for (const child of children(node)) yield* find(child, type);
}

const FUNCTION: ReadonlySet<string> = new Set([
  'FunctionDeclaration',
  'FunctionExpression',
  'ArrowFunctionExpression',
]);

/** Whether a node is a function of any kind. */
export function isFunction(node: Node): boolean {
  return FUNCTION.has(node.type);
}

/** Whether running a statement awaits, outside of any function it contains. */
export function awaits(node: Node): boolean {
  if (node.type === 'AwaitExpression' || (node.type === 'ForOfStatement' && node['await'] === true))
    return true;
  if (isFunction(node)) return false;
  for (const child of children(node)) if (awaits(child)) return true;
  return false;
}

/** The names a binding pattern binds: `{ a, b: [c = 1, ...d] }` binds a, c and d. */
export function boundNames(pattern: Node): string[] {
  switch (pattern.type) {
    case 'Identifier':
      return [pattern['name'] as string];
    case 'ObjectPattern':
      return (pattern['properties'] as Node[]).flatMap((p) =>
        boundNames((p.type === 'RestElement' ? p['argument'] : p['value']) as Node),
      );
    case 'ArrayPattern':
      return (pattern['elements'] as (Node | null)[]).flatMap((e) => (e ? boundNames(e) : []));
    case 'AssignmentPattern':
      return boundNames(pattern['left'] as Node);
    case 'RestElement':
      return boundNames(pattern['argument'] as Node);
    default:
      return [];
  }
}

/**
 * The text with all edits made. Edits may not overlap; at one position insertions come before the replacement, each in the
 * given order.
 */
export function applyEdits(text: string, edits: readonly Edit[]): string {
  const width = (edit: Edit): number => Math.sign(edit.end - edit.start);
  const order = edits
    .map((edit, index) => ({ edit, index }))
    .sort((a, b) => a.edit.start - b.edit.start || width(a.edit) - width(b.edit) || a.index - b.index);
  let out = '';
  let at = 0;
  for (const { edit } of order) {
    out += text.slice(at, edit.start) + edit.text;
    at = Math.max(at, edit.end);
  }
  return out + text.slice(at);
}
