/** Small C programs, compiled and run where a compiler is installed: the other opinion on bytes and numbers. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missing, output, scratch } from './tools.ts';

/** A target a C program can be built for and run on here. */
export type Target = 'native' | 'aarch64';

const COMPILER: Readonly<Record<Target, string>> = { native: 'gcc', aarch64: 'aarch64-linux-gnu-gcc' };
const RUNNER: Readonly<Record<Target, readonly string[]>> = { native: [], aarch64: ['qemu-aarch64'] };

/** What is missing to build and run programs for a target; `undefined` when nothing is. */
export function missingFor(target: Target): string | undefined {
  return missing(COMPILER[target], ...RUNNER[target]);
}

/** A C program. */
export interface CProgram {
  /** Source file. */
  readonly source: URL;
  readonly target?: Target;
  /** Compiler flags beyond `-O1 -static -Wall -Werror`. */
  readonly flags?: readonly string[];
  readonly stdin?: Uint8Array | string;
  /** Arguments of the emulator that runs it, e.g. `-cpu neoverse-n1`. */
  readonly emulator?: readonly string[];
  /** Milliseconds until it is killed. Default 60,000. */
  readonly timeout?: number;
}

/** Compiles and runs a C program; returns its standard output. @throws Error with the compiler's or its own words. */
export function runC(p: CProgram): string {
  return new TextDecoder().decode(runCBytes(p));
}

/** {@link runC} for a program that writes bytes. */
export function runCBytes(p: CProgram): Uint8Array {
  const target = p.target ?? 'native';
  return scratch((dir) => {
    const exe = join(dir, 'program');
    const flags = ['-O1', '-static', '-Wall', '-Werror', ...(p.flags ?? [])];
    output(COMPILER[target], [...flags, '-o', exe, fileURLToPath(p.source)]);
    const [program = exe, ...args] =
      target === 'native' ? [exe] : [...RUNNER[target], ...(p.emulator ?? []), exe];
    return output(program, args, {
      ...(p.stdin === undefined ? {} : { stdin: p.stdin }),
      ...(p.timeout === undefined ? {} : { timeout: p.timeout }),
    });
  });
}

/** What an oracle said, now or earlier. */
export interface Capture {
  readonly text: string;
  /** `live`: it ran here; `recorded`: it said so on another machine. */
  readonly how: 'live' | 'recorded';
  /** What was said when it was recorded; absent when this is the first time. */
  readonly recorded?: string;
  /** Why it did not run, for the test's title. */
  readonly why?: string;
}

/** Options of {@link capture}. */
export interface CaptureOptions {
  /** Committed file with the output, in a folder `recorded/`. */
  readonly record: URL;
  /** Why it cannot run here ({@link missing}), or `undefined`. */
  readonly unless: string | undefined;
  /** Runs the oracle here and returns what it says. */
  live(): string;
}

/**
 * The output of an oracle: run where its tools are installed, else the committed recording. With `FAULTYARD_RECORD=1` a
 * live run replaces the recording.
 * @throws Error when it can neither run nor was recorded.
 */
export function capture(o: CaptureOptions): Capture {
  const recorded = existsSync(o.record) ? readFileSync(o.record, 'utf8') : undefined;
  const before = recorded === undefined ? {} : { recorded };
  if (o.unless === undefined) {
    const text = o.live();
    if (process.env['FAULTYARD_RECORD'] !== '1') return { text, how: 'live', ...before };
    writeFileSync(o.record, text);
    return { text, how: 'live', recorded: text };
  }
  if (recorded === undefined) throw new Error(`${o.record.pathname}: not recorded, and ${o.unless}`);
  return { text: recorded, how: 'recorded', why: o.unless, ...before };
}
