/** The states in which a loader hands an x86 vCPU to a guest: real, flat protected and long mode. */
import { FaultyardError, type Vcpu, type Vm } from '@faultyard/core';

/** Attributes of segments: descriptor bits 47:40 and 55:52, as a VMCB has them (AMD64 APM volume 2, section 15.5). */
const CODE16 = 0x09b;
const DATA16 = 0x093;
const CODE32 = 0xc9b;
const CODE64 = 0xa9b;
const DATA32 = 0xc93;
/** Busy TSS. */
const TSS = 0x08b;
const FLAT = 0xffff_ffffn;
const DATA_SEGMENTS = ['ds', 'es', 'fs', 'gs', 'ss'] as const;
/** Descriptors behind selectors 0, 8, 10h, 18h: null, flat code of 32 bits, flat data, code of 64 bits. */
const GDT = [0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00af_9b00_0000_ffffn] as const;

/** @throws FaultyardError FY_ARGUMENT if the vCPU is no x86 one. */
function checkX86(vcpu: Vcpu): void {
  if (vcpu.arch.read('cr0') !== undefined) return;
  throw new FaultyardError('FY_ARGUMENT', {
    what: 'vcpu',
    value: vcpu.id,
    why: 'has no CR0: it is not an x86 vcpu',
    fix: 'make the VM with arch: x86()',
  });
}

function segment(
  vcpu: Vcpu,
  name: string,
  selector: number,
  base: number,
  limit: bigint,
  attr: number,
): void {
  vcpu.set(name, selector);
  vcpu.set(`${name}.base`, base);
  vcpu.set(`${name}.limit`, limit);
  vcpu.set(`${name}.attr`, attr);
}

/** Real mode at `segment:offset`; the other segments are at 0, the stack below the code's first byte at 0:7C00h. */
export function enterReal(vcpu: Vcpu, cs: number, ip: number): void {
  checkX86(vcpu);
  vcpu.set('cr0', 0x10);
  vcpu.set('rflags', 2);
  segment(vcpu, 'cs', cs, cs * 16, 0xffffn, CODE16);
  for (const name of DATA_SEGMENTS) segment(vcpu, name, 0, 0, 0xffffn, DATA16);
  vcpu.set('idtr.base', 0);
  vcpu.set('idtr.limit', 0x3ff);
  vcpu.set('rsp', 0x7c00);
  vcpu.pc = BigInt(ip);
}

/** Writes a GDT with flat segments (8: code, 10h: data, 18h: 64-bit code) and points GDTR there. */
export function flatGdt(vm: Vm, vcpu: Vcpu, at: number): void {
  const bytes = new Uint8Array(8 * GDT.length);
  const v = new DataView(bytes.buffer);
  for (const [i, d] of GDT.entries()) v.setBigUint64(8 * i, d, true);
  vm.write(at, bytes);
  vcpu.set('gdtr.base', at);
  vcpu.set('gdtr.limit', bytes.length - 1);
}

function flatSegments(vcpu: Vcpu, code: number, codeAttr: number): void {
  segment(vcpu, 'cs', code, 0, FLAT, codeAttr);
  for (const name of DATA_SEGMENTS) segment(vcpu, name, 0x10, 0, FLAT, DATA32);
  segment(vcpu, 'tr', 0, 0, 0xffffn, TSS);
  vcpu.set('rflags', 2);
}

/** No IDT: an exception before the guest makes one is a triple fault. */
function noIdt(vcpu: Vcpu): void {
  vcpu.set('idtr.base', 0);
  vcpu.set('idtr.limit', 0);
}

/** Flat protected mode of 32 bits, paging off, interrupts off, with a GDT at `gdt`. */
export function enterProtected(vcpu: Vcpu, entry: bigint, gdt: number): void {
  checkX86(vcpu);
  flatGdt(vcpu.vm as Vm, vcpu, gdt);
  noIdt(vcpu);
  vcpu.set('cr0', 0x11);
  flatSegments(vcpu, 8, CODE32);
  vcpu.pc = entry;
}

/** Long mode of 64 bits with page tables at `root`, interrupts off, SSE on, with a GDT at `gdt`. */
export function enterLong(vcpu: Vcpu, entry: bigint, root: bigint, gdt: number): void {
  checkX86(vcpu);
  flatGdt(vcpu.vm as Vm, vcpu, gdt);
  noIdt(vcpu);
  // PAE, OSFXSR, OSXMMEXCPT; then EFER.LME and LMA; then PE, MP, ET, NE, WP, PG
  vcpu.set('cr4', 0x620);
  vcpu.set('cr3', root);
  vcpu.set('efer', 0x500);
  vcpu.set('cr0', 0x8001_0033);
  flatSegments(vcpu, 0x18, CODE64);
  vcpu.pc = entry;
}
