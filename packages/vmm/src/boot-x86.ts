/** Loads a guest for x86 and puts a vCPU at its start: flat images, ELF of 32 and 64 bits, multiboot kernels. */
import { FaultyardError, hex, type Vcpu, type Vm } from '@faultyard/core';
import { readElf } from './elf.ts';
import { type Loaded, loadElf, loadFlat } from './load.ts';
import {
  type MemoryRange,
  MULTIBOOT,
  type MultibootHeader,
  multibootInfo,
  type PlacedModule,
  readMultibootHeader,
} from './multiboot.ts';
import { PageTables } from './page-tables.ts';
import { memoryOf, PC } from './pc.ts';
import { enterLong, enterProtected, enterReal } from './x86-entry.ts';

/** Machines of ELF files (e_machine). */
const EM = { i386: 3, x86_64: 62 } as const;
/** Loader's memory below 640 KiB: the GDT, multiboot information, page tables; the stack grows down from it. */
const SCRATCH = 0x8_0000;
const SCRATCH_END = PC.lowEnd;
const GDT_AT = SCRATCH;
const INFO_AT = SCRATCH + 0x1000;

/** What all loaders take. */
export interface BootOptions {
  /** Which vCPU starts. Default 0. */
  readonly vcpu?: number;
  /** For messages. */
  readonly name?: string;
}

/** A guest ready to run. */
export interface Booted extends Loaded {
  readonly vcpu: Vcpu;
}

function vcpuOf(vm: Vm, o: BootOptions): Vcpu {
  const vcpu = vm.vcpus[o.vcpu ?? 0];
  if (vcpu) return vcpu as Vcpu;
  throw new FaultyardError('FY_ARGUMENT', {
    what: 'vcpu',
    value: o.vcpu ?? 0,
    why: `does not exist: the VM has ${vm.vcpus.length}`,
    fix: 'give the number of one of them',
  });
}

/** Loads bytes to `at` below 1 MiB (default 7C00h, as a boot sector) and starts them in real mode, DL = 80h. */
export function bootFlat(vm: Vm, bytes: Uint8Array, o: BootOptions & { readonly at?: number } = {}): Booted {
  const at = o.at ?? 0x7c00;
  if (at > 0xf_ffff)
    throw new FaultyardError('FY_IMAGE', {
      what: o.name ?? 'flat image',
      why: `real mode does not reach ${hex(at)}`,
      fix: 'load it below 1 MiB, or as ELF',
    });
  const loaded = loadFlat(vm, at, bytes, o.name);
  const vcpu = vcpuOf(vm, o);
  // as CS 0 as far as that reaches
  const cs = at <= 0xffff ? 0 : at >>> 4;
  enterReal(vcpu, cs, at - cs * 16);
  vcpu.set('rdx', 0x80);
  return { ...loaded, vcpu };
}

/** Options of {@link bootElf}. */
export interface BootElfOptions extends BootOptions {
  /** Bytes from 0 that 64-bit page tables map to themselves. Default 4 GiB. */
  readonly identity?: bigint;
}

/**
 * Loads an ELF executable. Of 32 bits it starts in flat protected mode; of 64 bits in long mode, with page tables that map
 * memory to itself and each segment to the virtual address it was linked for. RSP is below the loader's memory (80000h).
 */
export function bootElf(vm: Vm, file: Uint8Array, o: BootElfOptions = {}): Booted {
  const name = o.name ?? 'ELF';
  const image = readElf(file, name);
  const machine = image.bits === 64 ? EM.x86_64 : EM.i386;
  const loaded = loadElf(vm, image, { name, machine });
  const vcpu = vcpuOf(vm, o);
  if (image.bits === 32) enterProtected(vcpu, loaded.entry, GDT_AT);
  else {
    const tables = new PageTables(vm, INFO_AT, SCRATCH_END);
    tables.map(0n, 0n, o.identity ?? 0x1_0000_0000n);
    for (const s of image.segments) if (s.vaddr !== s.paddr) tables.map(s.vaddr, s.paddr, s.size);
    enterLong(vcpu, image.entry, tables.root, GDT_AT);
  }
  vcpu.set('rsp', SCRATCH);
  return { ...loaded, entry: image.bits === 64 ? image.entry : loaded.entry, vcpu };
}

/** A file loaded for a multiboot kernel. */
export interface MultibootModule {
  readonly bytes: Uint8Array;
  /** Its command line. */
  readonly text?: string;
}

