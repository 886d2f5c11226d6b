/** Time of the main thread, and medians. */
import { readFileSync } from 'node:fs';

/** A clock in milliseconds. */
export interface Clock {
  readonly now: () => number;
  /** What it counts. */
  readonly kind: 'cpu' | 'wall';
}

/** Time on the wall. */
const wall: Clock = { now: () => performance.now(), kind: 'wall' };

/** CPU time of the whole process with its helper threads (collector, compiler), to the microsecond. */
export const processClock: Clock = {
  now: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  kind: 'cpu',
};

/** Time the main thread spent on a CPU, where the system tells (Linux schedstat); otherwise {@link wall}. */
export function cpuClock(): Clock {
  const path = `/proc/self/task/${process.pid}/schedstat`;
  const now = (): number => Number.parseInt(readFileSync(path, 'latin1'), 10) / 1e6;
  try {
    return Number.isFinite(now()) ? { now, kind: 'cpu' } : wall;
  } catch {
    return wall;
  }
}

/** The middle of a list. */
export function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
