/** The program on a real terminal: a pty that script(1) makes. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import xterm from '@xterm/headless';
import { afterEach, describe, expect, test } from 'vitest';
import { environment, PROGRAM } from './commands.ts';

const hasScript = spawnSync('script', ['--version']).status === 0;
const CTRL_C = '\x03';
const PATIENCE_MS = 20_000;
const COLUMNS = 100;
const ROWS = 40;

let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill('SIGKILL');
});

/** A person at a terminal. */
interface Person {
  /** Types a line and presses Enter. */
  type(line: string): void;
  press(key: string): void;
  /** Waits for new output that matches; returns it. */
  sees(pattern: RegExp): Promise<string>;
  /** Waits until the screen shows the prompt with this text left of the cursor, however the program draws it. */
  seesTyped(text: string): Promise<void>;
  /** Waits for the end of the program. */
  leaves(): Promise<number | null>;
}

/** Sits down at a terminal with the program running. */
function sitDown(env: NodeJS.ProcessEnv = {}): Person {
  const words = [process.execPath, ...PROGRAM].map((w) => `'${w}'`).join(' ');
  const started = spawn(
    'script',
    ['-qfec', `stty cols ${COLUMNS} rows ${ROWS}; exec ${words}`, '/dev/null'],
    {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...environment(), TERM: 'xterm', ...env },
    },
  );
  child = started;
  const screen = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
  const leftOfCursor = (): string => {
    const { active } = screen.buffer;
    const row = active.getLine(active.baseY + active.cursorY);
    return row?.translateToString(false, 0, active.cursorX) ?? '';
  };
  let text = '';
  let seen = 0;
  started.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    screen.write(chunk);
  });
  const press = (key: string): void => {
    started.stdin.write(key);
  };
  return {
    press,
    type: (line) => press(`${line}\r`),
    async sees(pattern) {
      for (let waited = 0; waited < PATIENCE_MS; waited += 20) {
        const fresh = text.slice(seen);
        const hit = pattern.exec(fresh);
        if (hit) {
          seen += hit.index + hit[0].length;
          return hit[0];
        }
        await setTimeout(20);
      }
      throw new Error(`did not see ${pattern} in ${JSON.stringify(text.slice(seen))}`);
    },
    async seesTyped(typed) {
      const wanted = `fy> ${typed}`;
      for (let waited = 0; waited < PATIENCE_MS; waited += 20) {
        if (leftOfCursor() === wanted) return;
        await setTimeout(20);
      }
      throw new Error(`left of the cursor stands ${JSON.stringify(leftOfCursor())}, not "${wanted}"`);
    },
    leaves: () => new Promise((resolve) => started.on('close', resolve)),
  };
}

/** A line that says when it runs, in words that its echo does not have. */
const announced = (line: string): string => `console.log('g' + 'o!'); ${line}`;

