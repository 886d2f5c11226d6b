/** Snapshots and trace events: one line each. */
import type { Snapshot, TraceEvent, Vm } from '@faultyard/core';
import { fieldText, hex, printsAs } from './text.ts';

/** Makes a snapshot print where it was taken. */
export function printableSnapshot(snapshot: Snapshot, vm: Vm): Snapshot {
  const at = vm.vcpus.map((v) => `pc=${hex(v.pc)}`).join(' ');
  const { now } = vm.clock;
  return printsAs(snapshot, ({ stylize }) => `${stylize('Snapshot', 'special')} at ${now} ns, ${at}`);
}

/** Makes a list of events print one line an event: time, vCPU, name, payload. */
export function printableEvents(events: readonly TraceEvent[]): readonly TraceEvent[] {
  return printsAs([...events], ({ stylize }) =>
    events
      .map(({ time, vcpu, name, ...payload }) => {
        const fields = Object.entries(payload).map(([key, value]) => `${key}=${fieldText(value)}`);
        const who = vcpu < 0 ? '-' : `vcpu${vcpu}`;
        return `${String(time).padStart(10)} ns  ${who.padEnd(6)} ${stylize(name, 'special')} ${fields.join(' ')}`;
      })
      .join('\n'),
  );
}
