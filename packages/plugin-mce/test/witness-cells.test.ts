/** Cells that the data names as witnesses of knob values: run with the value set by hand, and with every other value. */
import { describe, expect, it } from 'vitest';
import switches from '../data/switches.json' with { type: 'json' };
import { MCE_KNOBS } from '../src/index.ts';
import { TABLE } from '../src/scenarios/generated/table.ts';
import { scenarios } from '../src/scenarios/index.ts';
import { SCENARIO_KNOBS } from '../src/scenarios/scenario-knobs.ts';

const COLUMNS = Object.keys(TABLE.columns);

/** `cell 30/amd/full`, `cell 27/on`: an entry, and a column if it ends in one. */
function cellOf(witness: string): { entry: string; column: string | undefined } | undefined {
  const [, path] = /^cell ([\w/-]+)$/.exec(witness) ?? [];
  if (path === undefined) return undefined;
  const last = path.slice(path.lastIndexOf('/') + 1);
  return COLUMNS.includes(last)
    ? { entry: path.slice(0, path.lastIndexOf('/')), column: last }
    : { entry: path, column: undefined };
}

function outcome(entry: string, column: string, knob: string, value: string): string {
  const cell = scenarios.matrix('mce').find((c) => c.row === entry && c.column === column);
  if (!cell) throw new Error(`no cell ${entry} ${column}`);
  return cell.run({ set: { [knob]: value } }).actual;
}

const witnesses = Object.entries(switches.knobs).flatMap(([knob, s]) =>
  Object.entries(s.values as Readonly<Record<string, readonly string[]>>).flatMap(([value, list]) =>
    list.flatMap((w) => {
      const at = cellOf(w);
      return at ? [[knob, value, at.entry, at.column ?? 'reject'] as const] : [];
    }),
  ),
);

describe('witness cells', () => {
  it('the data names some for smcaDestat, backend, ignoreMsrs and razwi', () => {
    const named = new Set(witnesses.map(([knob]) => knob));
    for (const knob of ['smcaDestat', 'backend', 'ignoreMsrs', 'razwi']) expect(named).toContain(knob);
  });
  it.each(witnesses)('%s=%s -> cell %s %s as the table says', (knob, value, entry, column) => {
    const expected = TABLE.rows.find((r) => r.id === entry)?.cells[column];
    expect(outcome(entry, column, knob, value)).toBe(expected);
  });
  const named = [...new Set(witnesses.map(([knob, value]) => `${knob} ${value}`))];
  it.each(named)('%s -> another value gives something else in one of its cells', (name) => {
    const tells = witnesses.filter(([knob, value]) => `${knob} ${value}` === name);
    const differs = tells.some(([knob, value, entry, column]) => {
      const values = MCE_KNOBS[knob as keyof typeof MCE_KNOBS].values as readonly string[];
      const here = outcome(entry, column, knob, value);
      return values.some((v) => outcome(entry, column, knob, v) !== here);
    });
    expect(differs).toBe(true);
  });
});

/** Knobs that no cell was written for, seen in the crash all the same. */
describe('the crash under other knobs', () => {
  it.each([
    ['gated', 'on', 'ignore', 'V(inject) POLL(9C00180000000000) GP(C0002098) PANIC S(9C00180000000000)'],
    ['ignoreMsrs', 'on', 'reject', 'V(inject) POLL(9C00180000000000) CLR LIVE S(0)'],
    ['razwi', 'on', 'reject', 'V(inject) POLL(9C00180000000000) CLR LIVE S(0)'],
    ['razwi', 'aliased', 'reject', 'V(inject) POLL(9C00180000000000) CLR LIVE S(0)'],
    ['userExit', 'on', 'reject', 'V(inject) POLL(9C00180000000000) x86-wrmsr? S(9C00180000000000)'],
    ['rasCpuid', 'cpu', 'reject', 'V(inject) POLL(9C00180000000000) GP(C0002098) PANIC S(9C00180000000000)'],
  ])('%s=%s in column %s -> %s', (knob, value, column, code) => {
    expect(scenarios.run('mce/destat', { column, set: { [knob]: value } }).outcome).toBe(code);
  });
  it('erratum 383: consumed poison -> a triple fault instead of a relay', () => {
    expect(scenarios.run('mce/8', { set: { hostMc: 'erratum383' } }).outcome).toBe('X8 S(0) M(0)');
  });
});

/** Scenario, knob, value, what happens. */
const CHOICES = [
  ['mce/35/no-succor', 'qemu', '9.0', 'V(inject) MC(5,3,9:BD000000000000C0) PANIC S(BD000000000000C0) M(5)'],
  ['mce/35/no-succor', 'qemu', '10.0', 'V(inject) LIVE S(9C00180000000000) M(0)'],
  ['mce/37/ser', 'requireSerP', 'yes', 'V(exit1)'],
  ['mce/37/ser', 'requireSerP', 'no', 'V(inject) MC(7,0,9:BC00080000000000) LIVE S(BC00080000000000) M(0)'],
  ['mce/8', 'requireSerP', 'yes', 'V(exit1)'],
  ['mce/8', 'requireSerP', 'no', 'V(inject) MC(7,3,9:BC00080000000000) KILL LIVE S(0) M(0)'],
] as const;
describe('choices of the VMM', () => {
  it.each(CHOICES)('%s %s=%s -> %s', (id, knob, value, code) => {
    expect(scenarios.run(id, { set: { [knob]: value } }).outcome).toBe(code);
  });
  it('every value of every knob is among them', () => {
    const shown = CHOICES.map(([, knob, value]) => `${knob}=${value}`);
    for (const [id, k] of Object.entries(SCENARIO_KNOBS))
      for (const v of k.values ?? []) expect(shown).toContain(`${id}=${v}`);
  });
});
