/** The list of pages that are known to be bad: they get new memory when the VM is reset. */
import { drive, type Plain, type Vm } from '@faultyard/core';
import { pointer } from './event.ts';
import type { RelayStep } from './relay.ts';

/** A page, or what is gone with it. */
export interface BadPage {
  readonly hva: bigint;
  /** log2 of its size. */
  readonly lsb: number;
}

/** The step that remembers pages, and the list. */
export interface RememberPages extends RelayStep {
  readonly pages: readonly BadPage[];
  /** Whether the VM could be migrated live: not while a page is bad. */
  readonly migratable: boolean;
  /** Gives every page new memory, which reads zero, and forgets it. @returns what could not be replaced, as a text. */
  renew(vm: Vm): string | undefined;
}

/** Remembers every page of the guest that a relay tells it of. */
export function rememberPages(): RememberPages {
  let pages: readonly BadPage[] = [];
  return {
    name: 'remember',
    get pages() {
      return pages;
    },
    get migratable() {
      return pages.length === 0;
    },
    on: (e, relay) => {
      if (!relay.reaches(e)) return 'next';
      const size = 1n << BigInt(Math.max(e.lsb, 12));
      const hva = e.hva & -size;
      if (!pages.some((p) => p.hva === hva)) pages = [...pages, { hva, lsb: Math.max(e.lsb, 12) }];
      return 'next';
    },
    renew(vm) {
      for (const { hva, lsb } of pages) {
        const found = vm.mm.vmas.find(Number(hva >> 12n));
        if (!found || found.kind === 'io') return `Could not remap RAM ${pointer(hva)}`;
        const { backing } = found;
        if (backing && backing.kind === 'file') {
          const page = Number(hva >> 12n) - found.start + found.offset;
          drive(vm.mm.punch(backing, page * 4096, 2 ** lsb));
        } else drive(vm.mm.dontNeed(hva, 2 ** lsb));
      }
      pages = [];
      return undefined;
    },
    save: () => pages as unknown as Plain,
    restore: (v) => {
      pages = [...(v as unknown as readonly BadPage[])];
    },
  };
}
