/** The guest as bytes in memory: code, descriptor tables, page tables; and a vCPU at its first instruction. */
import { assemble } from '@faultyard/arch-x86';
import type { Vcpu, Vm } from '@faultyard/core';
import { enterLong } from '@faultyard/vmm';
import { APIC, AREA, AT, area, CMCI_VECTOR, SELECTOR } from './layout.ts';
import { program } from './program.ts';
import type { GuestSetup } from './setup.ts';

/** A guest, ready to be loaded. */
export interface GuestImage {
  readonly pieces: readonly { readonly gpa: number; readonly bytes: Uint8Array }[];
}

const PAGE = 0x1000;
/** Present, writable, for user mode. */
const TABLE = 7n;
const LARGE = TABLE | 0x80n;
const UNCACHED = 0x10n;

/** Words of 64 bits at places of a piece of memory. */
function words(size: number, at: Readonly<Record<number, bigint>>): Uint8Array {
  const bytes = new Uint8Array(size);
  const v = new DataView(bytes.buffer);
  for (const [offset, value] of Object.entries(at)) v.setBigUint64(Number(offset), value, true);
  return bytes;
}

function pageTables(): Uint8Array {
  const t = BigInt(AT.tables);
  const low = 2 * PAGE;
  const fourth = 3 * PAGE;
  return words(4 * PAGE, {
    0: (t + BigInt(PAGE)) | TABLE,
    [PAGE]: (t + BigInt(low)) | TABLE,
    [PAGE + 8 * 3]: (t + BigInt(fourth)) | TABLE,
    [low]: LARGE,
    [fourth + 8 * ((APIC >>> 21) & 511)]: (BigInt(APIC) & ~0x1f_ffffn) | LARGE | UNCACHED,
  });
}

/** Flat segments for both privilege levels, and a TSS for each of two vCPUs. */
function gdt(): Uint8Array {
  const tss = (n: number): bigint => {
    const base = BigInt(AT.tss + 0x100 * n);
    return 0x67n | ((base & 0xff_ffffn) << 16n) | (0x89n << 40n) | ((base >> 24n) << 56n);
  };
  return words(0x60, {
    8: 0x00cf_9b00_0000_ffffn,
    [SELECTOR.data]: 0x00cf_9300_0000_ffffn,
    [SELECTOR.code]: 0x00af_9b00_0000_ffffn,
    [SELECTOR.userData & ~3]: 0x00cf_f300_0000_ffffn,
    [SELECTOR.userCode & ~3]: 0x00af_fb00_0000_ffffn,
    [SELECTOR.tss]: tss(0),
    [SELECTOR.tss + 16]: tss(1),
  });
}

/** 64-bit interrupt gates; #MC has a stack of its own, IST 1. */
function idt(symbols: Readonly<Record<string, bigint>>): Uint8Array {
  const gates: readonly (readonly [vector: number, name: string, ist: bigint])[] = [
    [2, 'nmi', 0n],
    [8, 'double_fault', 0n],
    [13, 'protection', 0n],
    [18, 'machine_check', 1n],
    [CMCI_VECTOR, 'cmci', 0n],
  ];
  const entries = gates.map(([vector, name, ist]): [number, bigint] => {
    const to = symbols[name] as bigint;
    const high = (to >> 16n) << 48n;
    return [
      16 * vector,
      (to & 0xffffn) | (BigInt(SELECTOR.code) << 16n) | (ist << 32n) | (0x8en << 40n) | high,
    ];
  });
  return words(16 * (CMCI_VECTOR + 1), Object.fromEntries(entries));
}

function tss(vcpu: number): Uint8Array {
  const bytes = new Uint8Array(0x68);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(4, BigInt(area(vcpu) + AREA.kernelStack), true);
  v.setBigUint64(0x24, BigInt(area(vcpu) + AREA.machineCheckStack), true);
  return bytes;
}

/** Operand of LGDT or LIDT. */
function pointer(base: number, size: number): Uint8Array {
  const bytes = new Uint8Array(10);
  const v = new DataView(bytes.buffer);
  v.setUint16(0, size - 1, true);
  v.setBigUint64(2, BigInt(base), true);
  return bytes;
}

/** Images by text: cells of one row have the same guest. */
const made = new Map<string, GuestImage>();

/** Assembles a guest. */
export function guestImage(s: GuestSetup): GuestImage {
  const text = program(s);
  const known = made.get(text);
  if (known) return known;
  const { bytes, symbols } = assemble(text, { origin: AT.code });
  const table = idt(symbols);
  const image = {
    pieces: [
      { gpa: AT.tables, bytes: pageTables() },
      { gpa: AT.gdt, bytes: gdt() },
      { gpa: AT.pointers, bytes: pointer(AT.gdt, 0x60) },
      { gpa: AT.pointers + 16, bytes: pointer(AT.idt, table.length) },
      { gpa: AT.idt, bytes: table },
      { gpa: AT.tss, bytes: tss(0) },
      { gpa: AT.tss + 0x100, bytes: tss(1) },
      { gpa: AT.code, bytes },
    ],
  };
  made.set(text, image);
  return image;
}

/** Loads the guest and puts every vCPU to its start, as firmware would. */
export function loadGuest(vm: Vm, image: GuestImage): void {
  for (const v of vm.vcpus as readonly Vcpu[]) {
    // its descriptor table is overwritten by the guest's own, which has the same segments
    enterLong(v, BigInt(AT.code), BigInt(AT.tables), AT.gdt);
    v.set('rsp', area(v.id) + AREA.stack);
    v.set('rdi', area(v.id));
    v.set('rsi', SELECTOR.tss + 16 * v.id);
  }
  for (const p of image.pieces) vm.write(p.gpa, p.bytes);
}
