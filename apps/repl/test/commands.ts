/** The command line: in process with a third party's plugin, and as a program of its own. */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as core from '@faultyard/core';
import pc from 'picocolors';
import type { LoadedPackage } from '../src/builtin.ts';
import { cli } from '../src/cli.ts';
import { collect } from './piped.ts';

/** The fixture plugin's path. */
export const ABACUS: string = fileURLToPath(new URL('./fixtures/abacus.ts', import.meta.url));

/** What a command wrote, and its exit status. */
export interface Said {
  readonly out: string;
  readonly err: string;
  readonly status: number | null;
}

/** How a command is run in process. */
export interface InProcess {
  /** Piped into a session. */
  readonly input?: string;
  readonly columns?: number;
  /** Output is a terminal that can redraw lines. */
  readonly live?: boolean;
  /** Standard error is one. */
  readonly progress?: boolean;
}

const BUILTIN: readonly LoadedPackage[] = [
  { specifier: '@faultyard/core', main: core, globals: ['gpa', 'gva', 'hva'] },
];

/** Imports a path from where the tests stand, a package from beside them. */
function load(specifier: string): Promise<unknown> {
  const from = /^[./]/.test(specifier) ? pathToFileURL(resolve(specifier)).href : specifier;
  return import(/* @vite-ignore */ from);
}

/** Runs a command line in this process, with the fixture plugin loaded. */
export async function command(
  args: readonly string[],
  { input = '', columns = 100, live = false, progress = false }: InProcess = {},
): Promise<Said> {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const out = collect(stdout);
  const err = collect(stderr);
  stdin.end(input);
  const status = await cli([...args, '--plugin', ABACUS], {
    io: {
      input: stdin,
      out: stdout,
      err: stderr,
      terminal: false,
      live,
      progress,
      colors: pc.createColors(false),
      columns: () => columns,
      env: {},
    },
    version: '1.2.3',
    builtin: BUILTIN,
    load,
  });
  return { out: out(), err: err(), status };
}

/** Node's arguments to start the program. */
export const PROGRAM: readonly string[] = [
  '--import',
  'tsx',
  '--conditions=@faultyard/source',
  fileURLToPath(new URL('../src/main.ts', import.meta.url)),
];

/** The environment of the tests without what changes colours or history. */
export function environment(): NodeJS.ProcessEnv {
  const { FORCE_COLOR: _force, NO_COLOR: _no, COLUMNS: _columns, ...rest } = process.env;
  return { ...rest, FAULTYARD_HISTORY: '' };
}

/** Runs the program; `cwd` is where the user stands. */
export async function program(
  args: readonly string[],
  options: { readonly input?: string; readonly cwd?: string } = {},
): Promise<Said> {
  const app = fileURLToPath(new URL('..', import.meta.url));
  const child = spawn(process.execPath, [...PROGRAM, ...args], {
    cwd: app,
    env: { ...environment(), npm_lifecycle_event: 'start', INIT_CWD: options.cwd ?? app },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  child.stdin.end(options.input ?? '');
  const status = await new Promise<number | null>((done) => child.on('close', done));
  return { out, err, status };
}
