/** What snapshots, restores and forks of guest memory cost. */
import { PAGE_SIZE } from '../address.ts';
import { StateHash } from '../cell.ts';
import { Memslots } from '../memslot.ts';
import { Stage2 } from '../stage2.ts';
import { drive } from '../task.ts';
import { AddressSpace } from './address-space.ts';
import { HostMemory } from './memory.ts';

/** Medians, in milliseconds unless named otherwise. */
export interface MemoryBenchmark {
  /** Guest memory, all written, in MiB. */
  readonly mib: number;
  readonly firstTouchMs: number;
  readonly snapshotMs: number;
  /** One store to each of 4096 pages after a snapshot, with no vCPU attached: nanoseconds a page. */
  readonly firstStoreNs: number;
  /** Restore after 16 MiB were dirtied. */
  readonly restoreMs: number;
  /** Content hash of everything, nothing cached; and again with a snapshot behind it. */
  readonly hashMs: number;
  readonly hashAgainMs: number;
  /** 100 forks that all stay alive. */
  readonly forksMs: number;
  /** Frames that 100 forks take, with one page written in each. */
  readonly forkFrames: number;
}

/**
 * Measures copy-on-write guest memory. `now` returns milliseconds (below apps there is no clock). Needs about twice
 * `mib` of host memory.
 */
export function memoryBenchmark(now: () => number, mib: number = 256, rounds: number = 5): MemoryBenchmark {
  const host = new HostMemory({ bytes: Math.max(64, 2 * mib + 128) * 2 ** 20 });
  const space = new AddressSpace(host);
  const slots = new Memslots(space, {
    ids: 32767,
    addressSpaces: 1,
    gpaLimit: 2 ** 40,
    beyondLimit: 'EFAULT',
    refusesDirtyPfnmap: true,
  });
  const stage2 = new Stage2(space, slots, { invalidSlot: 'noslot', vmaFirst: true, execDevice: 'refuse' });
  const pages = mib * 256;
  const first = 0x40000;
  const hva = space.map({ size: pages * PAGE_SIZE });
  drive(slots.set({ slot: 0, gpa: first * PAGE_SIZE, size: pages * PAGE_SIZE, hva }));
  const time = (f: () => void): number => {
    const t = now();
    f();
    return now() - t;
  };
  const median = (f: () => number): number => {
    const t = Array.from({ length: rounds }, f).sort((a, b) => a - b);
    return t[rounds >> 1] as number;
  };
  const dirty = (n: number, value: number): void => {
    for (let i = 0; i < n; i++) {
      const at = stage2.lookup(first + i, true);
      host.i32[at >>> 2] = value + i;
    }
  };
  const firstTouchMs = time(() => {
    for (let i = 0; i < pages; i++)
      drive(stage2.fault({ gpa: (first + i) * PAGE_SIZE, write: true, exec: false, origin: 'hardware' }));
    dirty(pages, 1);
  });
  const hash = (): void => slots.hash(new StateHash().feed);
  const hashMs = median(() => time(hash));
  const image = space.save();
  const storesAt: number[] = [];
  const restoreMs = median(() => {
    const n = Math.min(4096, pages);
    storesAt.push((time(() => dirty(n, 7)) * 1e6) / n);
    const t = time(() => space.restore(image));
    // Fault the restored pages in again, so that every round starts alike.
    for (let i = 0; i < n; i++)
      drive(stage2.fault({ gpa: (first + i) * PAGE_SIZE, write: false, exec: false, origin: 'hardware' }));
    return t;
  });
  const snapshotMs = median(() => {
    let kept = image;
    const t = time(() => {
      kept = space.save();
    });
    kept.dispose();
    return t;
  });
  hash();
  const hashAgainMs = median(() => time(hash));
  const before = host.framesInUse;
  const forks: AddressSpace[] = [];
  const forksMs = time(() => {
    for (let i = 0; i < 100; i++) {
      const f = space.fork();
      f.write(hva + (i % pages) * PAGE_SIZE, Uint8Array.of(i));
      forks.push(f);
    }
  });
  const forkFrames = host.framesInUse - before;
  for (const f of forks) f.dispose();
  image.dispose();
  space.dispose();
  return {
    mib,
    firstTouchMs,
    snapshotMs,
    firstStoreNs: storesAt.sort((a, b) => a - b)[rounds >> 1] as number,
    restoreMs,
    hashMs,
    hashAgainMs,
    forksMs,
    forkFrames,
  };
}
