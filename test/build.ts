/** Builds the packages once, before tests that pack them run side by side. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** The compiler's complaints about the packages, `''` if it has none. */
    readonly build: string;
  }
}

/** Runs before all tests of this folder. */
export function setup(project: TestProject): void {
  const root = dirname(import.meta.dirname);
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  const { status, stdout, error } = spawnSync(tsc, ['-b', 'tsconfig.build.json', '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  project.provide('build', status === 0 ? '' : `${error ?? stdout}`);
}
