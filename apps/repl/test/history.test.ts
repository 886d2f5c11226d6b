import { chmodSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { HISTORY_LIMIT, historyFile, openHistory } from '../src/history.ts';

const folder = (): string => mkdtempSync(join(tmpdir(), 'faultyard-history-'));

describe('history', () => {
  test('lines of one session -> newest first in the next', () => {
    const file = join(folder(), 'history');
    const first = openHistory(file, () => undefined);
    first.add('one');
    first.add('two');
    expect(openHistory(file, () => undefined).entries).toEqual(['two', 'one']);
  });
  test('a file twice too long -> cut when it is opened', () => {
    const file = join(folder(), 'history');
    writeFileSync(file, Array.from({ length: 3 * HISTORY_LIMIT }, (_, i) => `line ${i}\n`).join(''));
    const { entries } = openHistory(file, () => undefined);
    expect(entries).toHaveLength(HISTORY_LIMIT);
    expect(entries[0]).toBe(`line ${3 * HISTORY_LIMIT - 1}`);
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(HISTORY_LIMIT + 1);
  });
  test('a folder in its place -> one warning, and the session has no history', () => {
    const warnings: string[] = [];
    const history = openHistory(folder(), (w) => warnings.push(w));
    history.add('one');
    history.add('two');
    expect(history.entries).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('history is not kept');
  });
  test('a home that is not there -> one warning, and it is not made', () => {
    const warnings: string[] = [];
    const home = join(folder(), 'nobody');
    const history = openHistory(join(home, 'history'), (w) => warnings.push(w));
    history.add('one');
    history.add('two');
    expect(warnings).toEqual([expect.stringContaining('ENOENT')]);
    expect(existsSync(home)).toBe(false);
  });
  test('a disk that is full -> one warning', () => {
    const warnings: string[] = [];
    const history = openHistory('/dev/full', (w) => warnings.push(w));
    history.add('one');
    history.add('two');
    expect(warnings).toEqual([expect.stringContaining('ENOSPC')]);
  });
  test.skipIf(process.getuid?.() === 0)(
    'a folder that cannot be written (needs a user other than root) -> one warning',
    () => {
      const closed = folder();
      chmodSync(closed, 0o500);
      const warnings: string[] = [];
      openHistory(join(closed, 'history'), (w) => warnings.push(w)).add('one');
      expect(warnings).toHaveLength(1);
    },
  );
  test('no home, or an empty name -> no file', () => {
    expect(historyFile({})).toBeUndefined();
    expect(historyFile({ HOME: '/h', FAULTYARD_HISTORY: '' })).toBeUndefined();
    expect(historyFile({ HOME: '/h' })).toBe('/h/.faultyard_history');
    expect(historyFile({ HOME: '/h', FAULTYARD_HISTORY: '/x' })).toBe('/x');
  });
});
