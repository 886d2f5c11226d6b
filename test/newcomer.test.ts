import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from './packed-project.ts';
import { missing, runStep, type Step, stepsOf } from './pages.ts';

const pages = ['README.md', 'apps/repl/README.md'];

/** Commands of `## Two commands`: this test is part of one of them, and the other ends only when its user does. */
const notRun = (step: Step): boolean =>
  step.command === 'npm test' || (step.command === 'npm start' && step.typed.length === 0);

describe.each(pages)('%s, as a newcomer types it', (page) => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'faultyard-newcomer-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const steps = stepsOf(page).filter((step) => !notRun(step));

  test('the page -> has sessions and commands, and says what they print', () => {
    expect(steps.filter((s) => s.typed.length > 0)).not.toEqual([]);
    expect(steps.filter((s) => s.typed.length === 0)).not.toEqual([]);
    expect(steps.filter((s) => s.shown.length === 0).map((s) => `${s.line}: ${s.command}`)).toEqual([]);
  });

  test.each(steps.map((step) => [`line ${step.line}: ${step.command}`, step] as const))(
    '%s -> prints what the page shows, and leaves with status 1 where that has a ✗',
    async (_name, step) => {
      const { status, out, err } = await runStep(step, folder);
      expect(missing(step, out), `${out}${err}`).toEqual([]);
      const wrong = step.shown.some((s) => s.text.includes('✗'));
      expect({ status, err }).toEqual({ status: wrong ? 1 : 0, err: '' });
    },
  );
});

test('README.md -> its number of scenarios is that of `list`', async () => {
  const step = { line: 0, command: 'npm start --silent -- list --json', typed: [], shown: [] };
  const { out } = await runStep(step, root);
  const text = readFileSync(join(root, 'README.md'), 'utf8');
  expect(text).toContain(`${(JSON.parse(out) as unknown[]).length} scenarios`);
});
