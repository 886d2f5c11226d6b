/** The machine check that a SIGBUS becomes: by vendor of the guest, and by version of QEMU. */
import { McgStatus, Status } from '../bits.ts';

/** An error for a bank, as a VMM makes it up. */
export interface MachineCheck {
  readonly bank: number;
  readonly status: bigint;
  /** MCG_STATUS; stored with uncorrected errors only. */
  readonly mcgStatus: bigint;
  readonly addr: bigint;
  readonly misc: bigint;
}

/**
 * Versions whose shapes differ: up to `9.0` every guest gets Intel's; from 9.1 on (`10.0`) AMD guests get their own, and
 * no broadcast.
 */
export type QemuVersion = '9.0' | '10.0';

/** Who made the guest's CPU, by CPUID leaf 0. Hygon counts as Intel here, as it does for QEMU. */
export type GuestVendor = 'AMD' | 'Intel';

/** The bank that relayed errors go to. */
export const RELAY_BANK = 9;
/** MCi_MISC: a physical address, valid from bit 12 on. */
const PHYSICAL_PAGE = 0x8cn;
const { VAL, UC, EN, MISCV, ADDRV, S, AR, DEFERRED, POISON } = Status;
const { RIPV, EIPV, MCIP } = McgStatus;
const COMMON = VAL | EN | MISCV | ADDRV;
/** MCACOD of a data load, and of memory scrubbing. */
const DATA_LOAD = 0x134n;
const SCRUB = 0xc0n;

/** Status and MCG_STATUS by vendor and kind (QEMU target/i386/kvm/kvm.c; AMD's without an error code). */
const SHAPES: Readonly<Record<GuestVendor, Readonly<Record<'AO' | 'AR', readonly [bigint, bigint]>>>> = {
  Intel: {
    AR: [COMMON | UC | S | AR | DATA_LOAD, MCIP | EIPV | RIPV],
    AO: [COMMON | UC | S | SCRUB, MCIP | RIPV],
  },
  AMD: {
    AR: [COMMON | UC | POISON, MCIP | EIPV | RIPV],
    AO: [COMMON | DEFERRED | POISON, MCIP | RIPV],
  },
};

/** The error that a bad page at `gpa` becomes. */
export function shapeOf(
  code: 'BUS_MCEERR_AO' | 'BUS_MCEERR_AR',
  gpa: bigint,
  o: { readonly vendor: GuestVendor; readonly qemu?: QemuVersion },
): MachineCheck {
  const vendor = o.qemu === '9.0' ? 'Intel' : o.vendor;
  const [status, mcgStatus] = SHAPES[vendor][code === 'BUS_MCEERR_AR' ? 'AR' : 'AO'];
  return { bank: RELAY_BANK, status, mcgStatus, addr: gpa, misc: PHYSICAL_PAGE };
}

/** What the other vCPUs get when an error is broadcast: bank 1, uncorrected, not enabled. */
export const FILLER: MachineCheck = {
  bank: 1,
  status: VAL | UC,
  mcgStatus: MCIP | RIPV,
  addr: 0n,
  misc: 0n,
};
