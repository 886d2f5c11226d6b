/** Puts images into guest memory. */
import { FaultyardError, hex, type Vm } from '@faultyard/core';
import { type ElfImage, readElf } from './elf.ts';

/** A loaded image. */
export interface Loaded {
  /** Where execution starts, as a guest physical address. */
  readonly entry: bigint;
  /** Values of named symbols; of several with one name the first. */
  readonly symbols: ReadonlyMap<string, bigint>;
}

const missing = (vm: Vm, at: bigint, size: bigint): string | undefined => {
  for (let a = at; a < at + size; a = (a | 0xfffn) + 1n)
    if (!vm.memory.slotAt(a)) return `needs ${hex(at)} + ${hex(size)}, and ${hex(a)} is in no memslot`;
  return undefined;
};
const check = (vm: Vm, what: string, at: bigint, size: bigint): void => {
  const why = missing(vm, at, size);
  if (why) throw new FaultyardError('FY_IMAGE', { what, why, fix: 'add memory there, or load it elsewhere' });
};

/** Copies bytes to `gpa`. @throws FaultyardError FY_IMAGE when memory is missing; nothing is written then. */
export function loadFlat(
  vm: Vm,
  gpa: bigint | number,
  bytes: Uint8Array,
  name: string = 'flat image',
): Loaded {
  const at = BigInt(gpa);
  check(vm, name, at, BigInt(bytes.length));
  vm.write(at, bytes);
  return { entry: at, symbols: new Map() };
}

/** Options of {@link loadElf}. */
export interface LoadElfOptions {
  /** For messages. */
  readonly name?: string;
  /** e_machine it must be for. */
  readonly machine?: number;
  /** Added to every physical address. Default 0. */
  readonly offset?: bigint;
}

/**
 * Copies the segments of an ELF executable to their physical addresses and zeroes what the file does not fill.
 * @throws FaultyardError FY_IMAGE for a bad file, another machine, or missing memory; nothing is written then.
 */
export function loadElf(vm: Vm, file: Uint8Array | ElfImage, o: LoadElfOptions = {}): Loaded {
  const name = o.name ?? 'ELF';
  const image = file instanceof Uint8Array ? readElf(file, name) : file;
  const offset = o.offset ?? 0n;
  if (o.machine !== undefined && image.machine !== o.machine)
    throw new FaultyardError('FY_IMAGE', {
      what: name,
      why: `is for machine ${image.machine}, not ${o.machine}`,
      fix: 'build it for the guest architecture',
    });
  for (const s of image.segments) check(vm, name, s.paddr + offset, s.size);
  for (const s of image.segments) {
    const at = s.paddr + offset;
    vm.write(at, s.bytes);
    const page = new Uint8Array(4096);
    for (let a = at + BigInt(s.bytes.length); a < at + s.size; ) {
      const n = Math.min(4096 - Number(a & 0xfffn), Number(at + s.size - a));
      vm.write(a, page.subarray(0, n));
      a += BigInt(n);
    }
  }
  const symbols = new Map<string, bigint>();
  for (const s of image.symbols) if (!symbols.has(s.name)) symbols.set(s.name, s.value);
  // The entry is a virtual address: it moves with the segment that holds it.
  const home = image.segments.find((s) => image.entry >= s.vaddr && image.entry < s.vaddr + s.size);
  return { entry: (home ? image.entry - home.vaddr + home.paddr : image.entry) + offset, symbols };
}
