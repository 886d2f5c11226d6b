/** What a session has done so far: the lines it evaluated, the machines it made and the exits they returned. */
import type { Vm } from '@faultyard/core';

/** The outcome a saved scenario expects. */
export interface Expected {
  /** Kinds of exit, in order, of all machines together. */
  readonly exits: readonly string[];
  /** State hash of the last machine. */
  readonly stateHash: string;
}

/** Head of a scenario file, as `scenario({…})` gives it. */
export interface ScenarioHead {
  readonly id: string;
  readonly title?: string;
  readonly expected: Expected;
}

/** Exits that are kept; a loop can make millions, and the final state says what they came to. */
const MOST_EXITS = 10_000;

/** A journal; one per session or script. */
export class Journal {
  /** Inputs that were evaluated without an error, in order. */
  readonly inputs: string[] = [];
  /** Kinds of exit in the order in which KVM_RUN returned them, the first ten thousand. */
  readonly exits: string[] = [];
  /** Machines in the order in which they were made. */
  readonly machines: Vm[] = [];
  /** Names that exist without being declared: JavaScript's own and the session's. */
  readonly globals: Set<string> = new Set(Object.getOwnPropertyNames(globalThis));
  /** The head of the scenario file that runs, if one said so. */
  head: ScenarioHead | undefined;

  /** Follows a machine from now on. Its exits are traced until enough are kept; then it runs at full speed. */
  follow(vm: Vm): void {
    this.machines.push(vm);
    if (this.exits.length >= MOST_EXITS) return;
    vm.traced = true;
    const leave = vm.trace.on((event) => {
      if (event.name !== 'kvm_userspace_exit') return;
      if (this.exits.length < MOST_EXITS) this.exits.push(event.kind);
      else {
        leave();
        vm.traced = false;
      }
    });
  }

  /** Instructions retired by all machines. */
  get instructions(): number {
    return this.machines.reduce((sum, vm) => sum + vm.vcpus.reduce((n, v) => n + v.retired, 0), 0);
  }

  /** State hash of the last machine; of no machine, the empty text. */
  get stateHash(): string {
    return this.machines.at(-1)?.stateHash() ?? '';
  }

  /** What happened, as an expectation of the next time. */
  get outcome(): Expected {
    return { exits: [...this.exits], stateHash: this.stateHash };
  }
}

/** An outcome as one line: the exits, then the state. */
export function outcomeText({ exits, stateHash }: Expected): string {
  return [...exits, `state=${stateHash}`].join(' ');
}
