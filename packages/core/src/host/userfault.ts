/** userfaultfd for missing pages (kernel: fs/userfaultfd.c; include/uapi/linux/userfaultfd.h). */
import { PAGE_SIZE } from '../address.ts';
import { KvmError } from '../errors.ts';
import type { Task } from '../task.ts';
import type { AddressSpace } from './address-space.ts';
import { Mark } from './page-table.ts';
import { indexOf, type Vma } from './vma.ts';

const pagesOf = (op: string, addr: bigint | number, len: bigint | number): readonly [number, number] => {
  const a = Number(addr);
  const n = Number(len);
  if (a % PAGE_SIZE !== 0 || n <= 0 || n % PAGE_SIZE !== 0)
    throw new KvmError(op, 'EINVAL', 'address and length must be page aligned, length not 0');
  return [a / PAGE_SIZE, (a + n) / PAGE_SIZE];
};

/**
 * UFFDIO_REGISTER (mode MISSING) or, with `on` false, UFFDIO_UNREGISTER: a touch of an absent page of the range then
 * waits until it is resolved. Unregistering lets waiters go on.
 * @throws KvmError EINVAL for a bad range, or where something other than anonymous memory or a memfd is mapped.
 */
export function* userfaultRegister(
  s: AddressSpace,
  addr: bigint | number,
  len: bigint | number,
  on: boolean = true,
): Task<void> {
  const op = on ? 'UFFDIO_REGISTER' : 'UFFDIO_UNREGISTER';
  const [start, end] = pagesOf(op, addr, len);
  yield* s.mmapLock.write();
  try {
    const parts = s.vmas.carve(start, end);
    const bad =
      parts.length === 0 ||
      parts.some(
        (v) =>
          v.kind !== 'anon' &&
          (v.kind !== 'file' || v.backing?.kind !== 'file' || v.backing.disk !== undefined),
      );
    if (bad) throw new KvmError(op, 'EINVAL', 'only anonymous memory and memfds can be registered');
    for (const v of parts) v.userfault = on;
    if (!on) for (const p of [...s.userfaults.keys()]) if (p >= start && p < end) s.userfaults.delete(p);
  } finally {
    s.mmapLock.endWrite();
  }
}

/** Puts something where nothing is, and lets waiters go on. */
function* fill(
  s: AddressSpace,
  op: string,
  addr: number,
  len: number,
  put: (v: Vma, page: number) => void,
): Task<void> {
  const [start, end] = pagesOf(op, addr, len);
  yield* s.mmapLock.read();
  try {
    for (let p = start; p < end; p++) {
      const v = s.vmas.find(p);
      if (!v?.userfault)
        throw new KvmError(op, 'ENOENT', `0x${(p * PAGE_SIZE).toString(16)} is not registered`);
      if (s.tableOf(v.backing).get(indexOf(v, p)) !== 0)
        throw new KvmError(op, 'EEXIST', `0x${(p * PAGE_SIZE).toString(16)} has a page already`);
      put(v, p);
      s.userfaults.delete(p);
    }
  } finally {
    s.mmapLock.endRead();
  }
}

/** UFFDIO_COPY of whole pages (UFFDIO_ZEROPAGE when `bytes` is a length). @throws KvmError EINVAL, ENOENT, EEXIST. */
export function userfaultCopy(
  s: AddressSpace,
  addr: bigint | number,
  bytes: Uint8Array | number,
): Task<void> {
  const data = typeof bytes === 'number' ? undefined : bytes;
  const len = typeof bytes === 'number' ? bytes : bytes.length;
  const base = Number(addr);
  return fill(s, data ? 'UFFDIO_COPY' : 'UFFDIO_ZEROPAGE', base, len, (v, page) => {
    const pfn = s.host.allocFrame();
    const from = page * PAGE_SIZE - base;
    if (data) s.host.u8.set(data.subarray(from, from + PAGE_SIZE), pfn * PAGE_SIZE);
    s.tableOf(v.backing).put(indexOf(v, page), pfn);
  });
}

/** UFFDIO_POISON: a touch gets SIGBUS BUS_MCEERR_AR instead of a page. @throws KvmError EINVAL, ENOENT, EEXIST. */
export function userfaultPoison(s: AddressSpace, addr: bigint | number, len: number): Task<void> {
  return fill(s, 'UFFDIO_POISON', Number(addr), len, (v, page) =>
    s.tableOf(v.backing).put(indexOf(v, page), Mark.UserPoison),
  );
}
