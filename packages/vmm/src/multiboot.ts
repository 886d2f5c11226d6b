/** Multiboot 1 (Multiboot Specification 0.6.96): the header of a kernel, and the information it is given. */
import { FaultyardError, hex } from '@faultyard/core';

/** Magic in a kernel's header, and in EAX when it starts. */
export const MULTIBOOT = { header: 0x1bad_b002, loader: 0x2bad_b002 } as const;

/** Header flags (section 3.1.2). */
const FLAG = { PAGE_ALIGN: 1, MEMORY: 2, VIDEO: 4, ADDRESSES: 1 << 16 } as const;

/** Where a kernel without ELF headers is loaded (section 3.1.3). Addresses in bytes. */
export interface MultibootAddresses {
  readonly header: number;
  readonly load: number;
  /** 0: to the end of the file. */
  readonly loadEnd: number;
  /** 0: no bss. */
  readonly bssEnd: number;
  readonly entry: number;
}

/** A kernel's header. */
export interface MultibootHeader {
  /** Offset in the file. */
  readonly offset: number;
  readonly flags: number;
  /** With flag 16. */
  readonly addresses: MultibootAddresses | undefined;
}

/**
 * Finds and checks the header in the first 8192 bytes.
 * @throws FaultyardError FY_IMAGE when there is none, or when it wants what this loader does not have.
 */
export function readMultibootHeader(file: Uint8Array, name: string = 'kernel'): MultibootHeader {
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bad = (why: string, fix: string): never => {
    throw new FaultyardError('FY_IMAGE', { what: name, why, fix });
  };
  const end = Math.min(file.length, 8192);
  for (let at = 0; at + 12 <= end; at += 4) {
    if (v.getUint32(at, true) !== MULTIBOOT.header) continue;
    const flags = v.getUint32(at + 4, true);
    if ((MULTIBOOT.header + flags + v.getUint32(at + 8, true)) >>> 0 !== 0) continue;
    const unknown = flags & 0xffff & ~(FLAG.PAGE_ALIGN | FLAG.MEMORY | FLAG.VIDEO);
    if (unknown)
      bad(`requires features ${hex(unknown)} of its loader`, 'build it without these header flags');
    if (!(flags & FLAG.ADDRESSES)) return { offset: at, flags, addresses: undefined };
    if (at + 32 > end)
      bad('its header ends before its address fields', 'put the header further to the front');
    const [header = 0, load = 0, loadEnd = 0, bssEnd = 0, entry = 0] = [12, 16, 20, 24, 28].map((o) =>
      v.getUint32(at + o, true),
    );
    if (load > header || header - load > at)
      bad('its address fields put the header before its own load address', 'correct header_addr, load_addr');
    return { offset: at, flags, addresses: { header, load, loadEnd, bssEnd, entry } };
  }
  return bad('has no multiboot header in its first 8192 bytes', 'link it there, or load it as ELF');
}

/** One range of the memory map. */
export interface MemoryRange {
  readonly base: bigint;
  readonly length: bigint;
  /** 1: RAM; 2: reserved. */
  readonly type: 1 | 2;
}

/** A module as it lies in memory: [start, end). */
export interface PlacedModule {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** What the information structure says. */
export interface MultibootInfo {
  readonly commandLine: string;
  readonly loader: string;
  readonly modules: readonly PlacedModule[];
  readonly map: readonly MemoryRange[];
}

/** Size of the structure itself (section 3.3): fields up to the framebuffer's. */
const INFO_SIZE = 116;

/** The information structure and what it points to, for memory at `at`. */
export function multibootInfo(at: number, info: MultibootInfo): Uint8Array {
  const text = new TextEncoder();
  const commandLine = text.encode(`${info.commandLine}\0`);
  const loader = text.encode(`${info.loader}\0`);
  const names = info.modules.map((m) => text.encode(`${m.text}\0`));
  const modules = INFO_SIZE;
  const map = modules + 16 * info.modules.length;
  const strings = map + 24 * info.map.length;
  const total = [commandLine, loader, ...names].reduce((n, s) => n + s.length, strings);
  const bytes = new Uint8Array(total);
  const v = new DataView(bytes.buffer);
  let free = strings;
  const put = (s: Uint8Array): number => {
    bytes.set(s, free);
    free += s.length;
    return at + free - s.length;
  };
  const set = (offset: number, value: number): void => v.setUint32(offset, value, true);
  // memory sizes, command line, modules, memory map, name of the loader
  set(0, (1 << 0) | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9));
  const ram = info.map.filter((r) => r.type === 1);
  const lower = ram.find((r) => r.base === 0n);
  const upper = ram.find((r) => r.base === 0x10_0000n);
  set(4, Number((lower?.length ?? 0n) / 1024n));
  set(8, Number((upper?.length ?? 0n) / 1024n));
  set(16, put(commandLine));
  set(20, info.modules.length);
  set(24, at + modules);
  set(44, 24 * info.map.length);
  set(48, at + map);
  set(64, put(loader));
  for (const [i, m] of info.modules.entries()) {
    const o = modules + 16 * i;
    set(o, m.start);
    set(o + 4, m.end);
    set(o + 8, put(names[i] ?? new Uint8Array(1)));
  }
  for (const [i, r] of info.map.entries()) {
    // the size field does not count itself
    const o = map + 24 * i;
    set(o, 20);
    v.setBigUint64(o + 4, r.base, true);
    v.setBigUint64(o + 12, r.length, true);
    set(o + 20, r.type);
  }
  return bytes;
}
