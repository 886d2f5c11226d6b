import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ABACUS, command, environment, PROGRAM, program } from './commands.ts';

const folder = (): string => mkdtempSync(join(tmpdir(), 'faultyard-cli-'));

describe('list', () => {
  test('--json -> an array of scenarios and nothing else', async () => {
    const { out, err, status } = await command(['list', '--json']);
    expect(JSON.parse(out)).toMatchObject([
      { id: 'abacus/1', plugin: 'abacus', aliases: ['abacus/load'], columns: ['exit', 'zero'] },
      { id: 'abacus/2' },
    ]);
    expect([err, status]).toEqual(['', 0]);
  });
  test('a prefix -> only those; one that nothing has -> 2', async () => {
    expect((await command(['list', 'abacus/2'])).out).not.toContain('abacus/1');
    expect((await command(['list', 'nothing'])).status).toBe(2);
  });
});

describe('run', () => {
  test('--json -> the contract, and 0', async () => {
    const { out, status } = await command(['run', 'abacus/load', '--json']);
    expect(JSON.parse(out)).toEqual({
      scenario: 'abacus/1',
      set: {},
      outcome: 'X(memory-fault) r0=1',
      expected: 'X(memory-fault) r0=1',
      ok: true,
      exits: ['memory-fault'],
      instructions: 1,
      stateHash: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(status).toBe(0);
  });
  test('--set a knob that changes the outcome -> not ok, 1', async () => {
    const { out, status } = await command(['run', 'abacus/1', '--json', '--set', 'onPoison=zero']);
    expect(JSON.parse(out)).toMatchObject({ set: { onPoison: 'zero' }, outcome: 'H r0=2', ok: false });
    expect(status).toBe(1);
  });
  test('--column -> what that column expects', async () => {
    const { out, status } = await command(['run', 'abacus/1', '--column', 'zero']);
    expect(out).toContain('✓ as expected');
    expect(out).toContain('H r0=2');
    expect(status).toBe(0);
  });
  test.each([
    [['run', 'abacus/9'], /unknown scenario "abacus\/9"; did you mean abacus\/1/],
    [['run'], /takes one scenario.*\nusage: run/],
    [['run', 'abacus/1', 'abacus/2'], /takes one scenario, not 2/],
    [['run', 'abacus/1', '--set', 'onPoison'], /--set takes knob=value/],
    [
      ['run', 'abacus/1', '--set', 'onPoison=maybe'],
      /abacus.onPoison does not take "maybe"; its values: exit, zero/,
    ],
    [['run', 'abacus/1', '--set', 'nope=1'], /unknown knob nope; knobs here: abacus\.onPoison/],
    [['run', 'abacus/1', '--set', 'a=1', '--set', 'a=2'], /set twice/],
    [['run', 'abacus/1', '--column', 'zeros'], /unknown column "zeros"; did you mean zero/],
    [['run', 'abacus/1', '--bogus'], /Unknown option '--bogus'\noptions here: .*--set/],
    [['matrx', 'abacus'], /unknown command "matrx"; did you mean matrix/],
    [['matrix', 'abacos'], /unknown matrix "abacos"; did you mean abacus/],
    [['script'], /takes one file/],
    [['--json'], /--json needs a command/],
  ])('%j -> says what to do, nothing on standard output, 2', async (args, message) => {
    const { out, err, status } = await command(args);
    expect(err).toMatch(message);
    expect([out, status]).toEqual(['', 2]);
  });
});

describe('matrix', () => {
  test('--json -> every cell, 1 because one is not as expected', async () => {
    const { out, status } = await command(['matrix', 'abacus', '--json']);
    expect(JSON.parse(out)).toEqual([
      {
        row: '1',
        column: 'exit',
        expected: 'X(memory-fault) r0=1',
        actual: 'X(memory-fault) r0=1',
        ok: true,
      },
      { row: '1', column: 'zero', expected: 'H r0=2', actual: 'H r0=2', ok: true },
      { row: '2', column: 'exit', expected: 'X(other) r0=9', actual: 'X(memory-fault) r0=1', ok: false },
    ]);
    expect(status).toBe(1);
  });
  test('a row in which all is well -> its table, 0', async () => {
    const { out, status } = await command(['matrix', 'abacus/1']);
    expect(out).toContain('2 cells, 2 as expected, 0 not');
    expect(status).toBe(0);
  });
  test('a pipe -> plain text; a terminal -> rows redrawn in place', async () => {
    expect((await command(['matrix', 'abacus'])).out).not.toContain('\x1b');
    expect((await command(['matrix', 'abacus'], { live: true })).out).toContain('\x1b[1A\r\x1b[J1');
  });
});

describe('a session saved', () => {
  const lines = (file: string): string[] => [
    'const { vm, cpu, asm } = lab.abacus()',
    'load(0x4000_0000n, asm`inc load; halt`); cpu.r2 = 0x4000_2000n',
    'poison(0x4000_2000n)',
    'let e = run()',
    'const s = snap()',
    'heal(e.gpa); let e = run()',
    'restore(s)',
    `save(${JSON.stringify(file)})`,
  ];
  test('-> a scenario that runs as expected, and not when a knob is set otherwise', async () => {
    const file = join(folder(), 'counted.ts');
    const session = await command([], { input: lines(file).join('\n') });
    expect(session.err).toBe('');
    expect(session.out).toMatch(/^memory-fault pc=0x40000001 .*gpa=0x40002000.*-1\/EHWPOISON$/m);
    expect(session.out).toContain(`'${file}'`);
    expect(session.status).toBe(0);
    expect(readFileSync(file, 'utf8')).toContain(`--plugin ${ABACUS}`);
    const again = await command(['run', file, '--json']);
    expect(JSON.parse(again.out)).toMatchObject({
      scenario: 'counted',
      ok: true,
      exits: ['memory-fault', 'hlt'],
    });
    expect(again.status).toBe(0);
  });
  test('in a session -> runs every time anew, and leaves the session its machine', async () => {
    const file = join(folder(), 'again.ts');
    const { out, err } = await command([], {
      input: [...lines(file), `.run ${file}`, `.run ${file}`, `.script ${file}`, 'run().kind'].join('\n'),
    });
    expect(err).toBe('');
    expect(out.match(/✓ as expected/g)).toHaveLength(2);
    expect(out.trimEnd().split('\n').at(-1)).toBe("'memory-fault'");
  });
  test('into a folder that is not there -> refused', async () => {
    const file = join(folder(), 'nowhere', 'a.ts');
    const { err } = await command([], {
      input: [...lines(file), `save(${JSON.stringify(file)})`].join('\n'),
    });
    expect(err).toMatch(/^there is no folder .*nowhere\nmake it, or save elsewhere$/m);
  });
  test('under another name than one that is there -> refused, unless forced', async () => {
    const file = join(folder(), 'there.ts');
    const save = (options: string): string => `save(${JSON.stringify(file)}${options})`;
    const refused = await command([], { input: [...lines(file), save('')].join('\n') });
    expect(refused.err).toContain('there.ts exists\nsave under another name');
    expect(refused.status).toBe(1);
    expect(
      (await command([], { input: [...lines(file), save(', { force: true }')].join('\n') })).status,
    ).toBe(0);
  });
});

describe('progress', () => {
  test('standard error a terminal -> each cell is named there and cleared; the results are untouched', async () => {
    for (const args of [
      ['matrix', 'abacus'],
      ['matrix', 'abacus', '--json'],
    ]) {
      const quiet = await command(args);
      const busy = await command(args, { progress: true });
      expect(busy.out).toBe(quiet.out);
      expect(quiet.err).toBe('');
      expect(busy.err).toContain('2/3 1 zero');
      expect(busy.err.endsWith('\r\x1b[K')).toBe(true);
    }
  });
});

describe('help and version', () => {
  test('--help -> every command; <command> --help -> its usage', async () => {
    const { out, status } = await command(['--help']);
    for (const name of ['list', 'run', 'matrix', 'script'])
      expect(out).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
    expect(status).toBe(0);
    expect((await command(['run', '--help'])).out).toContain('--set <knob>=<value>');
    expect((await command(['help', 'run'])).out).toContain('--set <knob>=<value>');
  });
  test('--version -> the version', async () => {
    expect((await command(['--version'])).out).toBe('1.2.3\n');
  });
});

describe('as a program', () => {
  test('a script outside of any package, with await, imports, types and session globals', async () => {
    const cwd = folder();
    writeFileSync(
      join(cwd, 'helper.ts'),
      "import { p } from './part';\nexport const word: string = ('d' as string) + p;\n",
    );
    writeFileSync(join(cwd, 'part.ts'), "export const p: string = await Promise.resolve('ep');\n");
    writeFileSync(
      join(cwd, 'script.ts'),
      [
        "import { hex } from '@faultyard/core';",
        "import { word } from './helper.js';",
        'const { cpu } = lab.abacus();',
        'load(0x4000_0000n, new Uint8Array([1, 1, 0]));',
        'await Promise.resolve();',
        'console.log(word, run().kind, hex(cpu.r0 as bigint));',
      ].join('\n'),
    );
    const plain = await program(['script', 'script.ts', '--plugin', ABACUS], { cwd });
    expect(plain).toEqual({ out: 'dep hlt 0x2\n', err: '', status: 0 });
    const json = await program(['script', './script.ts', '--json', '--plugin', ABACUS], { cwd });
    expect(JSON.parse(json.out)).toMatchObject({
      script: './script.ts',
      ok: true,
      exits: ['hlt'],
      instructions: 2,
    });
    expect(json.err).toBe('dep hlt 0x2\n');
  }, 30_000);
  test('an installed plugin with a core of its own beside it -> works on the core of the session', async () => {
    const cwd = folder();
    const put = (path: string, text: string): void => {
      mkdirSync(join(cwd, 'node_modules', dirname(path)), { recursive: true });
      writeFileSync(join(cwd, 'node_modules', path), text);
    };
    const exported = { '.': './index.js', './vmm': './vmm.js' };
    put(
      'acme-plugin/package.json',
      JSON.stringify({ name: 'acme-plugin', type: 'module', exports: exported }),
    );
    put(
      'acme-plugin/index.js',
      "import { definePlugin } from '@faultyard/core';\n" +
        "export const acme = () => definePlugin({ name: 'acme', core: '^1.0.0', setup: () => ({ word: 7 }) });\n",
    );
    put('acme-plugin/vmm.js', 'export const answer = () => 42;\n');
    put(
      '@faultyard/core/package.json',
      JSON.stringify({ name: '@faultyard/core', type: 'module', exports: './index.js' }),
    );
    put('@faultyard/core/index.js', 'export const old = 1;\n');
    const input = 'lab.arm64({ plugins: [acme()] }); [api.acme.word, policy.acme.answer()].join()';
    expect(await program(['--plugin', 'acme-plugin'], { cwd, input })).toEqual({
      out: "'7,42'\n",
      err: '',
      status: 0,
    });
  }, 30_000);
  test('a script that throws -> where, and 1; one that is not there -> 2', async () => {
    const cwd = folder();
    writeFileSync(
      join(cwd, 'bad.ts'),
      'interface Gone {\n  x: 1;\n}\nfunction f(): never {\n  throw new Error("here");\n}\nf();\n',
    );
    const bad = await program(['script', 'bad.ts'], { cwd });
    expect(bad.err).toMatch(/^Error: here\n.*bad\.ts:5:/);
    expect([bad.out, bad.status]).toEqual(['', 1]);
    const gone = await program(['script', 'gone.ts'], { cwd });
    expect(gone.err).toContain('there is no file gone.ts');
    expect(gone.status).toBe(2);
  }, 30_000);
  test('SIGINT without a terminal -> ends the line, synchronous or waiting, not the session', async () => {
    const child = spawn(process.execPath, PROGRAM, {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: environment(),
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    const sees = async (text: string): Promise<void> => {
      for (let waited = 0; !out.includes(text); waited += 20) {
        if (waited > 20_000 || child.exitCode !== null) throw new Error(`did not see ${text}: ${out} ${err}`);
        await setTimeout(20);
      }
    };
    for (const [i, line] of ['for (;;) {}', 'await new Promise(() => {})'].entries()) {
      child.stdin.write(`console.log('go ${i}'); ${line}\n`);
      await sees(`go ${i}`);
      await setTimeout(100);
      child.kill('SIGINT');
      child.stdin.write(`'after ${i}'\n`);
      await sees(`'after ${i}'`);
    }
    child.stdin.end();
    expect(await new Promise((done) => child.on('close', done))).toBe(0);
    expect(err.match(/interrupted/g)).toHaveLength(2);
  }, 30_000);
  test('a reader that goes away -> no message', async () => {
    const words = [process.execPath, ...PROGRAM, '--help'].map((w) => `'${w}'`).join(' ');
    const app = fileURLToPath(new URL('..', import.meta.url));
    const { stderr } = await promisify(execFile)('sh', ['-c', `${words} | true`], { cwd: app });
    expect(stderr).toBe('');
  }, 30_000);
});
