/**
 * Drives one cell: runs the guest, damages what the plan says when the guest is ready, lets the VMM's policy answer
 * exits, and writes down what it sees.
 */
import type { Arm64Api, Arm64Vcpu } from '@faultyard/arch-arm64';
import type { Exit, Vcpu, Vm } from '@faultyard/core';
import type { Outcome, Ride, ScenarioCase } from '@faultyard/testkit';
import type { HostLoad } from '../host.ts';
import type { SeaApi } from '../plugin.ts';
import { type Counters, derive, deriveCounts, LOOP, type Touch } from './derive.ts';
import { type GuestImage, guestOf } from './guest/image.ts';
import { AREA, AT, areaGpa, KERNEL, PORT, RAM, SAYS, SHARED } from './guest/layout.ts';
import { readRecords } from './guest/record.ts';
import { makeMachine, type SeaMachine } from './machine.ts';
import type { Plan } from './plan.ts';
import { type Seen, showSeen } from './seen.ts';

/** Instructions after which a run that goes nowhere is given up. */
const BUDGET = 100_000;
/** Exits after which it is. */
const EXITS = 4 * LOOP;
/** Instructions between two looks at pending SErrors. */
const PEEK = 2_000;

/** One vCPU as the lab sees it. */
interface Side {
  readonly seen: Seen[];
  records: number;
  /** Its last exit was 41, with these bytes. */
  page: Uint8Array | undefined;
  claims: number;
  alike: number;
  done: boolean;
}

/** A cell under way. */
export class Lab {
  readonly plan: Plan;
  readonly ride: Ride<SeaMachine>;
  readonly image: GuestImage;
  readonly touch: Touch;
  readonly #case: ScenarioCase;
  readonly #sides: Side[];
  /** The VMM stopped the VM: nothing is entered any more. */
  stopped = false;
  /** Events that only the VMM's own code counts. */
  vmmEvents = 0;
  /** The victim's page before the damage. */
  #before: Uint8Array | undefined;

