/**
 * The actual outcome code of a run, from the guest's trap records, KVM_RUN's results, signals, and the counters of the
 * VMM's policy. The grammar is in data/README.md. Whatever does not fit becomes a token with a question mark.
 */
import { KEPT_FAR } from './guest/image.ts';
import type { TrapRecord } from './guest/record.ts';
import type { Seen } from './seen.ts';

/** Where the touch goes, as the lab arranged it. */
export interface Touch {
  /** VA of the touching instruction (of the victim, for a fetch). */
  readonly pc: bigint;
  /** VA touched. */
  readonly v: bigint;
  /** Its gpa page. */
  readonly i: bigint;
  /** What the guest's checksum over untouched memory must be. */
  readonly checksum: bigint;
  /** The instruction maintains caches: it completes on a hole without an access. */
  readonly cmo: boolean;
}

/** Times an exit must repeat to be a loop. */
export const LOOP = 1000;

const hex = (v: bigint): string => v.toString(16).toUpperCase();
const vector = (slot: number): string => `+${slot.toString(16).toUpperCase().padStart(3, '0')}`;

/** External abort by its FSC: not on a walk, on a walk, or none. */
function abortKind(esr: bigint): 'access' | 'walk' | undefined {
  const ec = Number(esr >> 26n) & 0x3f;
  const fsc = Number(esr & 0x3fn);
  if ((ec & ~5) !== 0x20) return undefined;
  return fsc === 0x10 ? 'access' : fsc >= 0x13 && fsc <= 0x17 ? 'walk' : undefined;
}

/** Code of what was seen of one vCPU. */
export function derive(seen: readonly Seen[], t: Touch): string {
  const out: string[] = [];
  let replayed = 0;
  let acted = false;
  let alike = 0;
  let ticks = 0;
  const aborting = (r: TrapRecord): string => (r.elr === t.pc ? '' : `,elr=${hex(r.elr)}?`);
  const address = (far: bigint): string => {
    if (far === t.v) return 'V';
    if ((far & ~0xfffn) === t.i) return 'I';
    if (far === KEPT_FAR) return 'kept';
    return far === 0n ? '0' : 'stale';
  };

  const sea = (s: Seen & { saw: 'sea' }): void => {
    alike = s.same && alike > 0 ? alike + 1 : 1;
    if (alike === LOOP) {
      if (!acted) out.pop();
      out.push('LOOP');
    }
    if (alike > 1) return;
    acted = false;
    out.push(exit(s, t));
  };
  const trap = (r: TrapRecord, hole: boolean): void => {
    const ec = Number(r.esr >> 26n) & 0x3f;
    if (ec === 0x2f) {
      // a pending one is taken where the guest unmasks it
      out.push(`SE(${vector(r.slot)},${hex(r.esr)}${out.includes('VSE') ? '' : aborting(r)})`);
      return;
    }
    if ((r.slot & 0x180) === 0x80) {
      if (r.elr === t.pc && ++ticks === 2) out.push('RETRY');
      return;
    }
    if (!abortKind(r.esr)) return;
    const where = `${vector(r.slot)},${hex(r.esr)}`;
    if (replayed) {
      replayed--;
      out.push(`INJ(${where},${address(r.far)}${aborting(r)})`);
    } else if (hole) {
      const fetch = (ec & 4) === 0;
      const v = address(r.far) === 'V' ? '' : `,${address(r.far)}?`;
      out.push(`${fetch ? 'H3' : 'H4'}(${where}${v}${aborting(r)})`);
    } else out.push(`DIR(${where},${address(r.far)}${aborting(r)})`);
  };
  const note = (r: TrapRecord, hole: boolean, later: readonly Seen[]): void => {
    const lives = later.some((s) => s.saw === 'record' && finished(s.record, t));
    switch (r.note) {
      case 'trap':
        trap(r, hole);
        break;
      case 'death':
        if (abortKind(r.esr)) out.push((abortKind(r.esr) === 'walk' ? 'L2' : 'L1') + (lives ? '' : '?'));
        break;
      case 'dead':
        out.push(abortKind(r.esr) ? (abortKind(r.esr) === 'walk' ? 'L4' : 'L3') : `dead(${hex(r.esr)})?`);
        break;
      case 'fixup':
        out.push(lives ? 'FIX' : 'FIX?');
        break;
      case 'past':
        out.push(!hole ? 'OK' : t.cmo ? 'H5' : 'OK(hole)?');
        break;
      case 'disr':
        out.push(`DISR(${hex(r.esr)})`);
        break;
      case 'isr':
        if (out[out.length - 1] === 'VSE?' && r.esr & 0x100n) out[out.length - 1] = 'VSE';
        break;
      case 'finished':
        break;
    }
  };

  seen.forEach((s, n) => {
    if (s.saw !== 'sea' && s.saw !== 'replay') alike = 0;
    switch (s.saw) {
      case 'sea':
        sea(s);
        break;
      case 'replay':
        acted = true;
        replayed = 1;
        break;
      case 'hole':
        out.push(hole(s, t));
        break;
      case 'signal':
        out.push(s.code === 'BUS_MCEERR_AR' ? `CL(AR,${s.lsb})` : `BUS(${s.code.replace('BUS_', '')})`);
        break;
      case 'record':
        note(s.record, s.hole, seen.slice(n + 1));
        break;
      case 'pending':
        out.push(s.moved ? 'VSE(moved)?' : 'VSE?');
        break;
      case 'host-signal':
        out.push(`BUS(${s.code.replace('BUS_', '')})`);
        break;
      case 'host':
        out.push(`HOST(${s.how})`);
        break;
      case 'kill':
        out.push('KILL');
        break;
      case 'other':
        out.push(`${s.kind}?`);
        break;
    }
  });
  return out.join(' ');
}

