/** Witnesses of knob values that no cell of the table shows: small experiments, each with one line as its result. */
import { KvmError } from '@faultyard/core';
import { injectEvents } from '../../src/vmm/inject.ts';
import { type Bench, bench, ELSEWHERE, I, PC, V, VBAR } from './bench.ts';

type Knobs = Readonly<Record<string, string>>;
const hex = (v: bigint): string => v.toString(16);

function abort(knobs: Knobs, o: Parameters<typeof bench>[0] = {}): { b: Bench; kind: string } {
  const b = bench({ ...o, set: { 'sea.capEnabled': 'on', ...prefixed(knobs) } });
  b.vm.poison(I);
  return { b, kind: b.cpu.run(1).kind };
}
const prefixed = (k: Knobs): Record<string, string> =>
  Object.fromEntries(Object.entries(k).map(([n, v]) => [`sea.${n}`, v]));

/** The abort's way without an exit, stopped before the guest executes again. */
function withoutExit(knobs: Knobs): Bench {
  const b = bench({ set: { 'sea.capEnabled': 'off', ...prefixed(knobs) } });
  b.vm.poison(I);
  const task = b.cpu.runTask(10, 1);
  for (let n = 0; n < 30; n++) {
    if (task.next().done) break;
    if (b.cpu.pc !== PC || b.cpu.op('get-vcpu-events', {}).serrorPending) break;
  }
  return b;
}

function events(b: Bench): string {
  try {
    const e = b.cpu.op('get-vcpu-events', {});
    return `pending=${Number(e.serrorPending)}`;
  } catch (e) {
    if (e instanceof KvmError) return `-1/${e.errno}`;
    throw e;
  }
}

/** By knob: what is seen under given knob values. */
export const VECTOR_WITNESSES: Readonly<Record<string, (knobs: Knobs) => string>> = {
  vmRas: (k) => {
    const { cpu } = bench({ set: prefixed(k) });
    const ras = (cpu.get('id_aa64pfr0_el1') >> 28n) & 15n;
    return `RAS=${ras} ERXPFGF=${cpu.arch.read('erxpfgf_el1') === undefined ? 'none' : 'there'}`;
  },
  vncrRule: (k) => {
    const b = bench({ set: { 'sea.capEnabled': 'on', ...prefixed(k) } });
    const common = {
      cls: 'fetch',
      write: false,
      va: V,
      gpa: I,
      forFetch: true,
      el0: true,
      cm: false,
    } as const;
    b.arm.presentAbort({ abort: common, report: { esr: 0x8200_2010, far: V }, hypContext: true });
    return b.cpu.run(1).kind;
  },
  payloadLayout: (k) => {
    const page = abort(k).b.cpu.kvmRun;
    return `@32=${hex(page.getBigUint64(32, true))} @40=${hex(page.getBigUint64(40, true))}`;
  },
  capExitNumbers: (k) => {
    const { b } = abort(k);
    const caps = [240, 242, 244, 245].filter((n) => b.vm.checkExtension(n) === 1);
    return `capability ${caps.join()} exit_reason ${b.cpu.kvmRun.getUint32(8, true)}`;
  },
  eventsCommit: (k) => {
    const { b } = abort(k);
    b.cpu.op('set-vcpu-events', { extDabtPending: true });
    const before = hex(b.cpu.pc);
    b.cpu.run(1);
    return `pc=${before} esr=${hex(b.cpu.get('esr_el1'))} elr=${hex(b.cpu.get('elr_el1'))}`;
  },
  eventsUninit: (k) => events(bench({ init: false, set: prefixed(k) })),
  eventsAtomic: (k) => {
    const { b } = abort(k);
    try {
      b.cpu.op('set-vcpu-events', {
        extDabtPending: true,
        serrorPending: true,
        serrorHasEsr: true,
        serrorEsr: 0x200_0000n,
      });
      return 'accepted';
    } catch (e) {
      if (!(e instanceof KvmError)) throw e;
      return `${e.errno} pc+${hex(b.cpu.pc - (b.cpu.pc > VBAR ? VBAR : PC))}`;
    }
  },
  serrorInjection: (k) => {
    const b = withoutExit(k);
    return `pc=${hex(b.cpu.pc)} ${events(b)}`;
  },
  vserrorTopByte: (k) => hex(withoutExit(k).cpu.get('esr_el1')),
  serrorWhilePending: (k) => {
    const b = bench({ set: prefixed(k) });
    b.cpu.set('pstate', 0x100);
    b.arm.injectSError();
    b.arm.injectSError();
    let entries = 0;
    for (let n = 0; n < 2; n++) {
      b.cpu.set('pstate', 0);
      b.cpu.pc = PC;
      b.arm.interruptsChanged();
      b.cpu.set('esr_el1', 0);
      b.cpu.run(1);
      if (b.cpu.get('esr_el1') === 0xbf00_0000n) entries++;
    }
    return `${entries} SError entries`;
  },
  rasRegs: (k) => {
    const b = bench({ text: 'mrs x1, erridr_el1\nnop', set: prefixed(k) });
    b.cpu.set('pstate', 0x3c5);
    b.cpu.set('x1', 0x77);
    b.cpu.pc = ELSEWHERE;
    b.cpu.run(1);
    return `x1=${hex(b.cpu.get('x1'))} esr=${hex(b.cpu.get('esr_el1'))}`;
  },
  set: (k) => hex(abort({ vmRas: '1', ...k }).b.cpu.kvmRun.getBigUint64(40, true)),
  farTagBits: (k) => {
    // tag bits are unknown only where they are ignored: TCR_EL1.TBI0
    const b = bench({ set: { 'sea.capEnabled': 'on', ...prefixed(k) } });
    b.cpu.set('tcr_el1', b.cpu.get('tcr_el1') | (1n << 37n));
    b.vm.poison(I);
    b.cpu.run(1);
    return hex(b.cpu.kvmRun.getBigUint64(48, true));
  },
  eventsWithIabt: (k) => {
    const { b } = abort(k);
    injectEvents(b.cpu, { id: 1, door: 'exit', vcpu: 0, time: 0, esr: 0x8200_0010n, el: 0, pc: PC }, true);
    return `esr=${hex(b.cpu.get('esr_el1'))}`;
  },
};
