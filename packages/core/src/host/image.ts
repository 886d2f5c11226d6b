/** Snapshots of an address space: page tables are shared copy-on-write, the rest is copied. */
import { FaultyardError } from '../errors.ts';
import type { AddressSpace } from './address-space.ts';
import { type Backing, GuestMemfd, HostFile, type IoFault } from './backing.ts';
import type { HostMemory } from './memory.ts';
import type { PageTable } from './page-table.ts';
import type { Vma } from './vma.ts';

interface BackingImage {
  readonly of: Backing;
  readonly length: number;
  readonly closing: boolean;
  readonly closed: boolean;
  readonly pages: PageTable;
}

/** An address space at some point of its life. It holds references to frames until {@link MemoryImage.dispose}. */
export interface MemoryImage {
  /** The memory its frames are in. */
  readonly host: HostMemory;
  readonly vmas: readonly Vma[];
  readonly anon: PageTable;
  readonly backings: readonly BackingImage[];
  readonly lostHuge: readonly number[];
  readonly ioPtes: readonly (readonly [page: number, writable: boolean])[];
  readonly ids: number;
  /** Gives the frames back; also happens, later, when the image is forgotten. */
  dispose(): void;
}

/** Refuses while a task of the VMM stands in the middle of a change; a restore also while a fault is under way. */
function quiet(s: AddressSpace, restore: boolean): void {
  if (s.activeInvalidations > 0)
    throw new FaultyardError('FY_SNAPSHOT_BUSY', {
      task: 'a change of the address space',
      point: 'notifier.start or notifier.end',
    });
  if (restore && s.mmapLock.held)
    throw new FaultyardError('FY_SNAPSHOT_BUSY', {
      task: 'a page fault',
      point: 'a lock, holding mmap_lock',
    });
}

/** See {@link AddressSpace.save}. */
export function saveSpace(s: AddressSpace): MemoryImage {
  quiet(s, false);
  const anon = s.anon.share();
  const backings = [...s.backings.values()].map((of): BackingImage => {
    const gmem = of.kind === 'gmem' ? of : undefined;
    return {
      of,
      length: of.length,
      closing: gmem?.closing === true,
      closed: gmem?.closed === true,
      pages: of.pages.share(),
    };
  });
  const image: MemoryImage = {
    host: s.host,
    vmas: s.vmas.save(),
    anon,
    backings,
    lostHuge: [...s.lostHuge],
    ioPtes: [...s.ioPtes],
    ids: s.ids,
    dispose: () => {
      anon.dispose();
      for (const b of backings) b.pages.dispose();
    },
  };
  s.sayShared();
  return image;
}

/** The backing here that stands for a saved one; made when it is missing. */
function counterpart(s: AddressSpace, of: Backing, io: ((id: string) => IoFault) | undefined): Backing {
  const here = s.backings.get(of.id);
  if (here?.kind === of.kind && (here.kind !== 'io' || here.length === of.length)) return here;
  if (here) s.backings.delete(of.id);
  if (of.kind === 'file') return s.file(of.length, { id: of.id, ...(of.disk ? { disk: of.disk } : {}) });
  if (of.kind === 'gmem') return s.guestMemfd(of.length, (of.mmap ? 1 : 0) | (of.initShared ? 2 : 0), of.id);
  const fault = io?.(of.id);
  if (!fault)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: `maps the device region ${of.id}, which is not here`,
      fix: 'make the same device (an ioRegion with this id and length) before restoring',
    });
  return s.ioRegion(of.length, fault, of.id);
}

const shape = (l: readonly Vma[]): string =>
  l.map((v) => [v.start, v.end, v.prot, v.kind, v.shift, v.thp, v.backing?.id, v.offset].join()).join(';');

/** See {@link AddressSpace.restore}. */
export function restoreSpace(s: AddressSpace, image: MemoryImage, io?: (id: string) => IoFault): void {
  if (image.host !== s.host)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: 'lives in another host memory',
      fix: 'make both VMs with the same host memory',
    });
  quiet(s, true);
  if (!io)
    for (const b of image.backings)
      if (b.of.kind === 'io' && !s.backings.has(b.of.id)) counterpart(s, b.of, io);
  // areas that differ make everything be forgotten in the end
  const same = shape(s.vmas.all) === shape(image.vmas);
  const keep = new Set(image.backings.map((b) => b.of.id));
  for (const b of [...s.backings.values()])
    if (b.kind !== 'io' && !keep.has(b.id)) {
      b.pages.release();
      s.backings.delete(b.id);
    }
  const map = new Map<string, Backing>();
  for (const b of image.backings) {
    const here = counterpart(s, b.of, io);
    map.set(here.id, here);
    here.pages.become(b.pages, (index) => same && s.sayForget(here, index));
    if (here instanceof HostFile) here.length = b.length;
    if (here instanceof GuestMemfd) {
      here.closing = b.closing;
      here.closed = b.closed;
    }
  }
  s.anon.become(image.anon, (page) => same && s.sayForget(undefined, page));
  const ptes = new Map(image.ioPtes);
  for (const p of new Set([...s.ioPtes.keys(), ...ptes.keys()]))
    if (s.ioPtes.get(p) !== ptes.get(p)) {
      const l = s.locate(p);
      if (l) s.sayForget(l.vma.backing, l.index);
    }
  s.ioPtes.clear();
  for (const [p, w] of ptes) s.ioPtes.set(p, w);
  s.lostHuge.clear();
  for (const p of image.lostHuge) s.lostHuge.add(p);
  s.userfaults.clear();
  s.vmas.restore(image.vmas, (b) => map.get(b.id) ?? b);
  s.ids = image.ids;
  if (!same) s.sayForgetAll();
  s.sayShared();
}
