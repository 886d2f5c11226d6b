/** KVM_SET_GUEST_DEBUG, interrupt windows, and kvm_run beside the exit (arch/x86/kvm/x86.c). */
import { describe, expect, it } from 'vitest';
import { GuestDebugControl as G } from '../src/index.ts';
import { type EventVm, eventVm, VM } from './support/event-vm.ts';

const debug = (t: EventVm, control: number, debugreg: readonly bigint[] = []): void => {
  t.vcpu.op('set-guest-debug', { control: control && control | G.Enable, debugreg });
};
const at = (labels: ReadonlyMap<string, number>, name: string): bigint => BigInt(labels.get(name) as number);

describe('KVM_SET_GUEST_DEBUG', () => {
  it('single step -> an exit behind every instruction; the guest sees neither TF nor #DB', () => {
    const t = eventVm();
    const l = t.load('nop\na: pushfq\nb: pop rax\nc: nop\nhlt');
    debug(t, G.SingleStep);
    const pcs: bigint[] = [];
    for (let n = 0; n < 3; n++) {
      const e = t.run();
      expect(e).toMatchObject({ kind: 'debug', ret: 0, why: 'step' });
      if (e.kind === 'debug') pcs.push(e.arch?.x86?.pc ?? 0n);
    }
    expect(pcs).toEqual([at(l, 'a'), at(l, 'b'), at(l, 'c')]);
    expect(t.vcpu.get('rax') & 0x100n).toBe(0n);
    expect(t.vcpu.get('dr6')).toBe(0xffff0ff0n);
    debug(t, 0);
    expect(t.run().kind).toBe('hlt');
    expect(t.seen()).toEqual([]);
  });
  it('single step over IN -> the exit of the port first, then the debugger, AL loaded', () => {
    const t = eventVm();
    const l = t.load('in al, 0x40\na: nop\nhlt');
    debug(t, G.SingleStep);
    const e = t.run();
    expect(e).toMatchObject({ kind: 'io', port: 0x40, write: false });
    t.vcpu.answer(e, 0x5a);
    expect(t.run()).toMatchObject({ kind: 'debug', why: 'step', arch: { x86: { pc: at(l, 'a') } } });
    expect(t.vcpu.get('rax') & 0xffn).toBe(0x5an);
    expect(t.run()).toMatchObject({ kind: 'debug', why: 'step' });
  });
  it('hardware breakpoints -> exits with DR6 and DR7; the guest has its own registers', () => {
    const t = eventVm();
    const l = t.load('nop\na: nop\nmov ebx, 0x40000\nmov byte ptr [rbx], al\nb: nop\nhlt');
    t.vcpu.set('dr0', 0x1234n);
    const dr7 = 0x402n | (1n << 20n) | 8n;
    debug(t, G.HardwareBreakpoints, [at(l, 'a'), 0x40000n, 0n, 0n, 0n, 0n, 0n, dr7]);
    expect(t.run()).toMatchObject({
      kind: 'debug',
      why: 'breakpoint',
      arch: { x86: { exception: 1, pc: at(l, 'a'), dr6: 0xffff0ff1n, dr7 } },
    });
    // userspace steps over it by leaving it out
    debug(t, G.HardwareBreakpoints, [0n, 0x40000n, 0n, 0n, 0n, 0n, 0n, dr7 & ~2n]);
    expect(t.run()).toMatchObject({
      kind: 'debug',
      why: 'watchpoint',
      arch: { x86: { pc: at(l, 'b'), dr6: 0xffff0ff2n } },
    });
    expect(t.vcpu.get('dr0')).toBe(0x1234n);
    debug(t, 0);
    expect(t.run().kind).toBe('hlt');
  });
  it('INT3 with software breakpoints -> exit at the instruction; without them the guest gets #BP', () => {
    const t = eventVm();
    const l = t.load('nop\na: int3\nhlt');
    debug(t, G.SoftwareBreakpoints);
    const e = t.run();
    expect(e).toMatchObject({
      kind: 'debug',
      why: 'breakpoint',
      arch: { x86: { exception: 3, pc: at(l, 'a') } },
    });
    expect([t.vcpu.kvmRun.getUint32(8, true), t.vcpu.kvmRun.getUint32(32, true)]).toEqual([4, 3]);
    expect(t.vcpu.kvmRun.getBigUint64(40, true)).toBe(at(l, 'a'));
    debug(t, 0);
    expect(t.run().kind).toBe('hlt');
    expect(t.seen().map((s) => s.vector)).toEqual([3]);
  });
  it('BLOCKIRQ -> NMIs wait', () => {
    const t = eventVm();
    t.load('nop\nnop\nhlt');
    debug(t, G.BlockIrq);
    t.vcpu.op('nmi', {});
    expect(t.run().kind).toBe('hlt');
    expect(t.seen()).toEqual([]);
    t.load('nop\nhlt');
    t.vcpu.pc = BigInt(VM.code);
    debug(t, 0);
    t.run();
    expect(t.seen().map((s) => s.vector)).toEqual([2]);
  });
  it('INJECT_DB -> the guest gets #DB; EBUSY while an exception waits', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    debug(t, G.InjectDb);
    expect(() => debug(t, G.InjectBp)).toThrow(/EBUSY/);
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 1, rip: VM.code }]);
  });
  it('72 bytes by ioctl -> the same', () => {
    const t = eventVm();
    const l = t.load('nop\na: nop\nhlt');
    const bytes = new Uint8Array(72);
    bytes[0] = 3;
    expect(t.vcpu.ioctl(0x4048_ae9b, bytes)).toMatchObject({ ret: 0 });
    expect(t.run()).toMatchObject({ kind: 'debug', arch: { x86: { pc: at(l, 'a') } } });
  });
});

