/** Snapshots, restores and forks of a whole VM with 256 MiB of written memory. */

import { arm64, assemble } from '@faultyard/arch-arm64';
import { createVm } from '@faultyard/core';
import { type Clock, median } from './measure.ts';
import type { Row } from './report.ts';

const RAM = 0x4000_0000n;
const MIB = 1n << 20n;

/** Stores to one word of each of x1 pages from x0 on, then waits for the next order. */
const toucher = `
    again:
      str x1, [x0]
      add x0, x0, #4096
      subs x1, x1, #1
      b.ne again
      hvc #0x123
      b again`;

/** The figures; `rounds` medians. */
export function memoryRows(clock: Clock, rounds: number): Row[] {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 257n * MIB }] });
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  vm.write(RAM + 256n * MIB, assemble(toucher, { origin: RAM }).bytes);
  /** Has the guest store to `mib` of its memory; returns milliseconds. */
  const touch = (mib: number): number => {
    cpu.pc = RAM + 256n * MIB;
    cpu.set('x0', RAM);
    cpu.set('x1', mib * 256);
    const t = clock.now();
    const e = cpu.run(4 * mib * 256);
    if (e.kind !== 'budget') throw new Error(`the guest left with ${e.kind}`);
    return clock.now() - t;
  };
  const time = (f: () => void): number => {
    const t = clock.now();
    f();
    return clock.now() - t;
  };
  const row = (name: string, value: number, unit: string, most?: number, note?: string): Row => ({
    group: 'snapshots',
    name,
    value,
    unit,
    ...(most === undefined ? {} : { wanted: { most } }),
    ...(note === undefined ? {} : { note }),
  });
  const firstTouch = touch(256);
  const takes: number[] = [];
  const restores: number[] = [];
  const stores: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const s = vm.snapshot();
    stores.push(touch(16));
    restores.push(time(() => vm.restore(s)));
    s.dispose();
    touch(256);
    takes.push(
      time(() => {
        vm.snapshot().dispose();
      }),
    );
  }
  const rss = process.memoryUsage().rss;
  const framesBefore = vm.host.framesInUse;
  const forks: ReturnType<typeof vm.fork>[] = [];
  const forking = time(() => {
    for (let i = 0; i < 100; i++) forks.push(vm.fork());
  });
  for (const f of forks) f.poke(RAM, 1n);
  const frames = vm.host.framesInUse - framesBefore;
  const grown = (process.memoryUsage().rss - rss) / 2 ** 20;
  for (const f of forks) f.dispose();
  vm.dispose();
  return [
    row('first stores to 256 MiB', firstTouch, 'ms'),
    row('snapshot, 256 MiB written', median(takes), 'ms', 1),
    row(
      'first stores to 16 MiB after it',
      median(stores),
      'ms',
      undefined,
      `${Math.round((median(stores) * 1e6) / 4096)} ns a page`,
    ),
    row('restore after 16 MiB were dirtied', median(restores), 'ms', 10),
    row('100 forks, all alive', forking, 'ms'),
    row(
      'memory of 100 forks, one page written in each',
      grown,
      'MiB',
      undefined,
      `${frames} frames of 4 KiB`,
    ),
  ];
}
