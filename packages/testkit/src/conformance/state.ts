/** Conformance: snapshots, forks, hashes, schedules: the same whichever way a program is driven. */
import { digest, type Exit, type Plain, type Schedule, StateHash, type Vcpu, type Vm } from '@faultyard/core';
import { draws, Ride, type Way } from '../ride.ts';
import { answerFor, check, first, inLab, type Lab, mixed, same, toEnd } from './lab.ts';
import type { Case, Step, Subject } from './subject.ts';

/** Two programs that race for one word and say when they are done; then they spin. */
const racing = (lab: Lab): readonly (readonly Step[])[] =>
  [90, 70].map((times, i) => [
    { do: 'count', gpa: lab.data, times },
    { do: 'load', size: 4, gpa: lab.data },
    { do: 'store', size: 4, gpa: lab.subject.hole + 8 * i, value: times },
    { do: 'spin' },
  ]);

/** Drives both vCPUs by the schedule until both are done; returns what was seen. */
function together(ride: Ride): string[] {
  const seen: string[] = [];
  while (new Set(seen).size < 2) {
    const e = ride.run();
    check(e.kind === 'mmio' && e.write && seen.length < 2, `exit ${e.kind} after ${seen.join(' ')}`);
    if (e.kind === 'mmio') seen.push(`${e.vcpu}:${e.gpa}`);
  }
  return seen;
}

const ways = (seed: number): readonly Way[] => [
  { kind: 'slices', seed, most: 1 },
  { kind: 'slices', seed, most: 40 },
  { kind: 'moves' },
  { kind: 'cuts', seed, most: 23, cuts: 12 },
];