/** Heartbeats of a guest that came to its end. */
const HEARTBEATS = 100n;

/** The guest lives: it went on to its end, its heart beat, and memory nobody touched is what it was. */
function finished(r: TrapRecord, t: Touch): boolean {
  return r.note === 'finished' && r.far === HEARTBEATS && r.esr === t.checksum;
}

/** `X(esr[,gva=g][,gpa=g][,flags=n])`. */
function exit(s: Seen & { saw: 'sea' }, t: Touch): string {
  const nested = Number(s.esr >> 26n) === 0x25;
  const gva = s.gva === t.v ? '' : `,gva=${s.gva === 0n ? '0' : 'stale'}`;
  const gpa = s.gpa === t.i ? '' : `,gpa=${s.gpa === 0n ? '0' : 'stale'}`;
  const plain = s.flags === 1n && s.gpa !== 0n;
  const flags = nested ? ',flags=stale' : plain ? '' : `,flags=${s.flags}`;
  return `X(${hex(s.esr)}${gva}${gpa}${flags})`;
}

/** The doors of a hole; an address other than I+V[11:0] is shown. */
function hole(s: Seen & { saw: 'hole' }, t: Touch): string {
  const at = (gpa: bigint, want: bigint): string => (gpa === want ? '' : `${hex(gpa)}?`);
  const exact = t.i + (t.v & 0xfffn);
  switch (s.door) {
    case 'mmio': {
      const wrong = at(s.gpa, exact);
      return `H1(${s.write ? 'w' : 'r'},${s.size}${wrong && `,${wrong}`})`;
    }
    case 'nisv':
      return `H2${at(s.gpa, exact) && `(${hex(s.gpa)}?)`}`;
    case 'userfault':
      return `UF${at(s.gpa, t.i) && `(${hex(s.gpa)}?)`}`;
    case 'enosys':
      return 'H2(ENOSYS)';
  }
}

/** Counters of the VMM's policy. */
export interface Counters {
  readonly pages: number;
  readonly unknown: number;
  readonly device: number;
  readonly vmm: number;
  readonly total: number;
}

/**
 * Code of a run whose VMM counts (column P5): what the guest saw before the first event, then the counters; `none` when
 * no event reached the VMM.
 */
export function deriveCounts(seen: readonly Seen[], t: Touch, c: Counters): string {
  if (c.total + c.vmm === 0) return 'none';
  const first = seen.findIndex((s) => s.saw === 'sea' || s.saw === 'signal');
  const before = derive(seen.slice(0, Math.max(first, 0)), t);
  const parts = [
    before,
    c.pages ? `D+${c.pages}` : '',
    c.unknown ? `U+${c.unknown}` : '',
    c.device ? `DEV+${c.device}` : '',
    c.vmm ? `VMM+${c.vmm}` : '',
    c.total > 1 ? `total+${c.total}` : '',
  ];
  return parts.filter((p) => p).join(' ');
}

/** Whether two codes agree when some ESR bits are not compared. */
export function sameCode(expected: string, actual: string, ignore: number): boolean {
  if (!ignore) return expected === actual;
  const strip = (code: string): string =>
    code.replace(/(X\(|INJ\([^,]*,)([0-9A-F]{8})/g, (_, head: string, esr: string) => {
      const kept = (Number.parseInt(esr, 16) & ~ignore) >>> 0;
      return `${head}${kept.toString(16).toUpperCase()}`;
    });
  return strip(expected) === strip(actual);
}
