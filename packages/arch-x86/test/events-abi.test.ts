/** Structures and numbers of events against the kernel's header, where a compiler for x86 is installed. */
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { EVENT_EXITS, fillRunPage, takeRunPage } from '../src/events/exits.ts';
import { EVENT_CAPS, EVENT_OPS, EventsValid, type X86VcpuEvents } from '../src/events/ops.ts';
import { GuestDebugControl } from '../src/index.ts';
import { eventVm } from './support/event-vm.ts';

const unless =
  missingFor('native') ?? (process.arch === 'x64' ? undefined : 'the compiler here is not for x86');
const said = capture({
  record: new URL('recorded/events-abi.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/events-abi.c', import.meta.url) }),
});
const kvm = new Map(
  said.text
    .trim()
    .split('\n')
    .map((l) => l.split(' ') as [string, string]),
);
const number = (name: string): number => Number(kvm.get(name));
const where = said.how === 'live' ? 'the installed <linux/kvm.h>' : `the recorded header (${said.why})`;

const op = (name: string): (typeof EVENT_OPS)[number] => EVENT_OPS.find((o) => o.name === name) as never;
/** What a codec writes, and what it reads back. */
function bytes(name: string, arg: unknown): string {
  const { codec } = op(name);
  const out = new DataView(new ArrayBuffer(codec?.size ?? 0));
  codec?.encode(arg as never, out, undefined as never);
  expect(codec?.decode(out, undefined as never)).toEqual(arg);
  return Buffer.from(out.buffer).toString('hex');
}

const ONE: X86VcpuEvents = {
  exception: {
    injected: true,
    nr: 14,
    hasErrorCode: true,
    pending: false,
    errorCode: 0x0102_0304,
    hasPayload: true,
    payload: 0x1122_3344_5566_7788n,
  },
  interrupt: { injected: false, nr: 0x81, soft: true, shadow: 2 },
  nmi: { injected: false, pending: 2, masked: true },
  sipiVector: 0x1122_3344,
  flags: EventsValid.NmiPending | EventsValid.Shadow | EventsValid.Payload,
  smi: { smm: false, pending: true, smmInsideNmi: true, latchedInit: false },
  tripleFaultPending: true,
};
const TWO: X86VcpuEvents = {
  exception: {
    injected: false,
    nr: 1,
    hasErrorCode: false,
    pending: true,
    errorCode: 0,
    hasPayload: false,
    payload: 0n,
  },
  interrupt: { injected: true, nr: 0, soft: false, shadow: 0 },
  nmi: { injected: true, pending: 0, masked: false },
  sipiVector: 0,
  flags: EventsValid.SipiVector | EventsValid.Smm | EventsValid.TripleFault,
  smi: { smm: true, pending: false, smmInsideNmi: false, latchedInit: true },
  tripleFaultPending: false,
};

it.skipIf(unless !== undefined)(
  `C on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    expect(said.text).toBe(said.recorded);
  },
);

describe(`events against ${where}`, () => {
  it('struct kvm_vcpu_events -> every member where the header has it', () => {
    expect(bytes('x86-set-vcpu-events', ONE)).toBe(kvm.get('events.1'));
    expect(bytes('x86-set-vcpu-events', TWO)).toBe(kvm.get('events.2'));
    expect(op('x86-get-vcpu-events').codec?.size).toBe(number('sizeof.kvm_vcpu_events'));
  });
  it('struct kvm_guest_debug and its bits -> as the header has them', () => {
    const control = Object.values(GuestDebugControl).reduce((a, b) => a | b, 0);
    const debugreg = Array.from({ length: 8 }, (_, i) =>
      BigInt.asUintN(64, 0x1111_0000_0000_0000n * BigInt(i + 1) + BigInt(i)),
    );
    expect(bytes('set-guest-debug', { control, debugreg })).toBe(kvm.get('debug'));
  });
  it('struct kvm_interrupt -> as the header has it', () => {
    expect(bytes('interrupt', { irq: 0x12 })).toBe(kvm.get('interrupt'));
  });
  it.each(EVENT_OPS.map((o) => [o.kvm, o.ioctl] as const))('%s -> its number', (name, ioctl) => {
    expect(ioctl).toBe(number(name));
  });
  it.each(EVENT_CAPS.map((c) => [c.kvm, c.number] as const))('%s -> its number', (name, n) => {
    expect(n).toBe(number(name));
  });
  it.each(Object.values(EVENT_EXITS).map((e) => [e.name, e.number({})] as const))(
    '%s -> its number',
    (name, n) => {
      expect(n).toBe(number(name));
    },
  );
  it('kvm_debug_exit_arch -> as the header has it, and back', () => {
    const run = new DataView(new ArrayBuffer(0x1000));
    const x86 = { exception: 3, pc: 0x0123_4567_89ab_cdefn, dr6: 0xffff_4ff0n, dr7: 0x402n };
    const e = { kind: 'debug', vcpu: 0, ret: 0, why: 'breakpoint', arch: { x86 } } as const;
    EVENT_EXITS.debug.encode(e, run, {});
    expect(Buffer.from(run.buffer, 32, 32).toString('hex')).toBe(kvm.get('exit.debug'));
    expect(EVENT_EXITS.debug.decode(run, {}).arch).toEqual({ x86 });
  });
  it('kvm_run beside the exit -> offsets of the header', () => {
    const t = eventVm();
    const run = new DataView(new ArrayBuffer(0x100));
    t.vcpu.set('cr8', 7);
    t.vcpu.set('rflags', 0x202);
    t.arch.events.smi.smm = true;
    fillRunPage(t.arch, run);
    expect([
      run.getUint8(number('offset.kvm_run.ready_for_interrupt_injection')),
      run.getUint8(number('offset.kvm_run.if_flag')),
      run.getUint16(number('offset.kvm_run.flags'), true),
      run.getBigUint64(number('offset.kvm_run.cr8'), true),
      run.getBigUint64(number('offset.kvm_run.apic_base'), true),
    ]).toEqual([1, 1, number('KVM_RUN_X86_SMM'), 7n, 0xfee0_0900n]);
    run.setUint8(number('offset.kvm_run.request_interrupt_window'), 1);
    takeRunPage(t.arch, run, false);
    expect(t.arch.events.windowRequested).toBe(true);
  });
});
