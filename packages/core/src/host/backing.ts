/** What can stand behind a mapping besides private memory: files, device memory, guest_memfd. */
import type { Task } from '../task.ts';
import type { HostMemory } from './memory.ts';
import { PageTable } from './page-table.ts';

/** A file mapped shared: a memfd (shmem), or a file on disk whose clean pages can be read again. */
export class HostFile {
  readonly kind: 'file' = 'file';
  /** Unique in its address space; also its identity across snapshots. */
  readonly id: string;
  /** Length in bytes; a touch of a page wholly behind it is SIGBUS. */
  length: number;
  /** Page cache, by page index in the file. */
  readonly pages: PageTable;
  /** What the disk holds; absent for a memfd, whose pages are always dirty. */
  readonly disk: Uint8Array | undefined;
  constructor(host: HostMemory, id: string, length: number, disk?: Uint8Array) {
    this.id = id;
    this.length = length;
    this.disk = disk;
    this.pages = new PageTable(host);
  }
}

/** What a device answers when one of its pages is touched through an IO/PFNMAP mapping. */
export type IoAnswer = 'map' | 'map-readonly' | 'sigbus';

/**
 * A VMA's fault handler (vm_operations_struct.fault) of a driver: may yield, for instance to take a {@link Lock} of
 * the device; the caller holds mmap_lock shared meanwhile.
 */
export type IoFault = (page: number, write: boolean) => IoAnswer | Task<IoAnswer>;

/** A region of device memory that drivers map with remap_pfn_range or a fault handler (VM_IO | VM_PFNMAP). */
export class IoRegion {
  readonly kind: 'io' = 'io';
  readonly id: string;
  /** Length in bytes. */
  readonly length: number;
  /** The device's own memory, by page index; frames appear when they are first touched. */
  readonly pages: PageTable;
  readonly fault: IoFault;
  constructor(host: HostMemory, id: string, length: number, fault: IoFault) {
    this.id = id;
    this.length = length;
    this.pages = new PageTable(host);
    this.fault = fault;
  }
}

/** guest_memfd: a file of guest memory that is bound to memslots (KVM_CREATE_GUEST_MEMFD). */
export class GuestMemfd {
  readonly kind: 'gmem' = 'gmem';
  readonly id: string;
  /** Size in bytes. */
  readonly length: number;
  /** GUEST_MEMFD_FLAG_MMAP (1): the VMM may map it, and slots bound to it never look at their hva. */
  readonly mmap: boolean;
  /** GUEST_MEMFD_FLAG_INIT_SHARED (2): the VMM may touch it. */
  readonly initShared: boolean;
  readonly pages: PageTable;
  /** The descriptor was closed. */
  closing = false;
  /** The file is gone (no descriptor, no mapping): slots have lost it. */
  closed = false;
  constructor(host: HostMemory, id: string, length: number, flags: number) {
    this.id = id;
    this.length = length;
    this.mmap = (flags & 1) !== 0;
    this.initShared = (flags & 2) !== 0;
    this.pages = new PageTable(host);
  }
}

/** Anything that has pages of its own. */
export type Backing = HostFile | IoRegion | GuestMemfd;

/** What the disk holds at byte `from`: at most `n` bytes, none for a memfd. */
export function readDiskBytes(file: HostFile, from: number, n: number): Uint8Array {
  return file.disk?.subarray(from, Math.min(from + n, file.disk.length)) ?? new Uint8Array(0);
}
