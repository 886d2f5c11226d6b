/** The parts of a VM that a session looks at: memslots, capabilities, signals, trace, clock. */
import { MemFlag, type Vm } from '@faultyard/core';
import { hex, printsAs } from './text.ts';

/** Columns of equal width, two spaces between them. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, k) => Math.max(...rows.map((row) => row[k]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((text, k) => text.padEnd(widths[k] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Flags of a memslot by name. */
function flagNames(flags: number): string {
  const names = Object.entries(MemFlag).flatMap(([name, bit]) => (flags & bit ? [name] : []));
  return names.join(' ') || '-';
}

/** Makes the parts of a VM print what they hold instead of how they are built. */
export function presentParts(vm: Vm): void {
  printsAs(vm.memslots, () =>
    columns([
      ['slot', 'gpa', 'size', 'hva', 'flags'],
      ...vm.memslots
        .list()
        .map((s) => [String(s.slot), hex(s.gpa, 8), hex(s.size), hex(s.hva), flagNames(s.flags)]),
    ]),
  );
  printsAs(vm.caps, () =>
    columns([
      ['capability', 'number', 'name in KVM', 'state'],
      ...vm.caps.all.map((c) => [
        c.name,
        String(vm.caps.number(c)),
        c.kvm,
        !c.enable ? 'always on' : vm.caps.enabled(c.name) ? 'enabled' : 'supported, not enabled',
      ]),
    ]),
  );
  printsAs(vm.signals, () => {
    const rows = vm.signals
      .pending()
      .map((s) => [
        s.signal,
        s.code,
        `si_addr=${s.addr === undefined ? 'none' : hex(s.addr)}`,
        `lsb=${s.lsb ?? 'none'}`,
        s.to === 'main' ? 'to main' : `to vcpu${s.to.vcpu}`,
      ]);
    return rows.length > 0 ? columns(rows) : 'no signal is pending';
  });
  printsAs(
    vm.trace,
    () => `the last ${vm.trace.events().length} events, at most ${vm.trace.capacity}; trace() shows them`,
  );
  printsAs(vm.clock, () => `${vm.clock.now} ns, ${vm.clock.nsPerInstruction} ns an instruction`);
}
