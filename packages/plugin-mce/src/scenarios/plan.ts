/** From an entry of the decision table to what the lab arranges: guest, error, who injects it and how. */
import type { ScenarioCase } from '@faultyard/testkit';
import type { MceKnobs } from '../knobs.ts';
import type { GuestVendor, QemuVersion } from '../vmm/index.ts';
import { BASE, MCG, VALUES } from './generated/table.ts';
import { AT } from './guest/layout.ts';
import type { GuestKind, GuestSetup } from './guest/setup.ts';

/** Facts of an entry, as data/README.md explains them. */
interface SetupFacts {
  readonly vendor: GuestVendor;
  readonly mcgCap: string;
  readonly guest: GuestKind | 'none';
  readonly inject?: string;
  readonly second?: string;
  readonly by?: 'K' | 'V' | 'monitor';
  readonly mcg?: number;
  readonly bank: number;
  readonly misc: string;
  readonly cpl?: 0 | 3;
  readonly touch?: 'user' | 'kernel';
  readonly repeat?: number;
  readonly sigbus?: 'AO' | 'AR';
  readonly address?: 'ram' | 'vmm';
  readonly reset?: boolean;
  readonly vcpus: number;
  readonly cr4mce: boolean;
  readonly qemu: QemuVersion;
  readonly requireSerP: boolean;
  readonly succor: boolean;
  readonly overflowRecov: boolean;
  readonly backend: MceKnobs['backend'];
  readonly scan: 'S' | 'UC';
  readonly lmce?: boolean;
  readonly mcgCtl?: string;
  readonly mcCtl?: string;
  readonly hwcr?: string;
  readonly featCtl?: string;
  readonly write?: { readonly msr: string; readonly value: string };
  readonly read?: string;
  readonly ctl2?: boolean;
  readonly masked?: boolean;
}

/** An error as KVM_X86_SET_MCE and the monitor take it. */
export interface GivenError {
  readonly bank: number;
  readonly status: bigint;
  readonly mcgStatus: bigint;
  readonly addr: bigint;
  readonly misc: bigint;
}

/** The host loses a page: of the guest, of the VMM, or one that the guest will load from. */
export interface LostPage {
  readonly by: 'host';
  readonly code: 'AO' | 'AR';
  readonly page: 'ram' | 'vmm' | 'touched';
  readonly gpa: number;
}

/** How one error comes: by KVM_X86_SET_MCE, by the monitor's word, or from the host. */
export type Arrival = { readonly by: 'K' | 'monitor'; readonly error: GivenError } | LostPage;

/** One cell. */
export interface Plan {
  readonly vendor: GuestVendor;
  readonly mcgCap: bigint;
  readonly backend: MceKnobs['backend'];
  /** Absent: nothing runs. */
  readonly guest: GuestSetup | undefined;
  readonly vcpus: number;
  readonly qemu: QemuVersion;
  readonly requireSerP: boolean;
  readonly succor: boolean;
  readonly overflowRecov: boolean;
  readonly lmce: boolean;
  readonly first: Arrival | undefined;
  readonly second: Arrival | undefined;
  /** The VMM resets the VM. */
  readonly reset: boolean;
  /** How often a round is written out before it counts as a loop. */
  readonly repeat: number;
}

const PAGE = 0x1000;

/** Arranges a case. */
export function planOf(c: ScenarioCase): Plan {
  const s = { ...BASE, ...c.entry.setup } as unknown as SetupFacts;
  const backend = (c.knobs['backend'] as MceKnobs['backend'] | undefined) ?? s.backend;
  const qemu = (c.knobs['qemu'] as QemuVersion | undefined) ?? s.qemu;
  const serP = c.knobs['requireSerP'];
  const requireSerP = serP === undefined ? s.requireSerP : serP === 'yes';
  const shared = { vendor: s.vendor, mcgCap: BigInt(s.mcgCap), backend, vcpus: s.vcpus, qemu };
  const vmm = { requireSerP, succor: s.succor, overflowRecov: s.overflowRecov };
  return {
    ...shared,
    ...vmm,
    guest: s.guest === 'none' ? undefined : guestOf(s, s.guest),
    lmce: s.lmce === true,
    first: arrival(s, s.inject, 0),
    second: s.second === undefined ? undefined : arrival(s, s.second, 1),
    reset: s.reset === true,
    repeat: s.repeat ?? 0,
  };
}

function guestOf(s: SetupFacts, kind: GuestKind): GuestSetup {
  const big = (text: string | undefined): bigint | undefined =>
    text === undefined ? undefined : BigInt(text);
  const mcgCtl = big(s.mcgCtl);
  const mcCtl = big(s.mcCtl);
  const hwcr = big(s.hwcr);
  const featCtl = big(s.featCtl);
  return {
    kind,
    scan: s.scan,
    cpl: s.cpl ?? 0,
    cr4mce: s.cr4mce,
    second: s.second !== undefined,
    lmce: s.lmce === true,
    ctl2: s.ctl2 === true,
    masked: s.masked === true,
    ...(s.touch ? { touch: AT.victim } : {}),
    ...(mcgCtl === undefined ? {} : { mcgCtl }),
    ...(mcCtl === undefined ? {} : { mcCtl }),
    ...(hwcr === undefined ? {} : { hwcr }),
    ...(featCtl === undefined ? {} : { featCtl }),
    ...(s.write ? { write: { msr: Number(s.write.msr), value: BigInt(s.write.value) } } : {}),
    ...(s.read === undefined ? {} : { read: Number(s.read) }),
  };
}

function arrival(s: SetupFacts, name: string | undefined, nth: number): Arrival | undefined {
  const gpa = AT.victim + nth * PAGE;
  if (s.sigbus) return { by: 'host', code: s.sigbus, page: s.address ?? 'ram', gpa };
  if (name === undefined || s.by === undefined) return undefined;
  if (s.by === 'V') {
    const code = /^(AR|SRAR)/.test(name) ? 'AR' : 'AO';
    return { by: 'host', code, page: code === 'AR' && s.touch ? 'touched' : 'ram', gpa };
  }
  const error = {
    bank: s.bank,
    status: BigInt(VALUES[name] as string),
    mcgStatus: BigInt(s.mcg ?? MCG[name] ?? 0),
    addr: BigInt(gpa),
    misc: BigInt(s.misc),
  };
  return { by: s.by, error };
}
