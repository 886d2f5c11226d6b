/** Builds the tarballs that would be published. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pnpm = join(root, 'node_modules', 'pnpm', 'bin', 'pnpm.cjs');

/**
 * Packs packages of the workspace, as built, into `folder`: all, or those in the folders named. Returns the tarballs'
 * paths by package folder.
 */
export function packAll(
  folder: string,
  names: readonly string[] = readdirSync(join(root, 'packages')),
): Map<string, string> {
  const tarballs = new Map<string, string>();
  for (const name of [...names].sort()) {
    const cwd = join(root, 'packages', name);
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [pnpm, 'pack', '--json', '--pack-destination', folder],
      { cwd, encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`packing ${name} ended with ${status}: ${stdout}${stderr}`);
    const { filename }: { filename: string } = JSON.parse(stdout);
    tarballs.set(cwd, filename);
  }
  return tarballs;
}
