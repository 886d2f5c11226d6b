/** The VMM process as an ioctl sees it: its memory behind pointers, and its descriptors. */
import { KvmError } from './errors.ts';
import { load, store } from './host/access.ts';
import type { Backing } from './host/backing.ts';
import { drive } from './task.ts';
import type { Vm } from './vm.ts';

/** First descriptor a VM hands out; 0 to 2 and KVM's own come before. */
const FIRST_FD = 16;

/** Pointers and descriptors of the calling process. */
export interface UserSpace {
  /** copy_from_user. @throws KvmError EFAULT. */
  load(hva: bigint, bytes: number): Uint8Array;
  /** copy_to_user. @throws KvmError EFAULT. */
  store(hva: bigint, bytes: Uint8Array): void;
  /** What a descriptor stands for; `undefined` for a bad one. */
  file(fd: number): Backing | undefined;
  /** The descriptor of a file: counted in the order in which files were made. */
  descriptor(file: Backing): number;
}

/** The process that owns this VM. */
export function userSpace(vm: Pick<Vm, 'mm'>): UserSpace {
  const bad = (hva: bigint): never => {
    throw new KvmError('copy_from_user', 'EFAULT', `nothing accessible at hva 0x${hva.toString(16)}`);
  };
  return {
    load(hva, bytes) {
      const r = drive(load(vm.mm, hva, bytes));
      return r instanceof Uint8Array ? r : bad(hva);
    },
    store(hva, bytes) {
      if (drive(store(vm.mm, hva, bytes))) bad(hva);
    },
    file: (fd) => [...vm.mm.backings.values()][fd - FIRST_FD],
    descriptor: (file) => FIRST_FD + [...vm.mm.backings.values()].indexOf(file),
  };
}
