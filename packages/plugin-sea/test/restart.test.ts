/** (d) A restart carried out: a second VM really runs on, cold or with the guest's state minus the bad pages. */
import { describe, expect, it } from 'vitest';
import { VICTIMS } from '../src/scenarios/guest/layout.ts';
import { inject, moveWithout, type RestartOrder, SeaPolicy, threshold } from '../src/vmm/index.ts';
import { V } from './support/bench.ts';
import { deaths, drive, type GuestVm, guestVm, records } from './support/guest.ts';

/** A VM whose VMM has just ordered a restart at the first bad page. */
function ordered(): { g: GuestVm; order: RestartOrder } {
  let order: RestartOrder | undefined;
  const g = guestVm([V], [threshold({ pages: 1, onRestart: (o) => (order = o) }), inject({ at: ['hole'] })]);
  expect(drive(g, [VICTIMS.D.gpa])).toBe('restart: 1 bad pages');
  if (!order) throw new Error('no order');
  return { g, order };
}

describe('restart', () => {
  it('the order names its reason, the pages and the event; the guest has seen nothing', () => {
    const { g, order } = ordered();
    expect(order).toEqual({ reason: '1 bad pages', pages: [VICTIMS.D.gpa], event: 1 });
    expect(deaths(g.vm)).toBe(0);
    expect(records(g.vm).some((r) => r.note === 'finished')).toBe(false);
  });
  it('cold: another VM boots, process A finds its page good, and the report comes', () => {
    const { g } = ordered();
    const stopped = g.vm.vcpus[0]?.retired;
    const cold = guestVm([V], [threshold({ pages: 1 }), inject({ at: ['hole'] })]);
    expect(drive(cold, [])).toBe('report');
    expect(records(cold.vm).map((r) => r.note)).toContain('past');
    expect(deaths(cold.vm)).toBe(0);
    expect(g.vm.vcpus[0]?.retired).toBe(stopped);
  });
  it('with state minus D: the load goes on in a second VM, meets a hole, A dies, B and C finish', () => {
    const { g, order } = ordered();
    const stopped = g.vm.vcpus[0]?.retired as number;
    const before = records(g.vm).length;
    const second: { g?: GuestVm } = {};
    const policy = moveWithout(g.policy, order.pages, () => {
      second.g = guestVm([V], [threshold({ pages: 1 }), inject({ at: ['hole'] })]);
      return second.g.policy;
    });
    const to = second.g as GuestVm;
    expect(policy).toBeInstanceOf(SeaPolicy);
    expect(to.vm.memory.slotAt(VICTIMS.D.gpa)).toBeUndefined();
    expect(records(to.vm)).toHaveLength(before);
    expect(drive({ ...to, policy }, [])).toBe('report');
    expect(deaths(to.vm)).toBe(1);
    expect(records(to.vm).at(-1)).toMatchObject({ note: 'finished', esr: to.image.checksum });
    expect(to.vm.vcpus[0]?.retired).toBeGreaterThan(stopped);
    expect(g.vm.vcpus[0]?.retired).toBe(stopped);
    expect(records(g.vm)).toHaveLength(before);
  });
});
