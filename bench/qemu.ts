/** QEMU beside us: the same images under TCG. */
import { spawnSync } from 'node:child_process';
import type { Subject } from './subject.ts';

/** Whether a subject's QEMU is installed, and its version. */
export function qemuVersion(s: Subject): string | undefined {
  const r = spawnSync(s.qemu.binary, ['--version'], { encoding: 'utf8' });
  return r.status === 0 ? /version (\S+)/.exec(r.stdout)?.[1] : undefined;
}

/** One run of an image: CPU milliseconds of the whole process, and what the guest printed. */
export function runQemu(s: Subject, image: string): { readonly ms: number; readonly text: string } {
  const words = [s.qemu.binary, ...s.qemu.arguments(image)].map((w) => `'${w}'`).join(' ');
  // the guest's exit port makes QEMU's status, which says nothing here
  const r = spawnSync('sh', ['-c', `${words}; times`], { encoding: 'utf8', timeout: 120_000 });
  const times = [...r.stdout.matchAll(/(\d+)m([\d.]+)s (\d+)m([\d.]+)s/g)].at(-1);
  if (!times) throw new Error(`${s.qemu.binary} failed: ${r.stderr}`);
  const [um, us, sm, ss] = times.slice(1).map(Number) as [number, number, number, number];
  return { ms: (um * 60 + us + sm * 60 + ss) * 1000, text: r.stdout };
}
