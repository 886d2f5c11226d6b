/** From an entry of the decision table to what the lab arranges: the guest, the page that goes bad, and when. */
import { FaultyardError } from '@faultyard/core';
import type { ScenarioCase } from '@faultyard/testkit';
import { AT, OFFSET, RAM, tableGpa, VICTIMS } from './guest/layout.ts';
import type { GuestSetup } from './guest/setup.ts';
import { STIMULI, type Stimulus } from './guest/stimuli.ts';
import type { Backing } from './machine.ts';

/** Facts of an entry, as data/decision-table.json spells them. */
export interface SetupFacts {
  readonly el?: number | string;
  readonly page?: 'D' | 'K' | 'F' | 'table' | 'device' | 'outside' | 'stage2-table' | 'vncr';
  readonly access?: string;
  readonly level?: number;
  readonly s1ptw?: 0 | 1;
  readonly tlbi?: boolean;
  readonly ease?: 0 | 1;
  readonly fixup?: boolean;
  readonly syscall?: boolean;
  readonly pstateA?: 0 | 1;
  readonly then?: string;
  readonly vcpus?: number;
  readonly staggered?: boolean;
  readonly staleTlb?: boolean;
  readonly processes?: number;
  readonly capEnabledLate?: boolean;
  readonly firstTouch?: 'clean' | 'poisoned';
  readonly serrorHandler?: 'continue';
  readonly poisonClears?: string;
  readonly poisonAfter?: string;
  readonly vmmWalksStage1?: boolean | readonly string[];
  readonly tableOutside?: boolean;
  readonly pageIsFirstOfBlock?: boolean;
  readonly uci?: 0 | 1;
  readonly dze?: 0 | 1;
  readonly synthetic?: { readonly esr: string; readonly hypContext: boolean };
}

/** What the lab damages, and how. */
export type Damage =
  /** The host page behind a gpa. */
  | { readonly kind: 'page'; readonly gpa: bigint }
  /** A stage 2 table: translations of a gpa page meet it at this level, reported with S1PTW or without. */
  | { readonly kind: 'stage2-table'; readonly gpa: bigint; readonly level: number; readonly s1ptw: boolean }
  /** A page of the host's own, reported by a ready-made syndrome. */
  | { readonly kind: 'synthetic'; readonly esr: number; readonly hypContext: boolean; readonly gpa: bigint }
  /** Nothing: the address leads outside all memslots. */
  | { readonly kind: 'none' };

/** One run. */
export interface Plan {
  readonly guest: GuestSetup;
  readonly damage: Damage;
  /** VA and gpa page of the touch. */
  readonly v: bigint;
  readonly i: bigint;
  readonly fetch: boolean;
  readonly cmo: boolean;
  /** How often the page is touched before the run may end at a claim. */
  readonly claims: number;
  readonly staggered: boolean;
  readonly capabilityLate: boolean;
  /** An SError ends the run (of its vCPU). */
  readonly serrorEnds: boolean;
  /** When the damage goes away by itself. */
  readonly heals: 'never' | 'after the exit' | 'once pending';
  /** The page goes bad when the touching instruction is next, not before. */
  readonly late: boolean;
  readonly walks: boolean;
  readonly data?: { readonly gpa: bigint; readonly backing: Backing };
  /** The host printed a record of the page a moment ago. */
  readonly printed: boolean;
}

/** Where row 13 has its page: the first of a 1 GiB block. */
const BLOCK = 0x1_0000_0000n;

