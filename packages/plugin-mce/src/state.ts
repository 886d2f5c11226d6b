/**
 * What KVM keeps of the machine check for a vCPU (`vcpu->arch.mcg_cap`, `mce_banks`, `mci_ctl2_banks`, ...; arch/x86/kvm/x86.c).
 * Neither INIT nor RESET touches it: only KVM_X86_SETUP_MCE, KVM_X86_SET_MCE and MSR writes do.
 */
import type { Cell, Plain } from '@faultyard/core';
import { MAX_BANKS } from './bits.ts';

/** Offsets of a bank's registers. */
export const CTL = 0;
/** Status. */
export const STATUS = 1;
/** Address. */
export const ADDR = 2;
/** Miscellaneous. */
export const MISC = 3;

/** Registers outside banks. */
export interface McaGlobals {
  mcgCap: bigint;
  mcgStatus: bigint;
  mcgCtl: bigint;
  mcgExtCtl: bigint;
  hwcr: bigint;
  /** FEAT_CTL; and which of its bits the guest may write. */
  featCtl: bigint;
  featCtlValid: bigint;
}
const GLOBALS: Readonly<McaGlobals> = {
  mcgCap: BigInt(MAX_BANKS),
  mcgStatus: 0n,
  mcgCtl: 0n,
  mcgExtCtl: 0n,
  hwcr: 0n,
  featCtl: 0n,
  featCtlValid: 1n,
};

/** Machine-check registers of one vCPU, as KVM makes them with it: 32 banks, nothing enabled. */
export class McaState {
  readonly globals: McaGlobals = { ...GLOBALS };
  /** CTL, STATUS, ADDR, MISC of bank i from 4 * i on. */
  readonly banks: BigUint64Array = new BigUint64Array(4 * MAX_BANKS);
  readonly ctl2: BigUint64Array = new BigUint64Array(MAX_BANKS);
  /** MCA_DESTAT and MCA_DEADDR, where a policy keeps them. */
  readonly destat: BigUint64Array = new BigUint64Array(MAX_BANKS);
  readonly deaddr: BigUint64Array = new BigUint64Array(MAX_BANKS);

  /** MCG_CAP's number of banks. */
  get count(): number {
    return Number(this.globals.mcgCap & 0xffn);
  }
  /** A bank's register. */
  get(bank: number, register: number): bigint {
    return this.banks[4 * bank + register] ?? 0n;
  }
  /** Sets it; the value is cut to 64 bits. */
  set(bank: number, register: number, value: bigint): void {
    this.banks[4 * bank + register] = value;
  }
  /** State of a vCPU, `mce.banks#<n>`. */
  cell(id: number): Cell {
    const arrays = (): readonly BigUint64Array[] => [this.banks, this.ctl2, this.destat, this.deaddr];
    return {
      name: `mce.banks#${id}`,
      version: 1,
      side: 'guest',
      read: (): Plain => ({ ...this.globals, registers: arrays().map((a) => [...a]) }),
      write: (v: Plain): void => {
        const { registers, ...globals } = v as unknown as McaGlobals & { registers: readonly bigint[][] };
        Object.assign(this.globals, globals);
        for (const [i, a] of arrays().entries()) a.set(registers[i] ?? []);
      },
    };
  }
}