  constructor(c: ScenarioCase, plan: Plan, o: { readonly replayClaimed?: boolean } = {}) {
    this.#case = c;
    this.plan = plan;
    const image = guestOf(c.entry, plan.guest);
    this.image = image;
    this.touch = {
      pc: plan.fetch ? plan.v : image.stimulus,
      v: plan.v,
      i: plan.i,
      cmo: plan.cmo,
      checksum: image.checksum,
    };
    const options = {
      image,
      knobs: c.knobs,
      vcpus: plan.guest.cpus,
      df2: plan.guest.ease === true,
      capabilityLate: plan.capabilityLate,
      walks: plan.walks,
      replayClaimed: o.replayClaimed === true,
      ...(plan.data ? { data: plan.data } : {}),
    };
    this.ride = c.ride(() => makeMachine(options));
    this.#sides = Array.from({ length: plan.guest.cpus }, () => ({
      seen: [],
      records: 0,
      page: undefined,
      claims: 0,
      alike: 0,
      done: false,
    }));
  }

  /** The VM as it is now. */
  get vm(): Vm {
    return this.ride.vm;
  }
  /** What was seen of a vCPU. */
  seen(cpu: number = 0): readonly Seen[] {
    return this.#side(cpu).seen;
  }
  #side(cpu: number): Side {
    return this.#sides[cpu] as Side;
  }
  /** Whether a vCPU has come to its end. */
  done(cpu: number): boolean {
    return this.stopped || this.#side(cpu).done;
  }
  /** A vCPU. */
  cpu(n: number = 0): Vcpu {
    return this.vm.vcpus[n] as Vcpu;
  }

  // ---- the run ---------------------------------------------------------------------------------------------------

  /** Runs to the next exit of one vCPU (or of any), and writes down what happened on the way to it. */
  next(vcpu?: number, budget: number = BUDGET): Exit {
    const e = this.ride.run(vcpu, budget);
    this.#collect();
    return e;
  }

  /** Runs until the guest has said `ready` on every CPU. */
  ready(): void {
    for (let left = this.plan.guest.stale ? 1 : this.plan.guest.cpus; left > 0; ) {
      const e = this.next();
      if (said(e) !== SAYS.ready) {
        this.#side(e.vcpu).seen.push({ saw: 'other', kind: `${e.kind} before ready` });
        this.stopped = true;
        return;
      }
      left--;
    }
  }

  /** Damages what the plan says, and lets CPU `n` (all, without) touch it. */
  begin(n?: number): void {
    const d = this.plan.damage;
    if (this.plan.capabilityLate && this.plan.guest.pretouch) this.enable();
    if (this.plan.printed) this.vm.api<never, SeaApi>('sea').printed(this.plan.i);
    if (this.plan.late) this.approach();
    this.#before = this.vm.read(this.plan.i, this.#known ? 4096 : 0);
    if (d.kind === 'page') this.vm.poison(d.gpa);
    if (d.kind === 'stage2-table') this.vm.api<never, Arm64Api>('arm64').poisonStage2Table(d.gpa, d);
    if (d.kind === 'synthetic') this.#present();
    this.go(n);
  }
  /** Whether the victim is memory that the lab can look at. */
  get #known(): boolean {
    return this.vm.memory.slotAt(this.plan.i) !== undefined;
  }
  /** Makes the next instruction meet the made-up abort. */
  #present(): void {
    const d = this.plan.damage;
    if (d.kind !== 'synthetic') return;
    (this.cpu().arch as Arm64Vcpu).presentAbort({
      abort: {
        cls: 'load',
        write: false,
        va: KERNEL + AT.untouched,
        gpa: d.gpa,
        forFetch: false,
        el0: false,
        cm: false,
      },
      report: { esr: d.esr, far: KERNEL + AT.untouched },
      hypContext: d.hypContext,
    });
  }
  /** Lets CPU `n` (all, without) go on. */
  go(n?: number): void {
    if (this.plan.guest.cpus < 2 || this.plan.guest.stale) return;
    for (const cpu of n === undefined ? [0, 1] : [n])
      this.vm.poke(RAM.gpa + AT.shared + BigInt(SHARED.go + 8 * cpu), 1);
  }
  /** The VMM enables the capability, if the cell's VMM ever does. */
  enable(): void {
    if (this.#case.knobs['capEnabled'] === 'on') this.vm.enableCap('arm-sea-to-user');
  }
  /** Runs until the touching instruction is next. */
  approach(): void {
    for (let n = 0; n < BUDGET && this.cpu().pc !== this.image.stimulus; n++) this.next(0, 1);
  }

  /** Runs one vCPU (or all) to the end of the cell. */
  finish(vcpu?: number): void {
    for (let n = 0; n < EXITS && !this.#over(vcpu); n++) {
      const e = this.next(vcpu, this.#peeking ? PEEK : BUDGET);
      this.handle(e);
    }
    if (!this.#over(vcpu)) this.#side(vcpu ?? 0).seen.push({ saw: 'other', kind: 'no end' });
  }
  /** Whether the lab waits for an SError to become pending. */
  get #peeking(): boolean {
    return this.plan.heals === 'once pending' && !this.seen().some((s) => s.saw === 'pending');
  }
  #over(vcpu?: number): boolean {
    if (this.stopped) return true;
    return vcpu === undefined ? this.#sides[0]?.done === true : this.#side(vcpu).done;
  }

  /** What the VMM and the lab do with one exit. */
  handle(e: Exit): void {
    const side = this.#side(e.vcpu);
    const says = said(e);
    if (says !== undefined) {
      this.#heard(says, side);
      return;
    }
    if (e.kind === 'budget' && this.#peeking) {
      this.#pending(side);
      return;
    }
    this.#note(e, side);
    if (side.done) return;
    this.#stopOthers(e.vcpu);
    const before = this.ride.machine.inject.count;
    const v = this.ride.machine.policy.handle(e);
    if (this.ride.machine.inject.count > before) side.seen.push({ saw: 'replay' });
    if (e.kind === 'arm-sea' && this.plan.heals === 'after the exit') this.heal();
    if (e.kind === 'arm-sea' && this.plan.damage.kind === 'synthetic') this.#present();
    if (v?.verdict === 'stop') {
      if (v.why.startsWith('kill')) side.seen.push({ saw: 'kill' });
      this.stopped = true;
    }
  }
  /**
   * Kicks every other vCPU out of KVM_RUN, as a VMM does before it changes memory. Where vCPUs exit together there is
   * nobody to kick.
   */
  #stopOthers(but: number): void {
    if (!this.plan.staggered) return;
    for (const v of this.vm.vcpus) {
      if (v.id === but) continue;
      v.immediateExit = true;
      v.run(1);
      v.immediateExit = false;
    }
  }
  /** Repairs the damage. */
  heal(): void {
    if (this.plan.damage.kind === 'page') this.vm.heal(this.plan.damage.gpa);
  }

  #heard(says: number, side: Side): void {
    switch (says) {
      case SAYS.serror:
        if (this.plan.serrorEnds) side.done = true;
        else this.enable();
        break;
      case SAYS.dead:
      case SAYS.report:
        side.done = true;
        break;
      default:
        break;
    }
  }
  /** A budget ended: is an SError pending that the guest cannot take? */
  #pending(side: Side): void {
    const cpu = this.cpu();
    const ev = cpu.op('get-vcpu-events', {});
    if (!ev.serrorPending) {
      side.seen.push({ saw: 'other', kind: 'budget' });
      side.done = true;
      return;
    }
    side.seen.push({ saw: 'pending', esr: ev.serrorEsr, moved: cpu.pc !== this.image.stimulus });
    this.heal();
  }

  /** Writes an exit down. */
  #note(e: Exit, side: Side): void {
    const { seen } = side;
    switch (e.kind) {
      case 'arm-sea': {
        const bytes = runPage(this.cpu(e.vcpu));
        const same = side.page !== undefined && equal(side.page, bytes);
        side.page = bytes;
        side.alike = same ? side.alike + 1 : 1;
        seen.push({ saw: 'sea', esr: e.esr, flags: e.flags, gva: e.gva ?? 0n, gpa: e.gpa ?? 0n, same });
        if (side.alike >= LOOP) side.done = true;
        return;
      }
      case 'mmio':
        seen.push({ saw: 'hole', door: 'mmio', gpa: e.gpa, write: e.write, size: e.size });
        break;
      case 'arm-nisv':
        seen.push({ saw: 'hole', door: 'nisv', gpa: e.faultIpa });
        break;
      case 'memory-fault':
        seen.push({ saw: 'hole', door: 'userfault', gpa: e.gpa });
        break;
      case 'run-error':
        seen.push(
          e.errno === 'ENOSYS' ? { saw: 'hole', door: 'enosys' } : { saw: 'other', kind: `${e.errno}` },
        );
        break;
      case 'intr':
        this.#signal(e.vcpu, side);
        break;
      case 'shutdown':
        seen.push(
          e.why.startsWith('host panic') ? { saw: 'host', how: 'panic' } : { saw: 'other', kind: e.why },
        );
        side.done = true;
        break;
      default:
        seen.push({ saw: 'other', kind: e.kind });
        side.done = true;
    }
    side.page = undefined;
  }
  #signal(cpu: number, side: Side): void {
    const s = this.vm.signals.pending().find((x) => x.to !== 'main' && x.to.vcpu === cpu);
    if (!s) {
      side.seen.push({ saw: 'other', kind: 'intr' });
      side.done = true;
      return;
    }
    side.seen.push({ saw: 'signal', code: s.code, lsb: s.lsb ?? 0 });
    if (s.code !== 'BUS_MCEERR_AR') side.done = true;
    else if (++side.claims >= this.plan.claims) side.done = true;
    else if (this.plan.capabilityLate) this.enable();
  }

  /** Reads new records of every CPU. */
  #collect(): void {
    this.#sides.forEach((side, cpu) => {
      const base = areaGpa(cpu);
      const read = (offset: number): bigint => this.vm.peek(base + BigInt(offset));
      if (Number(read(AREA.count)) === side.records) return;
      for (const record of readRecords(read, side.records)) {
        side.records++;
        side.page = undefined;
        side.alike = 0;
        const far = record.note === 'past' ? this.plan.v : record.far;
        side.seen.push({ saw: 'record', record, hole: this.#leadsOut(far) });
      }
    });
  }
  /** Whether an address of the guest, or a table on the way, is in no memslot. */
  #leadsOut(va: bigint): boolean {
    const walk = this.cpu().arch.walk(va, 'read');
    const gpas = [...walk.steps.map((s) => s.gpa), ...(walk.gpa === undefined ? [] : [walk.gpa])];
    return gpas.some((g) => this.vm.memory.slotAt(g) === undefined);
  }

  /** Writes down what a load by the host gave. */
  hostLoaded(l: HostLoad): void {
    const { seen } = this.#side(0);
    if (l.kind === 'oops') seen.push({ saw: 'host', how: 'oops' });
    else if (l.kind === 'bytes') seen.push({ saw: 'other', kind: 'loaded' });
    else for (const s of this.vm.signals.drain('main')) seen.push({ saw: 'host-signal', code: s.code });
    if (l.kind !== 'bytes') this.vmmEvents++;
  }

  // ---- the end ---------------------------------------------------------------------------------------------------

  /** What the VMM counted. */
  get counters(): Counters {
    const t = this.ride.machine.threshold;
    return {
      pages: t?.pages.length ?? 0,
      unknown: t?.unknown ?? 0,
      device: t?.device ?? 0,
      vmm: this.vmmEvents,
      total: t?.total ?? this.ride.machine.policy.events,
    };
  }
  /** The outcome, by the column's observer. */
  outcome(): Outcome {
    const codes = this.#sides
      .filter((_, n) => n === 0 || !this.plan.guest.stale)
      .map((s) => derive(s.seen, this.touch));
    const completed = this.seen().some((s) => s.saw === 'record' && s.record.note === 'past');
    // memory_failure took a claimed page, and its content with it
    const lost = this.seen().some((s) => s.saw === 'signal');
    if (
      !completed &&
      !lost &&
      this.#before &&
      this.#known &&
      !equal(this.#before, this.vm.read(this.plan.i, 4096))
    )
      codes.push('RAM changed?');
    const counting = this.#case.column === 'P5';
    const actual = counting ? deriveCounts(this.seen(), this.touch, this.counters) : codes.join(' | ');
    const log = this.#sides.flatMap((s, n) =>
      s.seen.filter((x, k) => k < 40 || x.saw !== 'sea').map((x) => `cpu ${n}: ${showSeen(x)}`),
    );
    return { actual, ride: this.ride, log };
  }
}

/** What an exit says if it is a store to the debug port. */
function said(e: Exit): number | undefined {
  return e.kind === 'mmio' && e.write && e.gpa === PORT.gpa ? Number(e.value & 0xffn) : undefined;
}

function runPage(v: Vcpu): Uint8Array {
  const view = v.kvmRun;
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Runs a cell with one CPU at work. */
export function runCell(c: ScenarioCase, plan: Plan): Outcome {
  const lab = new Lab(c, plan);
  lab.ready();
  if (!lab.stopped) lab.begin();
  lab.finish();
  return lab.outcome();
}
