/** The VMM's own loads and stores: bytes, or the signal its thread would get. */
import { type Hva, hva, PAGE_SIZE } from '../address.ts';
import { drive, type Task } from '../task.ts';
import type { AddressSpace } from './address-space.ts';
import { readDiskBytes } from './backing.ts';
import { awaitUserfault, driverFault, fastGup, Touch, touch } from './page-fault.ts';
import { indexOf, Prot, type Vma } from './vma.ts';

/** The signal that a touch of the VMM's memory raises. */
export interface HostFault {
  readonly signal: 'SIGBUS' | 'SIGSEGV';
  readonly code: 'SEGV_MAPERR' | 'SEGV_ACCERR' | 'BUS_ADRERR' | 'BUS_OBJERR' | 'BUS_MCEERR_AR';
  /** si_addr. */
  readonly addr: Hva;
  /** si_addr_lsb, with BUS_MCEERR_AR. */
  readonly lsb?: number;
}

const fault = (
  signal: HostFault['signal'],
  code: HostFault['code'],
  addr: number,
  lsb?: number,
): HostFault => ({ signal, code, addr: hva(addr), ...(lsb === undefined ? {} : { lsb }) });

/** log2 of what memory_failure took with the page, as a signal reports it. */
export function lsbOf(v: Vma): number {
  return v.kind === 'hugetlb' ? v.shift : 12;
}

/** Faults in the page at byte address `addr` for the VMM: its pfn, or the signal. */
function* reach(s: AddressSpace, addr: number, write: boolean): Task<number | HostFault> {
  const page = Math.floor(addr / PAGE_SIZE);
  for (;;) {
    yield* s.mmapLock.read();
    try {
      const v = s.vmas.find(page);
      if (!v) return fault('SIGSEGV', 'SEGV_MAPERR', addr);
      // Hardware without write-only or execute-only pages reads whatever is accessible at all.
      const ok = write ? (v.prot & Prot.Write) !== 0 : v.prot !== Prot.None;
      if (!ok) return fault('SIGSEGV', 'SEGV_ACCERR', addr);
      const pfn = touch(s, v, page, write);
      if (pfn > 0) {
        // Host do_sea without an APEI claim: BUS_OBJERR. A store of the host does not consume poison.
        return !write && s.host.poisoned(pfn) ? fault('SIGBUS', 'BUS_OBJERR', addr) : pfn;
      }
      if (pfn === Touch.HwPoison) return fault('SIGBUS', 'BUS_MCEERR_AR', page * PAGE_SIZE, lsbOf(v));
      if (pfn === Touch.NoMemory) s.host.outOfFrames();
      if (pfn === Touch.ReadOnly) return fault('SIGSEGV', 'SEGV_ACCERR', addr);
      if (pfn === Touch.SigBus) return fault('SIGBUS', 'BUS_ADRERR', addr);
      if (v.kind === 'io') {
        if (!(yield* driverFault(s, v, page, write))) return fault('SIGBUS', 'BUS_ADRERR', addr);
        continue;
      }
    } finally {
      s.mmapLock.endRead();
    }
    yield* awaitUserfault(s, page, write);
  }
}

/** A page that needs no fault, or 0. */
const present = (s: AddressSpace, page: number, write: boolean): number => {
  if (s.mmapLock.held) return 0;
  const pfn = fastGup(s, page, write);
  return pfn > 0 && (write || !s.host.poisoned(pfn)) ? pfn : 0;
};

/** Loads `len` bytes at `addr`; the first page that fails decides. */
export function* load(s: AddressSpace, addr: bigint | number, len: number): Task<Uint8Array | HostFault> {
  const out = new Uint8Array(len);
  let a = Number(addr);
  for (let done = 0; done < len; ) {
    const n = Math.min(len - done, PAGE_SIZE - (a % PAGE_SIZE));
    const r = present(s, Math.floor(a / PAGE_SIZE), false) || (yield* reach(s, a, false));
    if (typeof r !== 'number') return r;
    const from = r * PAGE_SIZE + (a % PAGE_SIZE);
    out.set(s.host.u8.subarray(from, from + n), done);
    done += n;
    a += n;
  }
  return out;
}

/** Stores bytes at `addr`. What precedes a failing page has been written, as by a copy loop. */
export function* store(
  s: AddressSpace,
  addr: bigint | number,
  bytes: Uint8Array,
): Task<HostFault | undefined> {
  let a = Number(addr);
  for (let done = 0; done < bytes.length; ) {
    const n = Math.min(bytes.length - done, PAGE_SIZE - (a % PAGE_SIZE));
    const r = present(s, Math.floor(a / PAGE_SIZE), true) || (yield* reach(s, a, true));
    if (typeof r !== 'number') return r;
    s.host.codeWritten(r);
    s.host.u8.set(bytes.subarray(done, done + n), r * PAGE_SIZE + (a % PAGE_SIZE));
    done += n;
    a += n;
  }
  return undefined;
}

/** {@link load} at once. @throws FaultyardError FY_DEADLOCK when it would wait for somebody. */
export function read(s: AddressSpace, addr: bigint | number, len: number): Uint8Array | HostFault {
  return drive(load(s, addr, len));
}
/** {@link store} at once. @throws FaultyardError FY_DEADLOCK when it would wait for somebody. */
export function write(s: AddressSpace, addr: bigint | number, bytes: Uint8Array): HostFault | undefined {
  return drive(store(s, addr, bytes));
}

/**
 * Looks at memory without any effect: no page appears, no poison is consumed, no driver is asked. Absent pages
 * read as zero where memory could appear. `undefined` when nothing is mapped there.
 */
export function peek(s: AddressSpace, addr: bigint | number, len: number): Uint8Array | undefined {
  const out = new Uint8Array(len);
  let a = Number(addr);
  for (let done = 0; done < len; ) {
    const n = Math.min(len - done, PAGE_SIZE - (a % PAGE_SIZE));
    const page = Math.floor(a / PAGE_SIZE);
    const v = s.vmas.find(page);
    if (!v) return undefined;
    const pfn = s.tableOf(v.backing).pfn(indexOf(v, page));
    const from = pfn * PAGE_SIZE + (a % PAGE_SIZE);
    if (pfn !== 0) out.set(s.host.u8.subarray(from, from + n), done);
    else if (v.backing?.kind === 'file')
      out.set(readDiskBytes(v.backing, indexOf(v, page) * PAGE_SIZE + (a % PAGE_SIZE), n), done);
    done += n;
    a += n;
  }
  return out;
}

/**
 * Damages (or, with `on` false, repairs) the page at `addr`: the memory itself, below any kernel's knowledge.
 * The page is faulted in first. Snapshots taken before keep the undamaged page.
 */
export function setPoison(s: AddressSpace, addr: bigint | number, on: boolean): HostFault | undefined {
  const a = Number(addr);
  const page = Math.floor(a / PAGE_SIZE);
  const v = s.vmas.find(page);
  if (!v) return fault('SIGSEGV', 'SEGV_MAPERR', a);
  const index = indexOf(v, page);
  if (s.tableOf(v.backing).get(index) === 0) {
    const r = drive(reach(s, a, (v.prot & Prot.Write) !== 0));
    if (typeof r !== 'number') return r;
  }
  const pfn = s.ownPage(v.backing, index);
  if (pfn < 0) s.host.outOfFrames();
  if (pfn === 0) return fault('SIGBUS', 'BUS_MCEERR_AR', page * PAGE_SIZE, lsbOf(v));
  if (on) s.host.poison(pfn);
  else s.host.heal(pfn);
  s.refresh(v.backing, index);
  return undefined;
}