/** Cases about state. */
export function state(make: () => Subject): Case[] {
  return [
    inLab(make, 'one program twice -> state hash: equal at every exit', (lab) => {
      const hashes = [0, 1].map(() => {
        const { vm } = lab.make([mixed(lab)]);
        const out: string[] = [];
        toEnd(
          lab,
          () => first(vm).run(),
          () => vm,
          () => out.push(vm.stateHash()),
        );
        return out;
      });
      same(hashes[0], hashes[1], 'hashes');
      same(new Set(hashes[0]).size, hashes[0]?.length, 'different hashes at different exits');
    }),
    inLab(make, 'a snapshot at every exit, restored -> the same exits and hashes again', (lab) => {
      const { vm } = lab.make([mixed(lab)]);
      const v = first(vm);
      for (let done = false; !done; ) {
        const e = v.run();
        const s = vm.snapshot();
        const hash = vm.stateHash();
        done = e.kind === lab.subject.end;
        const go = (): readonly string[] => {
          if (e.kind === 'mmio' && !e.write) v.answer(e, answerFor(e));
          const next = v.run();
          return [next.kind, vm.stateHash()];
        };
        const once = done ? [] : go();
        vm.restore(s);
        same(vm.stateHash(), hash, 'hash after restore');
        const again = done ? [] : go();
        same(again, once, 'what follows');
        vm.restore(s);
        s.dispose();
        if (e.kind === 'mmio' && !e.write) v.answer(e, answerFor(e));
      }
    }),
    inLab(
      make,
      'whole, sliced, moved to a new VM at exits and at cuts -> exits, count, hash: equal',
      (lab) => {
        const outcome = (way: Way): unknown => {
          const ride = new Ride(() => ({ vm: lab.make([mixed(lab)]).vm }), way);
          toEnd(
            lab,
            () => ride.run(0),
            () => ride.vm,
          );
          return [ride.exits, ride.instructions, ride.vm.stateHash()];
        };
        const whole = outcome({ kind: 'whole' });
        for (const way of ways(7)) same(outcome(way), whole, JSON.stringify(way));
      },
    ),
    inLab(make, 'two vcpus, each schedule twice and in every way -> exits, memory, hash: equal', (lab) => {
      const schedules: readonly Schedule[] = [
        { kind: 'round-robin', quantum: 37 },
        { kind: 'round-robin' },
        { kind: 'random', seed: 1, quantum: 50 },
        { kind: 'random', seed: 2, quantum: 50 },
        { kind: 'list', steps: '0*11 1*13 0 0*100 1*200' },
      ];
      const seen = new Set<string>();
      for (const schedule of schedules) {
        const outcome = (way: Way): string => {
          const ride = new Ride(() => ({ vm: lab.make(racing(lab), { schedule }).vm }), way);
          const exits = together(ride);
          return `${exits.join(' ')} ${ride.vm.peek(lab.data, 4)} ${ride.vm.stateHash()}`;
        };
        const whole = outcome({ kind: 'whole' });
        same(outcome({ kind: 'whole' }), whole, `schedule ${JSON.stringify(schedule)} again`);
        for (const way of ways(3))
          same(outcome(way), whole, `${JSON.stringify(schedule)} ${JSON.stringify(way)}`);
        seen.add(whole.split(' ').slice(0, -1).join(' '));
      }
      check(seen.size > 1, 'every schedule gave the same: they do not interleave');
    }),
    inLab(make, 'fast translations dropped at random -> state: nothing changed', (lab) => {
      const run = (disturb: (vm: Vm, n: number) => void): string => {
        const { vm } = lab.make([mixed(lab)]);
        const draw = draws(11);
        const v = first(vm);
        const step = (): Exit => {
          for (;;) {
            const e = v.run(draw(9));
            disturb(vm, draw(3));
            if (e.kind !== 'budget') return e;
          }
        };
        toEnd(lab, step, () => vm);
        return `${v.retired} ${vm.stateHash()}`;
      };
      const plain = run(() => {});
      same(
        run((vm) => first(vm).arch.flush()),
        plain,
        'flushed',
      );
      same(
        run((vm) => vm.stage2.zapAll()),
        plain,
        'stage 2 zapped',
      );
      same(
        run((vm, n) => {
          if (n === 1) vm.stage2.zapAll();
          if (n === 2) first(vm).arch.flush();
        }),
        plain,
        'now and then',
      );
    }),
    inLab(make, 'a fork at an exit -> both go on alone; the same answers give the same hash', (lab) => {
      const { vm } = lab.make([mixed(lab)]);
      const v = first(vm);
      v.run();
      const e = v.run() as Exit<'mmio'>;
      check(e.kind === 'mmio' && !e.write, 'the second exit is no load');
      const twin = lab.track(vm.fork());
      const other = lab.track(vm.fork());
      same(twin.stateHash(), vm.stateHash(), 'hash of the fork');
      const finish = (m: Vm, value: bigint): string => {
        first(m).answer(e, value);
        toEnd(
          lab,
          () => first(m).run(),
          () => m,
        );
        return m.stateHash();
      };
      other.poke(lab.data + 0x5000, 0x1234, 4);
      const mine = finish(vm, 5n);
      same(finish(twin, 5n), mine, 'the same answer');
      check(finish(other, 6n) !== mine, 'another answer gave the same hash');
      same(vm.peek(lab.data + 0x5000, 4), 0n, 'memory of the parent');
      same(other.peek(lab.data + 0x5000, 4), 0x1234n, 'memory of the fork');
    }),
    inLab(make, 'registers of every kind -> a fork has them all', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      const v = first(vm);
      const general = v.arch.registers.filter((r) => r.group === 'general' && r.name !== 'pc' && !r.readOnly);
      check(general.length > 0, 'there is no general register');
      for (const [n, r] of general.entries()) v.set(r.name, v.get(r.name) ^ (BigInt(n + 3) << 4n));
      const twin = lab.track(vm.fork());
      for (const r of v.arch.registers) same(first(twin).get(r.name), v.get(r.name), `${r.name} of the fork`);
    }),
    inLab(
      make,
      'a snapshot between the completion of a load and the next entry -> the count is kept',
      (lab) => {
        const steps = [{ do: 'load', size: 4, gpa: lab.subject.hole }, { do: 'spin' }] as const;
        const { vm, codes } = lab.make([steps]);
        const v = first(vm);
        v.answer(v.run(), 5);
        v.immediateExit = true;
        same(v.run().kind, 'intr', 'exit with immediate_exit');
        const twin = lab.track(vm.fork());
        for (const m of [vm, twin]) {
          first(m).immediateExit = false;
          first(m).run(10);
        }
        same(first(twin).retired, v.retired, 'retired in the fork');
        same(twin.stateHash(), vm.stateHash(), 'hash of the fork');
        const own = codes[0]?.instructions[0] ?? 0;
        check(
          v.retired >= own + 9 && v.retired <= own + 10,
          `retired ${v.retired} after ${own} + 10 instructions`,
        );
      },
    ),
    inLab(make, 'cells -> named for their package, plain, read back as written', (lab) => {
      const { vm } = lab.make(racing(lab));
      for (const v of vm.vcpus) (v as Vcpu).run(100);
      for (const c of vm.cells.values()) {
        check(/^[a-z][a-z0-9-]*\.[a-z]/i.test(c.name), `cell ${c.name} is not named <package>.<name>`);
        const hash = (p: Plain): string => {
          const h = new StateHash();
          digest(p, h.feed);
          return h.hex();
        };
        const value = c.read();
        const before = hash(value);
        c.write(value);
        same(hash(c.read()), before, `cell ${c.name} written back`);
        same(hash(structuredClone(value) as Plain), before, `cell ${c.name} cloned`);
      }
      check(
        [...vm.cells.keys()].some((n) => n.endsWith('#1')),
        'the second vcpu has no cells',
      );
    }),
  ];
}