/** Options of {@link bootMultiboot}. */
export interface BootMultibootOptions extends BootOptions {
  readonly commandLine?: string;
  readonly modules?: readonly MultibootModule[];
}

/** A multiboot kernel ready to run. */
export interface BootedMultiboot extends Booted {
  /** Where the information structure lies (EBX). */
  readonly info: number;
  readonly modules: readonly PlacedModule[];
}

/**
 * Loads a multiboot 1 kernel with its modules, and starts it as section 3.2 says: flat protected mode of 32 bits, EAX and
 * EBX with magic and information. A kernel without address fields must be ELF (of 32 bits, or of 64 with a 32-bit entry).
 * @throws FaultyardError FY_IMAGE for a bad header or file, or missing memory; nothing is written then.
 */
export function bootMultiboot(vm: Vm, file: Uint8Array, o: BootMultibootOptions = {}): BootedMultiboot {
  const name = o.name ?? 'kernel';
  const header = readMultibootHeader(file, name);
  const { entry, symbols, end } = header.addresses
    ? loadByAddresses(vm, file, header, name)
    : loadByElf(vm, file, name);
  const modules = placeModules(vm, end, o.modules ?? [], name);
  const info = { commandLine: o.commandLine ?? '', loader: 'Faultyard', modules, map: memoryMap(vm) };
  loadFlat(vm, INFO_AT, multibootInfo(INFO_AT, info), 'multiboot information');
  const vcpu = vcpuOf(vm, o);
  enterProtected(vcpu, entry, GDT_AT);
  vcpu.set('rax', MULTIBOOT.loader);
  vcpu.set('rbx', INFO_AT);
  vcpu.set('rsp', SCRATCH);
  return { entry, symbols, vcpu, info: INFO_AT, modules };
}

interface LoadedKernel extends Loaded {
  /** First gpa behind the kernel. */
  readonly end: number;
}

function loadByElf(vm: Vm, file: Uint8Array, name: string): LoadedKernel {
  const image = readElf(file, name);
  const machine = image.bits === 64 ? EM.x86_64 : EM.i386;
  const end = Math.max(0, ...image.segments.map((s) => Number(s.paddr + s.size)));
  return { ...loadElf(vm, image, { name, machine }), end };
}

/** A kernel whose header says where it goes (flag 16). */
function loadByAddresses(vm: Vm, file: Uint8Array, header: MultibootHeader, name: string): LoadedKernel {
  const a = header.addresses;
  if (!a) throw new RangeError('a header without address fields');
  const from = header.offset - (a.header - a.load);
  const size = a.loadEnd ? a.loadEnd - a.load : file.length - from;
  const total = Math.max(size, a.bssEnd ? a.bssEnd - a.load : size);
  if (size < 0 || from + size > file.length)
    throw new FaultyardError('FY_IMAGE', {
      what: name,
      why: `its address fields ask for ${size} bytes, and the file has ${file.length - from}`,
      fix: 'correct load_addr and load_end_addr',
    });
  const bytes = new Uint8Array(total);
  bytes.set(file.subarray(from, from + size));
  loadFlat(vm, a.load, bytes, name);
  return { entry: BigInt(a.entry), symbols: new Map(), end: a.load + total };
}

/** Puts modules behind the kernel, each at a page. */
function placeModules(
  vm: Vm,
  after: number,
  modules: readonly MultibootModule[],
  name: string,
): PlacedModule[] {
  let next = Math.max(after, PC.high);
  return modules.map(({ bytes, text = '' }, i) => {
    const start = Math.ceil(next / 4096) * 4096;
    loadFlat(vm, start, bytes, `module ${i} of ${name}`);
    next = start + bytes.length;
    return { start, end: next, text };
  });
}

/** Memory as PC firmware tells of it: below 640 KiB and from 1 MiB on it is usable, between them reserved. */
function memoryMap(vm: Vm): MemoryRange[] {
  return memoryOf(vm).flatMap(({ from, to }) => {
    const parts: MemoryRange[] = [];
    const add = (a: number, b: number, type: 1 | 2): void => {
      const base = Math.max(a, from);
      if (Math.min(b, to) > base)
        parts.push({ base: BigInt(base), length: BigInt(Math.min(b, to) - base), type });
    };
    add(0, PC.lowEnd, 1);
    add(PC.lowEnd, PC.high, 2);
    add(PC.high, Number.POSITIVE_INFINITY, 1);
    return parts;
  });
}
