/** Type-checks and runs every example of a workspace's pages and doc comments. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withChecks } from './expect.ts';
import { type Example, examplesOfPage, examplesOfSource } from './extract.ts';

const here = dirname(fileURLToPath(import.meta.url));
const repository = dirname(dirname(here));
const condition = '@faultyard/source';
/** How long the examples of one page or package may take together, in milliseconds. */
const patience = 60_000;

/** What came of the examples. */
export interface Outcome {
  readonly ran: number;
  readonly typeCheckedOnly: number;
  /** `path:line: reason`, for examples that do not compile, throw, or show something else than they say. */
  readonly problems: readonly string[];
}

/** One module made of an example and those that continue it. */
interface Module {
  readonly path: string;
  readonly line: number;
  readonly file: string;
  readonly run: boolean;
}

function filesBelow(root: string, folder: string, suffix: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder))
    .sort()
    .flatMap((name) => {
      const path = `${folder}/${name}`;
      if (name === 'node_modules' || name === 'api' || name.startsWith('.')) return [];
      if (statSync(join(root, path)).isDirectory()) return filesBelow(root, path, suffix);
      return name.endsWith(suffix) ? [path] : [];
    });
}

/** Examples by the process that shall run them: one for each page, one for each package's doc comments. */
function collect(root: string): Map<string, Example[]> {
  const groups = new Map<string, Example[]>();
  const text = (path: string): string => readFileSync(join(root, path), 'utf8');
  const members = ['packages', 'apps'].flatMap((parent) =>
    existsSync(join(root, parent)) ? readdirSync(join(root, parent)).map((name) => `${parent}/${name}`) : [],
  );
  const pages = ['README.md', ...members.map((member) => `${member}/README.md`)].filter((path) =>
    existsSync(join(root, path)),
  );
  for (const page of [...pages, ...filesBelow(root, 'docs', '.md')])
    groups.set(page, examplesOfPage(page, text(page)));
  for (const member of members)
    groups.set(
      member,
      filesBelow(root, `${member}/src`, '.ts').flatMap((path) => examplesOfSource(path, text(path))),
    );
  return groups;
}

/** Writes the modules of one group into `folder`, each line of code at its number in its page. */
function write(folder: string, examples: readonly Example[], problems: string[]): Module[] {
  const modules: { module: Module; lines: string[] }[] = [];
  const checks = relative(folder, join(here, 'checks.ts'));
  for (const { path, line, code, mode } of examples) {
    let checked = code;
    try {
      checked = withChecks(code, line);
    } catch (error) {
      problems.push(`${path}:${line}: ${(error as Error).message}`);
    }
    const before = modules.at(-1);
    let lines: string[];
    if (mode === 'continue' && before?.module.path === path) lines = before.lines;
    else {
      const name = `${path.replace(/[^\w]+/g, '-')}-${line}.ts`;
      lines = [`import { prints as __prints, shows as __shows } from '${checks}'; void [__prints, __shows];`];
      modules.push({ module: { path, line, file: join(folder, name), run: mode === 'run' }, lines });
    }
    while (lines.length < line - 1) lines.push('');
    lines.push(...checked.split('\n'));
  }
  for (const { module, lines } of modules) writeFileSync(module.file, `${lines.join('\n')}\n`);
  return modules.map(({ module }) => module);
}

/** Type errors inside the modules; errors of the sources they import are the type check's business. */
function typeCheck(folder: string, modules: readonly Module[]): string[] {
  const settings = {
    extends: relative(folder, join(repository, 'tsconfig.check.json')),
    include: ['*.ts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  const tsc = join(repository, 'node_modules', '.bin', 'tsc');
  const { stdout, status, error } = spawnSync(tsc, ['--noEmit', '--pretty', 'false', '-p', folder], {
    cwd: folder,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (error) throw error;
  const problems: string[] = [];
  for (const [, name, line, reason] of stdout.matchAll(/^([^\s(]+)\((\d+),\d+\): error (.*)$/gm)) {
    const module = modules.find(({ file }) => file === join(folder, name ?? ''));
    if (module) problems.push(`${module.path}:${line}: ${reason}`);
  }
  if (status !== 0 && !stdout.includes('error TS')) throw new Error(`tsc ended with ${status}: ${stdout}`);
  return problems;
}

/** Runs the modules of one group in one process. */
function run(modules: readonly Module[], folder: string): Promise<string[]> {
  const files = modules.map(({ file }) => file);
  const args = ['--import', 'tsx', `--conditions=${condition}`, join(here, 'run.ts'), ...files];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    timeout: patience,
  });
  let errors = '';
  let report = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    report += chunk;
  });
  return new Promise((done) => {
    child.on('close', (status, signal) => {
      const results = report
        .split('\n')
        .filter(Boolean)
        .map((line): { path: string; error?: string } => JSON.parse(line));
      const problems = results.flatMap(({ path, error }) => {
        const module = modules.find(({ file }) => file === path);
        if (!module || error === undefined) return [];
        const line = new RegExp(`${path.replace(/[.\\]/g, '\\$&')}:(\\d+)`).exec(error)?.[1] ?? module.line;
        return [`${module.path}:${line}: ${error.replaceAll(path, module.path)}`];
      });
      const ended = modules[results.length];
      if (ended)
        problems.push(
          `${ended.path}:${ended.line}: the process ended with ${signal ?? status}\n${errors.trimEnd()}`,
        );
      done(problems);
    });
  });
}

/** Checks every example of the workspace at `root`, writing the modules below it into `.examples`. */
export async function checkExamples(root: string): Promise<Outcome> {
  const folder = join(root, '.examples');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const problems: string[] = [];
  const groups = [...collect(root).values()].map((examples) => write(folder, examples, problems));
  const modules = groups.flat();
  const waiting = groups.map((group) => group.filter((module) => module.run)).filter((group) => group.length);
  const ran = waiting.reduce((sum, group) => sum + group.length, 0);
  if (modules.length) problems.push(...typeCheck(folder, modules));
  const worker = async (): Promise<void> => {
    for (let group = waiting.shift(); group; group = waiting.shift())
      problems.push(...(await run(group, folder)));
  };
  await Promise.all([worker(), worker()]);
  if (!problems.length) rmSync(folder, { recursive: true, force: true });
  return { ran, typeCheckedOnly: modules.length - ran, problems };
}