/** Arranges a case. @throws FaultyardError FY_SCENARIO for an access that the guest has no instruction for. */
export function planOf(c: ScenarioCase, change: Partial<GuestSetup> = {}): Plan {
  const s = (c.entry.setup ?? {}) as SetupFacts;
  const stimulus = STIMULI[/^(vmm-load|kernel-copy)$/.test(s.access ?? '') ? 'ldr x' : (s.access ?? 'ldr x')];
  if (!stimulus)
    throw new FaultyardError('FY_SCENARIO', {
      scenario: c.entry.scenario,
      why: `no instruction is known for ${s.access}`,
      fix: `use one of ${Object.keys(STIMULI).join(', ')}`,
    });
  const block = s.pageIsFirstOfBlock === true;
  const { v, i } = target(s, stimulus, block);
  const ras = String(c.knobs['vmRas'] ?? '0') !== '0';
  const touches = c.column === 'P1' && c.entry.variant === 'duplicate' ? 1 : (s.processes ?? 1);
  const late = s.capEnabledLate === true;
  const guest: GuestSetup = {
    stimulus,
    el: s.el === 0 ? 0 : 1,
    touches: Array.from({ length: touches }, () => v),
    ras,
    cpus: s.vcpus === 2 ? 2 : 1,
    fixup: s.fixup === true,
    syscall: s.syscall === true,
    tlbi: s.tlbi === true,
    ease: s.ease === 1,
    serrorContinues: s.serrorHandler === 'continue',
    stale: s.staleTlb === true,
    pretouch: s.staleTlb === true || (late && s.firstTouch === 'clean'),
    sctlr: (s.uci ? 1 << 26 : 0) | (s.dze ? 1 << 14 : 0),
    ...(s.pstateA ? { masked: s.then === 'esb' ? { after: 'esb' } : s.then ? { after: 'unmask' } : {} } : {}),
    ...(block ? { dataGpa: BLOCK } : {}),
    ...(s.tableOutside ? { tableOutside: s.level ?? 3 } : {}),
    ...change,
  };
  return {
    guest,
    damage: damageOf(s, i),
    v,
    i,
    fetch: stimulus.fetch === true,
    cmo: /^(dc .*vac|ic )/.test(stimulus.access),
    claims: s.processes === 3 || s.firstTouch === 'poisoned' ? 2 : 1,
    staggered: s.staggered === true,
    capabilityLate: late,
    serrorEnds: s.serrorHandler !== 'continue' || c.knobs['capEnabled'] !== 'on',
    heals: s.pstateA ? 'once pending' : healing(s, c.column),
    late: stimulus.late === true,
    walks:
      s.vmmWalksStage1 === true || (Array.isArray(s.vmmWalksStage1) && s.vmmWalksStage1.includes(c.column)),
    printed: c.knobs['apei'] === 'duplicate',
    ...(block ? { data: { gpa: BLOCK, backing: (c.knobs['backing'] ?? '4K') as Backing } } : {}),
  };
}

function healing(s: SetupFacts, column: string): 'never' | 'after the exit' {
  return s.poisonClears?.startsWith(`${column}:`) ? 'after the exit' : 'never';
}

/** VA and gpa page of the touch. */
function target(s: SetupFacts, stimulus: Stimulus, block: boolean): { v: bigint; i: bigint } {
  const name = victimOf(s, stimulus);
  const { va, gpa } = VICTIMS[name];
  const whole = stimulus.fetch || name === 'F' || stimulus.access === 'dc zva';
  const v = whole ? va : va + (stimulus.access === 'casp x' ? OFFSET & ~15n : OFFSET);
  return { v, i: block ? BLOCK : gpa };
}

function victimOf(s: SetupFacts, stimulus: Stimulus): keyof typeof VICTIMS {
  switch (s.page) {
    case 'K':
    case 'F':
    case 'device':
    case 'outside':
      return s.page;
    case 'table':
      return stimulus.fetch ? 'F' : s.el === 0 ? 'D' : 'K';
    case 'vncr':
      return 'K';
    default:
      return 'D';
  }
}

function damageOf(s: SetupFacts, i: bigint): Damage {
  switch (s.page) {
    case 'outside':
      return { kind: 'none' };
    case 'table':
      return s.tableOutside ? { kind: 'none' } : { kind: 'page', gpa: tableGpa(s.level ?? 3) };
    case 'stage2-table': {
      const s1ptw = s.s1ptw === 1;
      // with S1PTW the translation that fails is that of a stage 1 table
      return { kind: 'stage2-table', gpa: s1ptw ? tableGpa(3) : i, level: s.level ?? 3, s1ptw };
    }
    case 'vncr': {
      const esr = Number.parseInt(s.synthetic?.esr ?? '0', 16);
      const gpa = RAM.gpa + AT.untouched;
      return { kind: 'synthetic', esr, hypContext: s.synthetic?.hypContext === true, gpa };
    }
    default:
      return { kind: 'page', gpa: i };
  }
}