describe('interrupt windows (kvm_run.request_interrupt_window)', () => {
  it('IF = 0 -> exit irq-window-open behind the instruction after STI; KVM_INTERRUPT is taken at once', () => {
    const t = eventVm();
    const l = t.load('nop\nsti\nnop\na: nop\ncli\nhlt');
    t.vcpu.kvmRun.setUint8(0, 1);
    expect(t.run().kind).toBe('irq-window-open');
    expect(t.vcpu.pc).toBe(at(l, 'a'));
    const run = t.vcpu.kvmRun;
    // ready_for_interrupt_injection, if_flag, exit_reason
    expect([run.getUint8(12), run.getUint8(13), run.getUint32(8, true)]).toEqual([1, 1, 7]);
    run.setUint8(0, 0);
    t.vcpu.op('interrupt', { irq: 0x90 });
    expect(t.run().kind).toBe('hlt');
    expect(t.seen()).toMatchObject([{ vector: 0x90, rip: Number(at(l, 'a')) }]);
    expect(t.vcpu.kvmRun.getUint8(13)).toBe(0);
  });
  it('IF = 1 already -> the exit comes before any instruction', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    t.vcpu.set('rflags', 0x202);
    t.vcpu.kvmRun.setUint8(0, 1);
    expect(t.run().kind).toBe('irq-window-open');
    expect(t.vcpu.pc).toBe(BigInt(VM.code));
  });
});

describe('kvm_run beside the exit', () => {
  it('cr8 and apic_base -> what the guest has; cr8 written there is taken', () => {
    const t = eventVm();
    t.load('mov eax, 5\nmov cr8, rax\nhlt\nmov rbx, cr8\nhlt');
    t.run();
    const run = t.vcpu.kvmRun;
    expect([run.getBigUint64(16, true), run.getBigUint64(24, true)]).toEqual([5n, 0xfee0_0900n]);
    run.setBigUint64(16, 9n, true);
    t.run();
    expect(t.vcpu.get('rbx')).toBe(9n);
  });
  it('a cr8 above 15 -> KVM_RUN fails with EINVAL', () => {
    const t = eventVm();
    t.load('hlt\nhlt');
    t.run();
    t.vcpu.kvmRun.setBigUint64(16, 16n, true);
    expect(t.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'EINVAL' });
  });
});
