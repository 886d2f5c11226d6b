/** One figure of the benchmark, and how all of them are printed. */

/** A figure. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project asks for: at least, or at most. */
  readonly wanted?: { readonly least: number } | { readonly most: number };
  /** What else is worth knowing. */
  readonly note?: string;
}

/** Whether the figure is as wanted; `undefined` where nothing is. */
export function ok(r: Row): boolean | undefined {
  if (!r.wanted) return undefined;
  return 'least' in r.wanted ? r.value >= r.wanted.least : r.value <= r.wanted.most;
}

function number(n: number): string {
  return n >= 1000 ? Math.round(n).toLocaleString('en') : n.toPrecision(3);
}

/** The rows as a plain table, groups apart. */
export function table(rows: readonly Row[]): string {
  const lines: string[] = [];
  const width = Math.max(...rows.map((r) => r.name.length));
  let group = '';
  for (const r of rows) {
    if (r.group !== group) lines.push('', r.group);
    group = r.group;
    const good = ok(r);
    const limit = !r.wanted
      ? ''
      : 'least' in r.wanted
        ? `>= ${number(r.wanted.least)}`
        : `<= ${number(r.wanted.most)}`;
    const verdict = good === undefined ? '' : good ? 'ok' : 'MISSED';
    const left = `  ${r.name.padEnd(width)}  ${number(r.value).padStart(9)} ${r.unit.padEnd(16)}`;
    lines.push(`${left} ${limit.padEnd(10)} ${verdict.padEnd(6)} ${r.note ?? ''}`.trimEnd());
  }
  return lines.join('\n').trimStart();
}
