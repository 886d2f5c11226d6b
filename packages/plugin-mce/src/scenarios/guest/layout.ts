/** Where things are in the guest's memory. One MiB, mapped as it is, every page for user mode too. */

/** Size of the guest's RAM. */
export const RAM_SIZE: bigint = 1n << 20n;
/** Tables and code, gpa = gva. */
export const AT = {
  /** PML4, PDPT, and page directories of the first and the fourth GiB. */
  tables: 0x1000,
  gdt: 0x5000,
  /** Operands of LGDT and LIDT. */
  pointers: 0x5100,
  idt: 0x6000,
  /** 100h bytes for each vCPU. */
  tss: 0x7000,
  code: 0x8000,
  /** First page that the host loses; the next is for a second error. */
  victim: 0x8_0000,
} as const;

/** Selectors. TR of vCPU n is `tss + 16 * n`. */
export const SELECTOR = { code: 0x18, data: 0x10, userData: 0x23, userCode: 0x2b, tss: 0x30 } as const;

/** What a vCPU has of its own: `area(n)` and offsets in it. R15 holds its address. */
export const AREA = {
  /** Records written so far. */
  count: 0x00,
  /** 1 after a #GP that was passed over. */
  fault: 0x08,
  /** 1 if CPUID says AMD. */
  amd: 0x10,
  /** CPUID 80000007h EBX. */
  recovery: 0x18,
  /** Records, 64 bytes each. */
  records: 0x100,
  userStack: 0xa000,
  machineCheckStack: 0xc000,
  /** For exceptions from user mode. */
  kernelStack: 0xe000,
  stack: 0xff00,
} as const;

/** Address of a vCPU's own memory. */
export function area(vcpu: number): number {
  return 0x1_0000 * (vcpu + 1);
}

/** Port by which the guest says where it is. */
export const PORT = 0xe0;
/** What it says there. */
export const SAYS = {
  /** All is set up; an error may come. */
  ready: 1,
  /** The first error is dealt with; a second may come. */
  again: 2,
  /** It is in the handler and stays there. */
  holds: 3,
  /** Its own code found a fatal condition. */
  panic: 4,
  /** The main program came to its end. */
  end: 5,
  /** An exception that it did not foresee. */
  stray: 6,
} as const;

/** Vector of corrected machine checks. */
export const CMCI_VECTOR = 0x40;
/** Local APIC. */
export const APIC = 0xfee0_0000;
