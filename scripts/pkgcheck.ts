// `npm run pkgcheck`: publint and attw on the tarballs of every package, as an ESM-only package.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packAll } from './pack.ts';

const bin = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules', '.bin');
const folder = mkdtempSync(join(tmpdir(), 'pkgcheck-'));
let failed = 0;

function check(tool: string, args: readonly string[]): void {
  const { status, stdout, stderr, error } = spawnSync(join(bin, tool), args, {
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (status === 0) return;
  failed++;
  console.error(`${tool} ${basename(args[0] === 'run' ? (args[1] ?? '') : (args[0] ?? ''))}`);
  console.error(error ?? stdout + stderr);
}

try {
  const tarballs = packAll(folder);
  for (const tarball of tarballs.values()) {
    check('publint', ['run', tarball, '--strict']);
    check('attw', [tarball, '--profile', 'esm-only', '--no-emoji', '--format', 'ascii']);
  }
  console.log(`pkgcheck: ${tarballs.size} packages, ${failed} problems`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
