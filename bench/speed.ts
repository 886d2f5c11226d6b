/** Guest speed: the speed guest on this engine through the public API, and on QEMU TCG where it is installed. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { arm64 } from '@faultyard/arch-arm64';
import { createVm } from '@faultyard/core';
import { loadElf, virtBoard } from '@faultyard/vmm';
import type { Clock } from './measure.ts';

const RAM = 0x4000_0000n;

/** Path of a file beside this one. */
function here(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** One run of a guest to its SYSTEM_OFF. */
export interface GuestRun {
  readonly instructions: number;
  /** Milliseconds of the clock. */
  readonly ms: number;
  /** What it printed. */
  readonly text: string;
}

/** Runs an image on a fresh VM with 64 MiB; only running is timed. */
export function runGuest(image: Uint8Array, clock: Clock): GuestRun {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 64n << 20n }] });
  const board = virtBoard(vm);
  const cpu = vm.vcpus[0] ?? vm.vcpus[0]!;
  cpu.pc = loadElf(vm, image).entry;
  const started = clock.now();
  const end = vm.drive(board.handler as never);
  const ms = clock.now() - started;
  const run = { instructions: cpu.retired, ms, text: board.uart.text };
  vm.dispose();
  if (end.exit.kind !== 'system-event') throw new Error(`the guest ended with ${end.exit.kind}: ${end.why}`);
  return run;
}

/** The checksum line of the speed guest. */
export function checksum(text: string): string {
  return /^T ([0-9a-f]{16})/m.exec(text)?.[1] ?? `none in ${JSON.stringify(text.slice(-80))}`;
}

/** Whether QEMU's AArch64 system emulator is installed, and its version. */
export function qemuVersion(): string | undefined {
  const r = spawnSync('qemu-system-aarch64', ['--version'], { encoding: 'utf8' });
  return r.status === 0 ? /version (\S+)/.exec(r.stdout)?.[1] : undefined;
}

/** One run of an image on QEMU TCG: CPU milliseconds of the whole process, and what the guest printed. */
export function runQemu(image: string): { readonly ms: number; readonly text: string } {
  const command =
    'qemu-system-aarch64 -M virt -cpu cortex-a57 -m 128 -accel tcg -nographic -no-reboot -kernel "$0"; times';
  const r = spawnSync('sh', ['-c', command, image], { encoding: 'utf8', timeout: 120_000 });
  const times = [...r.stdout.matchAll(/(\d+)m([\d.]+)s (\d+)m([\d.]+)s/g)].at(-1);
  if (!times) throw new Error(`qemu-system-aarch64 failed: ${r.stderr}`);
  const [um, us, sm, ss] = times.slice(1).map(Number) as [number, number, number, number];
  return { ms: (um * 60 + us + sm * 60 + ss) * 1000, text: r.stdout };
}

/** Where the speed guest's images are, and where they come from. */
export interface SpeedGuest {
  readonly directory: string;
  readonly origin: string;
}

/** Builds the speed guest into `directory` if a cross compiler is there, else takes the committed images. */
export function speedGuest(directory: string): SpeedGuest {
  const r = spawnSync('sh', [here('guest/build.sh'), directory], { encoding: 'utf8' });
  if (r.status === 0) return { directory, origin: `guest built now by ${r.stdout.trim()}` };
  return { directory: here('guest'), origin: 'committed guest image' };
}

/** An image of the speed guest. */
export function speedImage(
  g: SpeedGuest,
  scale: 1 | 10,
): { readonly path: string; readonly bytes: Uint8Array } {
  const path = join(g.directory, `speed-${scale}.elf`);
  return { path, bytes: readFileSync(path) };
}
