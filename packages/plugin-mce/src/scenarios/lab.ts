/**
 * Drives one cell: runs the guest until it is ready, lets the error come, answers exits as the VMM does, and writes down what
 * it sees.
 */
import {
  drive,
  type Exit,
  memoryFailure,
  type Signal,
  type Vcpu,
  type Verdict,
  type Vm,
} from '@faultyard/core';
import type { Outcome, Ride, ScenarioCase } from '@faultyard/testkit';
import { McaMsr, SmcaRegister } from '../bits.ts';
import { monitorMce, RELAY_BANK, resetVm } from '../vmm/index.ts';
import { derive, LOOP } from './derive.ts';
import { AREA, area, PORT, SAYS } from './guest/layout.ts';
import { readRecord } from './guest/record.ts';
import { type MceMachine, makeMachine, resultOf } from './machine.ts';
import { type Arrival, type LostPage, type Plan, planOf } from './plan.ts';
import { type Seen, showSeen } from './seen.ts';

/** Instructions after which a run that goes nowhere is given up. */
const BUDGET = 20_000;
/** Instructions that show a guest held in its handler. */
const HELD = 500;
/** Exits after which a cell is given up. */
const EXITS = 10 * LOOP;
/** Resets at most. */
const RESETS = 2;
const STATUS = McaMsr.MC0_STATUS + 4 * RELAY_BANK;
const DESTAT = McaMsr.SMCA + 16 * RELAY_BANK + SmcaRegister.DESTAT;

/** One vCPU as the lab sees it. */
interface Side {
  readonly seen: Seen[];
  records: number;
  done: boolean;
  /** It said that it stays in its handler. */
  held: boolean;
}

/** A cell under way. */
class Lab {
  readonly plan: Plan;
  readonly ride: Ride<MceMachine>;
  readonly #case: ScenarioCase;
  readonly #sides: readonly Side[];
  #arrived = false;
  #resets = 0;
  #rounds = 0;
  #events = 0;
  #lines = 0;
  /** Registers mean nothing any more: the VM is to be reset, or the VMM ended. */
  #over = false;
  #woken = false;

