/** Snapshots, restores, hashes and forks of a whole VM whose 256 MiB the guest has all written. */
import { arm64, assemble } from '@faultyard/arch-arm64';
import { createVm, memoryBenchmark } from '@faultyard/core';
import { type Clock, median } from './measure.ts';
import type { Row } from './report.ts';

const RAM = 0x4000_0000n;
const MIB = 1n << 20n;
const CODE = RAM + 256n * MIB;
const FORKS = 100;

/** Stores to one word of each of x1 pages from x0 on, then spins. */
const toucher = assemble(
  `
    again:
      str x1, [x0]
      add x0, x0, #4096
      subs x1, x1, #1
      b.ne again
      b .`,
  { origin: CODE },
);

function machine() {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 257n * MIB }] });
  vm.write(CODE, toucher.bytes);
  return vm;
}

/** Has the guest store to the first `pages` pages of its memory. */
function touch(vm: ReturnType<typeof machine>, pages: number): void {
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  cpu.pc = CODE;
  cpu.set('x0', RAM);
  cpu.set('x1', pages);
  const e = cpu.run(4 * pages);
  if (e.kind !== 'budget' || vm.peek(RAM + BigInt(pages - 1) * 4096n) !== 1n)
    throw new Error(`the guest left with ${e.kind}`);
}

/** The figures; every time is the median of `rounds`, but for the forks. */
export function memoryRows(clock: Clock, rounds: number): Row[] {
  const time = (f: () => void): number => {
    const t = clock.now();
    f();
    return clock.now() - t;
  };
  const rows: Row[] = [];
  const row = (name: string, value: number, unit: string, o: { most?: number; note?: string } = {}): void => {
    rows.push({
      group: 'snapshots',
      name,
      value,
      unit,
      ...(o.most === undefined ? {} : { wanted: { most: o.most } }),
      ...(o.note === undefined ? {} : { note: o.note }),
    });
  };
  const perPage = (ms: number, pages: number): { note: string } => ({
    note: `${Math.round((ms * 1e6) / pages)} ns a page`,
  });

  let vm = machine();
  const touches: number[] = [];
  for (let i = 0; i < rounds; i++) {
    vm.dispose();
    vm = machine();
    touches.push(time(() => touch(vm, 65536)));
  }
  row('first stores to 256 MiB', median(touches), 'ms', perPage(median(touches), 65536));

  const hashes: number[] = [];
  for (let i = 0; i < rounds; i++) hashes.push(time(() => vm.stateHash()));
  row('state hash, 256 MiB written since the last', median(hashes), 'ms');

  for (let i = 0; i < 20; i++) vm.snapshot().dispose();
  const takes: number[] = [];
  const first: number[] = [];
  const second: number[] = [];
  const restores: number[] = [];
  const again: number[] = [];
  for (let i = 0; i < rounds; i++) {
    touch(vm, 65536);
    let s = vm.snapshot();
    s.dispose();
    takes.push(
      time(() => {
        s = vm.snapshot();
      }),
    );
    const hash = vm.stateHash();
    again.push(time(() => vm.stateHash()));
    first.push(time(() => touch(vm, 4096)));
    second.push(time(() => touch(vm, 4096)));
    restores.push(time(() => vm.restore(s)));
    if (vm.stateHash() !== hash) throw new Error('the restored VM has another hash');
    s.dispose();
  }
  row('snapshot, 256 MiB written', median(takes), 'ms', { most: 1 });
  row('restore after 16 MiB were dirtied', median(restores), 'ms', { most: 10 });
  row('first stores to 16 MiB after a snapshot', median(first), 'ms', perPage(median(first), 4096));
  row('the same stores once more', median(second), 'ms', perPage(median(second), 4096));
  row('state hash again, nothing written, a snapshot held', median(again), 'ms');

  const rss = process.memoryUsage().rss;
  const frames = vm.host.framesInUse;
  const forks: (typeof vm)[] = [];
  const forking = time(() => {
    for (let i = 0; i < FORKS; i++) forks.push(vm.fork());
  });
  for (const f of forks) touch(f, 1);
  const grown = (process.memoryUsage().rss - rss) / 2 ** 20;
  const note = `${vm.host.framesInUse - frames} frames of 4 KiB; copies would take ${FORKS * 257} MiB`;
  for (const f of forks) f.dispose();
  vm.dispose();
  row(`${FORKS} forks, all alive`, forking, 'ms', { note: `${(forking / FORKS).toFixed(2)} ms each` });
  row(`memory of ${FORKS} forks whose guests stored to one page`, grown, 'MiB', { note });

  const alone = memoryBenchmark(clock.now, 256, rounds);
  const of = (name: string, value: number): void => row(`memory alone, no vCPU: ${name}`, value, 'ms');
  of('snapshot', alone.snapshotMs);
  of('restore after 16 MiB', alone.restoreMs);
  of('hash of 256 MiB', alone.hashMs);
  of('hash with a snapshot held', alone.hashAgainMs);
  return rows;
}