describe.skipIf(!hasScript)(`on a pty${hasScript ? '' : ' (skipped: script(1) is not installed)'}`, () => {
  test('endless loops, before and after an await -> Ctrl-C ends the line, not the session', async () => {
    const person = sitDown();
    await person.sees(/fy> /);
    for (const line of [
      'for (;;) {}',
      'await 0; for (;;) {}',
      'await new Promise(() => {})',
      'while (true) await 0',
    ]) {
      person.type(announced(line));
      await person.sees(/go!/);
      await setTimeout(100);
      person.press(CTRL_C);
      await person.sees(/interrupted; the session goes on/);
      person.type('"still " + 6 * 7');
      await person.sees(/'still 42'/);
    }
    person.type('.exit');
    expect(await person.leaves()).toBe(0);
  }, 60_000);

  test('a guest that never stops -> Ctrl-C stops it between instructions, and it can go on', async () => {
    const person = sitDown();
    await person.sees(/fy> /);
    person.type('const { vm, cpu, asm } = lab.arm64()');
    person.type('load(0x4000_0000n, asm`1: add x0, x0, #1; b 1b`)');
    for (const line of ['run(1e12)', 'for (;;) cpu.run(1000)', 'vm.drive(() => resume, 1000)']) {
      person.type(announced(line));
      await person.sees(/go!/);
      await setTimeout(300);
      person.press(CTRL_C);
      await person.sees(/interrupted; the session goes on/);
      // two instructions a turn: pc and the count agree only if no instruction was cut in half
      person.type(
        '"agree " + (cpu.retired % 2 === Number(cpu.pc - 0x4000_0000n) / 4 && BigInt(Math.ceil(cpu.retired / 2)) === cpu.x0)',
      );
      await person.sees(/'agree true'/);
      person.type('const before = cpu.retired; run(10); "ran " + (cpu.retired - before)');
      await person.sees(/'ran 10'/);
    }
    const file = join(mkdtempSync(join(tmpdir(), 'faultyard-terminal-')), 'endless.ts');
    writeFileSync(file, 'lab.arm64(); load(0x4000_0000n, asm`b .`); console.log("g" + "o!"); run(1e12);\n');
    person.type(`.script ${file}`);
    await person.sees(/go!/);
    await setTimeout(300);
    person.press(CTRL_C);
    await person.sees(/interrupted; the session goes on/);
    person.type('"mine: " + hex(cpu.pc).slice(0, 9)');
    await person.sees(/'mine: 0x4000000'/);
    person.press('\x04');
    expect(await person.leaves()).toBe(0);
  }, 60_000);

  test('lines broken off while they print -> the session prints on', async () => {
    const person = sitDown();
    await person.sees(/fy> /);
    for (let n = 1; n <= 4; n++) {
      person.type('for (;;) console.log("flo" + "od")');
      await person.sees(/flood/);
      await setTimeout(200);
      person.press(CTRL_C);
      await person.sees(/interrupted; the session goes on/);
      person.type(`"answer " + 6 * ${n}`);
      await person.sees(new RegExp(`'answer ${6 * n}'`));
    }
  }, 60_000);

  test('a decision table that is drawn -> Ctrl-C ends it between cells, typed or as a command', async () => {
    const person = sitDown();
    await person.sees(/fy> /);
    for (const line of ['matrix("sea")', '.matrix sea']) {
      person.type(line);
      await person.sees(/1\/ldrh/);
      person.press(CTRL_C);
      await person.sees(/interrupted; the session goes on/);
      person.type('"answer " + 6 * 7');
      await person.sees(/'answer 42'/);
    }
  }, 60_000);

  test('tab -> registers and members; arrow up -> the last line; history -> in the file', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'faultyard-terminal-')), 'history');
    const person = sitDown({ FAULTYARD_HISTORY: file });
    await person.sees(/fy> /);
    person.type('const { vm, cpu } = lab.arm64({ plugins: [sea()] })');
    // a preview may stand right of the cursor before the key is pressed: what was completed is left of it
    person.press('cpu.far_');
    person.press('\t');
    await person.seesTyped('cpu.far_el1');
    person.press('\x15vm.enableC');
    person.press('\t');
    await person.seesTyped('vm.enableCap');
    person.press('\x15api.sea.kn');
    person.press('\t');
    await person.seesTyped('api.sea.knobs');
    person.press("\x15help('sea.walkR");
    person.press('\t');
    await person.seesTyped("help('sea.walkRule");
    person.press('\x15lab.ar');
    person.press('\t');
    await person.seesTyped('lab.arm64');
    person.press('\x15');
    person.type('"first " + (1 + 1)');
    await person.sees(/'first 2'/);
    person.press('\x1b[A\r');
    await person.sees(/'first 2'/);
    person.type('.exit');
    await person.leaves();
    expect(readFileSync(file, 'utf8')).toContain('"first " + (1 + 1)\n');
  }, 60_000);
});
