/** The windows through which guests reach the interrupt controllers: devices on the VM's buses. */
import type { KernelDevice } from '@faultyard/core';
import { APIC_GPA, ApicBase } from './apic-registers.ts';
import type { IoApic } from './io-apic.ts';
import { IOAPIC_BYTES, IOAPIC_GPA } from './io-apic.ts';
import type { LocalApic } from './local-apic.ts';

const APIC_PAGE = 0x1000;
/** Ones for the low bytes of an int32. */
const mask = (bytes: number): number => (bytes >= 4 ? -1 : (1 << (8 * bytes)) - 1);

/** A vCPU as the window sees it. */
interface Window {
  readonly apic: LocalApic | undefined;
  /** APIC_BASE, low half. */
  readonly apicBase: number;
}

/**
 * The local APICs' page, each vCPU's own (lapic.c, apic_mmio_read and apic_mmio_write). KVM_X86_QUIRK_LAPIC_MMIO_HOLE: while
 * the APIC is off or in x2APIC mode, loads give ones and stores are dropped. At another APIC_BASE it is not there.
 */
export function apicPage(of: (vcpu: number) => Window | undefined): KernelDevice {
  const here = (w: Window | undefined): w is Window =>
    w !== undefined && (w.apicBase & 0xffff_f000) >>> 0 === APIC_GPA;
  const open = (w: Window): boolean => (w.apicBase & (ApicBase.Enable | ApicBase.X2)) === ApicBase.Enable;
  return {
    name: 'local APIC',
    gpa: APIC_GPA,
    size: APIC_PAGE,
    outside: true,
    load(offset, size, vcpu, out) {
      const w = of(vcpu);
      if (!here(w)) return false;
      out.hi = open(w) ? 0 : -1;
      out.lo = -1;
      if (!open(w)) return true;
      const at = offset & 15;
      const v = at + size > 4 ? 0 : (w.apic?.read(offset & ~15) ?? 0);
      out.lo = (v >>> (8 * at)) & mask(size);
      return true;
    },
    store(offset, size, vcpu, lo) {
      const w = of(vcpu);
      if (!here(w)) return false;
      // registers are written whole
      if (open(w) && size === 4 && (offset & 15) === 0) w.apic?.write(offset, lo);
      return true;
    },
  };
}

/** The I/O APIC's window. */
export function ioApicWindow(io: IoApic): KernelDevice {
  return {
    name: 'I/O APIC',
    gpa: IOAPIC_GPA,
    size: IOAPIC_BYTES,
    outside: true,
    load(offset, size, _vcpu, out) {
      out.lo = io.read(offset) & mask(size);
      out.hi = 0;
      return true;
    },
    store(offset, size, _vcpu, lo) {
      io.write(offset, lo & mask(size));
      return true;
    },
  };
}

/** What stands behind ports. */
export interface PortDevice {
  read(port: number): number;
  write(port: number, v: number): void;
}

/**
 * Ports from `first` on. `bytesOnly`: other sizes are dropped and read 0 (i8259.c). `around` makes
 * every access, and knows whose it is.
 */
export function ports(
  name: string,
  first: number,
  size: number,
  device: PortDevice,
  o: { readonly bytesOnly: boolean; readonly around: (vcpu: number, access: () => number) => number },
): KernelDevice {
  const unlike = (n: number): boolean => o.bytesOnly && n !== 1;
  return {
    name,
    gpa: first,
    size,
    load(offset, n, vcpu, out) {
      out.lo = unlike(n) ? 0 : o.around(vcpu, () => device.read(first + offset));
      out.hi = 0;
      return true;
    },
    store(offset, n, vcpu, lo) {
      if (unlike(n)) return true;
      o.around(vcpu, () => {
        device.write(first + offset, lo & 0xff);
        return 0;
      });
      return true;
    },
  };
}
