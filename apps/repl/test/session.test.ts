import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { collect, open, pipe } from './piped.ts';

describe('piped lines', () => {
  test('an awaiting line before a synchronous one -> printed in order', async () => {
    const { out, status } = await pipe('await new Promise((r) => setTimeout(r, 30, "first"))\n"second"\n');
    expect(out).toBe("'first'\n'second'\n");
    expect(status).toBe(0);
  });
  test('values on output, errors on the other stream, no prompts', async () => {
    const { out, err } = await pipe('1\nnope\nfunction f() {\n  return 2\n}\nf()\n');
    expect(out).toBe('1\n2\n');
    expect(err).toBe('! ReferenceError: nope is not defined\n');
  });
  test('last line fails -> 1; an earlier one -> 0; no line at all -> 0', async () => {
    expect((await pipe('1\nnope')).status).toBe(1);
    expect((await pipe('nope\n1')).status).toBe(0);
    expect((await pipe('await Promise.reject(new Error("late"))')).status).toBe(1);
    expect((await pipe('')).status).toBe(0);
  });
  test('input that ends in the middle of a statement -> says so, 1', async () => {
    const { err, status } = await pipe('foo(1,\n');
    expect(err).toContain('ended in the middle of a statement');
    expect(status).toBe(1);
  });
  test('an error after its line has ended -> on the other stream, the session goes on', async () => {
    const late =
      'setTimeout(() => { throw new Error("late") }, 5); await new Promise((r) => setTimeout(r, 40))';
    expect(await pipe(`${late}\n"on"\n`)).toEqual({ out: "'on'\n", err: '! Error: late\n', status: 0 });
  });
  test('.load -> a file is one line, and the next waits for it', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'faultyard-load-')), 'lines.ts');
    writeFileSync(
      file,
      'const loaded: number = 4;\nawait new Promise((r) => setTimeout(r, 20));\nloaded + 1;\n',
    );
    expect(await pipe(`.load ${file}\nloaded\n.load ${file}.gone\n`)).toEqual({
      out: '5\n4\n',
      err: expect.stringContaining('ENOENT'),
      status: 1,
    });
  });
  test('a dot and a word that is no command -> an error, 1 if it is the last', async () => {
    expect(await pipe('1\n.laod x\n')).toEqual({
      out: '1\n',
      err: '! UserError: unknown command ".laod"\n',
      status: 1,
    });
    expect(await pipe('.laod\n2\n')).toMatchObject({ out: '2\n', status: 0 });
    expect(await pipe('Math.max([3]\n.length,\n2)\n')).toMatchObject({ out: '2\n', status: 0 });
  });
  test('.exit -> later lines are not run', async () => {
    expect((await pipe('1\n.exit\n2\n')).out).toBe('1\n');
  });
  test('a last line without a line end -> runs', async () => {
    expect((await pipe('40 + 2')).out).toBe('42\n');
  });
  test('a declaration whose value announces itself -> printed; another -> not', async () => {
    const announces = (value: unknown): boolean => value === 'exit';
    expect((await pipe("let e = 'exit'\nlet f = 'other'\n", { announces })).out).toBe("'exit'\n");
  });
  test("Node's module globals -> not there: a script has none either", async () => {
    expect((await pipe('[typeof fs, typeof require]')).out).toBe("[ 'undefined', 'undefined' ]\n");
  });
  test('inputs that ran -> told in order; failed ones -> not', async () => {
    const inputs: string[] = [];
    await pipe('const k = 1\nnope\nk +\n 1\n', { onInput: (i) => inputs.push(i) });
    expect(inputs).toEqual(['const k = 1', 'k +\n 1']);
  });
});

describe('on a terminal', () => {
  /** Types keys one by one and returns what the screen got. */
  async function type(keys: string, setUp: string[] = []): Promise<string> {
    const input = new PassThrough();
    const output = Object.assign(new PassThrough(), { columns: 100, rows: 40, isTTY: true });
    const text = collect(output);
    const session = open({ input, output, terminal: true, prompt: 'fy> ', preview: false });
    for (const key of [...setUp.join(''), ...keys]) {
      // a tab inside of a longer chunk counts as pasted text
      input.write(key);
      await setTimeout(2);
    }
    await setTimeout(50);
    session.server.close();
    await session.done;
    return text();
  }

  test('tab after a dot -> members of the value', async () => {
    expect(await type('box.pois\t', ['const box = { poisoned: 1 }\r'])).toContain('box.poisoned');
  });
  test('keys typed while a line waits -> run after it', async () => {
    const text = await type('await new Promise((r) => setTimeout(r, 60))\r"typed " + "ahead"\r');
    await setTimeout(100);
    expect(text.indexOf('setTimeout')).toBeGreaterThan(-1);
    expect(text).toContain("'typed ahead'");
  });
  test('Ctrl-C while a line waits -> the line ends, the session does not', async () => {
    const text = await type('await new Promise(() => {})\r\x03"still " + "here"\r');
    expect(text).toContain('interrupted');
    expect(text).toContain("'still here'");
  });
});
