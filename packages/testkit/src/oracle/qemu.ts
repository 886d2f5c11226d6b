/** QEMU as an oracle: one program under qemu-user, or a bare-metal image on qemu-system with its serial port captured. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Ran, run, scratch } from './tools.ts';

/** A bare-metal run. */
export interface QemuSystem {
  /** Program, e.g. `qemu-system-aarch64`. */
  readonly program: string;
  /** ELF or raw image given to -kernel. */
  readonly kernel: Uint8Array;
  /** `-machine`, e.g. `virt,gic-version=2`. */
  readonly machine: string;
  /** `-cpu`, e.g. `cortex-a57`. */
  readonly cpu: string;
  readonly smp?: number;
  /** Size of RAM in MiB. Default 128. */
  readonly memory?: number;
  /** Further arguments. */
  readonly args?: readonly string[];
  /** Milliseconds until it is killed. Default 60,000. */
  readonly timeout?: number;
}

/** Runs an image until it powers off (PSCI, semihosting) or the time limit; standard output is its first serial port. */
export function runQemuSystem(q: QemuSystem): Ran {
  return scratch((dir) => {
    const kernel = join(dir, 'image');
    writeFileSync(kernel, q.kernel);
    const args = [
      '-machine',
      q.machine,
      '-cpu',
      q.cpu,
      '-smp',
      String(q.smp ?? 1),
      '-m',
      String(q.memory ?? 128),
    ];
    const quiet = ['-nodefaults', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'];
    return run(q.program, [...args, ...quiet, '-kernel', kernel, ...(q.args ?? [])], {
      timeout: q.timeout ?? 60_000,
      cwd: dir,
    });
  });
}

/** Runs a Linux executable of another architecture under qemu-user. */
export function runQemuUser(
  program: string,
  executable: Uint8Array,
  o: { readonly args?: readonly string[]; readonly stdin?: Uint8Array; readonly timeout?: number } = {},
): Ran {
  return scratch((dir) => {
    const path = join(dir, 'program');
    writeFileSync(path, executable, { mode: 0o755 });
    return run(program, [path, ...(o.args ?? [])], {
      cwd: dir,
      ...(o.stdin === undefined ? {} : { stdin: o.stdin }),
      ...(o.timeout === undefined ? {} : { timeout: o.timeout }),
    });
  });
}
