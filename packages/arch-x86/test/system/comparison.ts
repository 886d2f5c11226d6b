/** Compares records of case images, ours with another's, but for what `differs.ts` explains. */
import { type Case, cplOf, pagingOf, recordsByCase } from '../support/bare-image.ts';
import { FIELDS, type Field, UNHANDLED } from '../support/bare-layout.ts';
import type { Difference } from './differs.ts';
import type { Other, Suite } from './suite.ts';

/** What came of a comparison. */
export interface Compared {
  /** Records compared. */
  readonly records: number;
  /** Cases that the other could not carry out. */
  readonly unable: number;
  /** Cases whose difference nothing explains, as text. */
  readonly unexplained: readonly string[];
  /** Cases explained, by the explanation's index. */
  readonly explained: ReadonlyMap<number, number>;
}

const hex = (v: unknown): unknown =>
  typeof v === 'bigint' || (typeof v === 'number' && v > 9) ? `0x${v.toString(16)}` : v;
/** A case as text. */
const describeCase = (c: Case): string => JSON.stringify(c, (_, v) => hex(v)).replaceAll('"', '');

const matches = (pattern: RegExp | undefined, text: string): boolean => !pattern || pattern.test(text);

const inside = (v: number, first: number, last: number): boolean => v >= first && v <= last;

function applies(d: Difference, suite: Suite, other: Other, c: Case, ours: number, theirs: number): boolean {
  return (
    d.who === other &&
    (d.msr === undefined || d.msr.some(([first, last]) => inside(Number(c.regs?.cx ?? 0), first, last))) &&
    matches(d.suite, suite.name) &&
    matches(d.mode, c.mode) &&
    matches(d.code, c.code) &&
    matches(d.paging, pagingOf(c)) &&
    (d.cpl === undefined || d.cpl === cplOf(c)) &&
    (d.ours === undefined || d.ours.includes(ours)) &&
    (d.theirs === undefined || d.theirs.includes(theirs))
  );
}

/**
 * What the recorded KVM carried out as KVM does: it was one whose backend runs CPL 3 of long mode on the processor, where
 * privileged and sensitive instructions fare as the backend likes, and everything else through KVM's emulator and walker:
 * without virtual-8086 mode, 16-bit stacks of protected mode, segment bases in compatibility mode, and paging outside of 4 levels.
 */
function kvmCarriesOut(suite: Suite, c: Case): boolean {
  const cpl = cplOf(c);
  const paging = pagingOf(c);
  if (c.mode === 'v86' || c.mode === 'compat16' || c.mode === 'pm16') return false;
  if (cpl === 3 && !(c.mode === 'long' && suite.user)) return false;
  if (paging !== 'none' && paging !== '4') return false;
  return ((c.cr4 ?? 0) & ~0x2ff) === 0;
}

/** Compares two runs of a suite. */
export function compare(
  suite: Suite,
  cases: readonly Case[],
  other: Other,
  ourBytes: Uint8Array,
  theirBytes: Uint8Array,
  differences: readonly Difference[],
): Compared {
  const ours = recordsByCase(ourBytes, cases.length);
  const theirs = recordsByCase(theirBytes, cases.length);
  const unexplained: string[] = [];
  const explained = new Map<number, number>();
  let records = 0;
  let unable = 0;
  for (const [n, c] of cases.entries()) {
    const a = ours[n] ?? [];
    const b = theirs[n] ?? [];
    if (b.at(-1)?.[0] === UNHANDLED || (other === 'kvm' && !kvmCarriesOut(suite, c))) {
      unable++;
      continue;
    }
    const last = [a.at(-1)?.[0] ?? 0, b.at(-1)?.[0] ?? 0] as const;
    const rules = differences
      .map((d, k) => ({ d, k }))
      .filter(({ d }) => applies(d, suite, other, c, ...last));
    const used = new Set<number>();
    const explain = (name: Field | 'count', bits: number): boolean => {
      const rule = rules.find(
        ({ d }) =>
          (!d.fields || d.fields.includes(name as Field)) && (d.bits === undefined || (bits & ~d.bits) === 0),
      );
      if (rule) used.add(rule.k);
      return rule !== undefined;
    };
    const open: string[] = [];
    if (a.length !== b.length && !explain('count', 0)) open.push(`${a.length} records, theirs ${b.length}`);
    for (let k = 0; k < Math.min(a.length, b.length); k++) {
      records++;
      const whole = explain('count', 0);
      for (const [f, name] of FIELDS.entries()) {
        const x = a[k]?.[f] ?? 0;
        const their = b[k]?.[f] ?? 0;
        const ignored = name === 'rflags' ? (c.ignored ?? 0) : 0;
        const y = ((their & ~ignored) | (x & ignored)) >>> 0;
        if (x !== y && !whole && !explain(name, (x ^ y) >>> 0))
          open.push(`${a.length > 1 ? `${k}.` : ''}${name} ${x.toString(16)}, theirs ${y.toString(16)}`);
      }
    }
    for (const k of used) explained.set(k, (explained.get(k) ?? 0) + 1);
    if (open.length) unexplained.push(`${n} ${describeCase(c)}: ${open.join('; ')}`);
  }
  return { records, unable, unexplained, explained };
}