  constructor(c: ScenarioCase) {
    this.#case = c;
    const plan = planOf(c);
    this.plan = plan;
    this.ride = c.ride(() => makeMachine(plan, c.knobs));
    this.#sides = Array.from({ length: plan.vcpus }, () => ({
      seen: [],
      records: 0,
      done: false,
      held: false,
    }));
  }

  get #vm(): Vm {
    return this.ride.vm;
  }
  #cpu(n: number): Vcpu {
    return this.#vm.vcpus[n] as Vcpu;
  }
  #side(n: number): Side {
    return this.#sides[n] as Side;
  }

  /** Runs the cell. */
  run(): Outcome {
    if (!this.plan.guest || this.ride.machine.setup !== 0) {
      this.#side(0).seen.push({ saw: 'ioctl', name: 'SETUP', result: this.ride.machine.setup });
      return this.#outcome();
    }
    for (const { id } of this.#vm.vcpus) this.#begin(id);
    this.#arrive(this.plan.first);
    if (this.plan.reset && !this.#dies()) this.#reset();
    for (const { id } of this.#vm.vcpus) this.#finish(id);
    return this.#outcome();
  }

  // ---- the run ---------------------------------------------------------------------------------------------------

  /** Runs one vCPU until it says that it is ready. */
  #begin(id: number): void {
    const e = this.#next(id);
    if (said(e) !== 'ready') this.#stray(id, `${said(e) ?? e.kind} before ready`);
  }
  /** Whether the guest dies of the error as it stands, as a look ahead shows; nothing has happened afterwards. */
  #dies(): boolean {
    const now = this.#vm.snapshot();
    const e = this.ride.run(0, BUDGET);
    this.#vm.restore(now);
    now.dispose();
    return said(e) === 'panic';
  }
  /** Runs one vCPU to its end. */
  #finish(id: number): void {
    const side = this.#side(id);
    for (let n = 0; n < EXITS && !side.done && !this.#over; n++) this.#handle(this.#next(id), id);
    if (!side.done && !this.#over) this.#stray(id, 'no end');
  }
  #next(id: number): Exit {
    const e = this.ride.run(id, this.#side(id).held ? HELD : BUDGET);
    for (const { id: n } of this.#vm.vcpus) this.#collect(n);
    return e;
  }

  #handle(e: Exit, id: number): void {
    const side = this.#side(id);
    switch (e.kind) {
      case 'io':
        this.#heard(said(e), id);
        break;
      case 'hlt':
        break;
      case 'intr':
        this.#interrupted(e, id);
        break;
      case 'shutdown':
        side.seen.push({ saw: 'shutdown' });
        side.done = true;
        break;
      case 'budget':
        if (!side.held) this.#stray(id, 'budget');
        side.done = true;
        break;
      default:
        this.#stray(id, e.kind);
    }
  }
  #heard(what: keyof typeof SAYS | undefined, id: number): void {
    const side = this.#side(id);
    switch (what) {
      case 'ready':
        break;
      case 'again':
        this.#arrive(this.plan.second);
        break;
      case 'holds':
        side.held = true;
        this.#arrive(this.plan.second);
        break;
      case 'panic':
        if (this.plan.reset && this.#resets < RESETS) this.#reset();
        else side.done = true;
        break;
      case 'end':
        side.done = true;
        break;
      default:
        this.#stray(id, what ?? 'port');
    }
  }
  /** KVM_RUN = -1/EINTR: a SIGBUS for the VMM, or a vCPU that nothing wakes. */
  #interrupted(e: Exit, id: number): void {
    if (this.#vm.signals.pendingFor(id)) {
      if (this.plan.repeat && ++this.#rounds > this.plan.repeat + LOOP) {
        this.#side(id).done = true;
        return;
      }
      this.#follow(this.ride.machine.relay.handle(e), id);
    } else if (this.plan.guest?.kind === 'cmci' && !this.#woken) {
      this.#woken = true;
      this.#cpu(id).op('nmi', {});
    } else this.#stray(id, 'intr');
  }
  #stray(id: number, what: string): void {
    this.#side(id).seen.push({ saw: 'other', what });
    this.#side(id).done = true;
  }

  // ---- errors ----------------------------------------------------------------------------------------------------

  /** Lets an error come. */
  #arrive(a: Arrival | undefined): void {
    if (!a || (a === this.plan.first && this.#arrived)) return;
    this.#arrived = true;
    const { relay } = this.ride.machine;
    if (a.by === 'host') this.#lose(a);
    else if (a.by === 'K') {
      const result = resultOf(() => this.#cpu(0).op('x86-set-mce', a.error));
      this.#side(0).seen.push({ saw: 'ioctl', name: 'K', result });
    } else {
      const { bank, status, mcgStatus, addr, misc } = a.error;
      monitorMce(relay, [0, bank, status, mcgStatus, addr, misc].map(String));
      this.#follow(undefined, 0);
    }
  }
  /** The host loses a page, and tells the main thread (nobody consumed it) or the vCPU's. */
  #lose(a: LostPage): void {
    const vm = this.#vm;
    if (a.page === 'touched') {
      vm.poison(a.gpa);
      return;
    }
    const to = a.code === 'AO' ? 'main' : { vcpu: 0 };
    const send = (s: Signal): void => vm.signals.send(s);
    if (a.page === 'ram') drive(vm.memory.memoryFailure(a.gpa, to, send));
    else {
      const own = drive(vm.mm.mmap({ size: 0x1000 }));
      vm.mm.write(own, Uint8Array.of(1));
      const { addr, lsb } = drive(memoryFailure(vm.mm, own));
      send({ signal: 'SIGBUS', code: to === 'main' ? 'BUS_MCEERR_AO' : 'BUS_MCEERR_AR', addr, lsb, to });
    }
    if (to === 'main') this.#follow(this.ride.machine.relay.main(), 0);
  }
  /** Writes down what the relay said, and ends where it ends. */
  #follow(v: Verdict | undefined, id: number): void {
    const { relay } = this.ride.machine;
    for (const { to, text } of relay.log.slice(this.#lines))
      this.#side(id).seen.push({ saw: 'line', to, text });
    for (const event of relay.events.slice(this.#events))
      this.#side(event.vcpu ?? id).seen.push({ saw: 'event', event });
    this.#lines = relay.log.length;
    this.#events = relay.events.length;
    if (v?.verdict === 'stop' || relay.resetRequested) this.#over = true;
  }
  #reset(): void {
    this.#resets++;
    const { relay, start } = this.ride.machine;
    resetVm(relay, start);
    this.#side(0).seen.push({ saw: 'reset' });
  }

  // ---- the end ---------------------------------------------------------------------------------------------------

  /** Reads new records of a vCPU. */
  #collect(id: number): void {
    const side = this.#side(id);
    const count = Number(this.#vm.peek(area(id) + AREA.count));
    for (; side.records < count; side.records++) {
      const record = readRecord(this.#vm.read(area(id) + AREA.records + 64 * side.records, 64));
      side.seen.push(record ? { saw: 'record', record } : { saw: 'other', what: 'bad record' });
    }
  }
  /** Registers of vCPU 0 as KVM_GET_MSRS gives them, where the row asks for them. */
  #registers(): void {
    const { kind } = this.plan.guest ?? {};
    const begun = this.ride.machine.setup === 0;
    if (!begun || this.#over || kind === undefined || kind === 'probe') return;
    const { seen } = this.#side(0);
    const read = (name: 'S' | 'M' | 'D', index: number): void => {
      const [value] = this.#cpu(0).op('get-msrs', { indices: [index] });
      seen.push(value === undefined ? { saw: 'other', what: `no ${name}` } : { saw: 'msr', name, value });
    };
    const cleared = seen.some((s) => s.saw === 'record' && s.record.kind === 'cleared' && s.record.values[1]);
    const polls = kind === 'destat' || kind === 'fixed';
    read('S', STATUS);
    if (!polls) read('M', McaMsr.MCG_STATUS);
    if (polls && cleared && this.#case.knobs['smcaDestat'] === 'full') read('D', DESTAT);
  }
  #outcome(): Outcome {
    this.#registers();
    const actual = this.#sides.map((s) => derive(s.seen, this.plan.repeat)).join(' | ');
    const log = this.#sides.flatMap((s, n) => s.seen.slice(0, 40).map((x) => `cpu ${n}: ${showSeen(x)}`));
    return { actual, ride: this.ride, log };
  }
}

const WORDS = new Map(Object.entries(SAYS).map(([word, n]) => [n as number, word as keyof typeof SAYS]));

/** What an exit says if it is a write to the guest's port. */
function said(e: Exit): keyof typeof SAYS | undefined {
  return e.kind === 'io' && e.write && e.port === PORT ? WORDS.get(e.data[0] ?? 0) : undefined;
}

/** Runs a cell. */
export function runCell(c: ScenarioCase): Outcome {
  return new Lab(c).run();
}
