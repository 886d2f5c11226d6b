/** Guest speed: the speed guest, built now or committed. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Subject } from './subject.ts';

/** Path of a file beside this one. */
function here(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** The checksum line of the speed guest. */
export function checksum(text: string): string {
  return /^T ([0-9a-f]{16})/m.exec(text)?.[1] ?? `none in ${JSON.stringify(text.slice(-80))}`;
}

/** Where a subject's images are, and where they come from. */
export interface SpeedGuest {
  readonly directory: string;
  readonly origin: string;
}

/** Builds the speed guest into `directory` if a compiler for it is there, else takes the committed images. */
export function speedGuest(s: Subject, directory: string): SpeedGuest {
  const r = spawnSync('sh', [here(`guest/build-${s.tag}.sh`), directory], { encoding: 'utf8' });
  if (r.status === 0) return { directory, origin: `guest built now by ${r.stdout.trim()}` };
  return { directory: here('guest'), origin: 'committed guest image' };
}

/** An image of the speed guest. */
export function speedImage(
  s: Subject,
  g: SpeedGuest,
  scale: 1 | 10,
): { readonly path: string; readonly bytes: Uint8Array } {
  const path = join(g.directory, `speed-${s.tag}-${scale}.elf`);
  return { path, bytes: readFileSync(path) };
}
