/** KVM's event queue and its operations, and the point `x86.events` (arch/x86/kvm/x86.c; mce.md 3.6 and 3.7). */
import { definePlugin, type KvmError } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { EventsValid, type X86VcpuEvents } from '../src/events/ops.ts';
import { Vector } from '../src/events/vectors.ts';
import { type EventRules, events, type Next } from '../src/index.ts';
import { FL } from '../src/isa/flags.ts';
import { type EventVm, eventVm, VM } from './support/event-vm.ts';

const get = (t: EventVm): X86VcpuEvents => t.vcpu.op('x86-get-vcpu-events', {});
/** KVM_SET_VCPU_EVENTS with some members changed; the errno when it is refused. */
function set(t: EventVm, part: Partial<X86VcpuEvents>): 0 | string {
  try {
    return t.vcpu.op('x86-set-vcpu-events', { ...get(t), ...part });
  } catch (e) {
    return (e as KvmError).errno;
  }
}
const exception = (
  nr: number,
  part: Partial<X86VcpuEvents['exception']> = {},
): X86VcpuEvents['exception'] => ({
  injected: true,
  nr,
  hasErrorCode: false,
  pending: false,
  errorCode: 0,
  hasPayload: false,
  payload: 0n,
  ...part,
});
const vectors = (t: EventVm): number[] => t.seen().map((s) => s.vector);

describe('interrupts from userspace', () => {
  it('KVM_INTERRUPT -> taken at once, whatever IF says; RIP is the next instruction', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    t.vcpu.op('interrupt', { irq: 0x30 });
    expect(get(t).interrupt).toMatchObject({ injected: true, nr: 0x30 });
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 0x30, rip: VM.code }]);
    expect(get(t).interrupt.injected).toBe(false);
  });
  it('KVM_INTERRUPT of 256 -> EINVAL; as bytes too', () => {
    const t = eventVm();
    expect(() => t.vcpu.op('interrupt', { irq: 256 })).toThrow(/EINVAL/);
    expect(t.vcpu.ioctl(0x4004_ae86, Uint8Array.of(0, 1, 0, 0))).toMatchObject({ ret: -1, errno: 'EINVAL' });
    expect(t.vcpu.ioctl(0x4004_ae86, Uint8Array.of(0x31, 0, 0, 0))).toMatchObject({ ret: 0 });
    t.load('hlt');
    t.run();
    expect(vectors(t)).toEqual([0x31]);
  });
});

describe('an interrupt controller in the kernel', () => {
  /** A source that gives these vectors once each. */
  const source = (t: EventVm, ...queue: number[]): number[] => {
    t.arch.events.source = { pending: () => queue.length > 0, acknowledge: () => queue.shift() ?? -1 };
    t.arch.attend();
    return queue;
  };
  it('IF = 0 -> held; STI -> after the next instruction', () => {
    const t = eventVm();
    const at = t.load('nop\nsti\na: nop\nb: nop\ncli\nc: jmp c');
    source(t, 0x41);
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 0x41, rip: at.get('b') });
  });
  it('STI, STI -> the second has no shadow', () => {
    const t = eventVm();
    const at = t.load('sti\na: sti\nb: nop\ncli\nc: jmp c');
    source(t, 0x41);
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 0x41, rip: at.get('b') });
  });
  it('MOV SS -> one instruction is not interrupted', () => {
    const t = eventVm();
    const at = t.load('mov eax, 0x10\npush 0x202\npopfq\na: mov ss, eax\nb: nop\nc: nop\ncli\nd: jmp d');
    const queue = source(t);
    t.run(3);
    expect(t.vcpu.pc).toBe(BigInt(at.get('a') as number));
    t.run(1);
    queue.push(0x50);
    t.arch.attend();
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 0x50, rip: at.get('c') });
  });
  it('POPF sets IF -> taken before the next instruction', () => {
    const t = eventVm();
    const at = t.load('push 0x202\npopfq\na: nop\ncli\nb: jmp b');
    source(t, 0x41);
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 0x41, rip: at.get('a') });
  });
  it('STI; HLT -> HLT is woken, RIP is behind it', () => {
    const t = eventVm();
    const at = t.load('sti\nhlt\na: cli\nnop\njmp a');
    source(t, 0x66);
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 0x66, rip: at.get('a') });
  });
  it('HLT with IF = 0 -> sleeps on; an NMI wakes it', () => {
    const t = eventVm();
    const at = t.load('hlt\na: nop\njmp a');
    source(t, 0x66);
    expect(t.run().kind).toBe('intr');
    t.vcpu.op('nmi', {});
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 2, rip: at.get('a') });
  });
  it('two vectors -> one after the other, each at its turn', () => {
    const t = eventVm();
    t.load('sti\nnop\nnop\nnop\ncli\nhlt');
    source(t, 0x41, 0x42);
    t.run(200);
    expect(vectors(t)).toEqual([0x41, 0x42]);
  });
});

describe('NMI', () => {
  it('two -> the second waits for the IRET of the first; a third is lost', () => {
    const t = eventVm();
    t.load('nop\nnop\nhlt');
    for (let n = 0; n < 3; n++) t.vcpu.op('nmi', {});
    expect(get(t).nmi).toMatchObject({ pending: 2, masked: false });
    t.run();
    expect(vectors(t)).toEqual([2, 2]);
    expect(get(t).nmi).toMatchObject({ pending: 0, masked: false });
  });
  it('in the handler -> masked; one waits', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    t.vcpu.op('nmi', {});
    t.run(1);
    expect(get(t).nmi).toMatchObject({ masked: true, pending: 0 });
    t.vcpu.op('nmi', {});
    t.vcpu.op('nmi', {});
    expect(get(t).nmi.pending).toBe(1);
  });
  it('KVM_NMI by its number -> 0', () => {
    const t = eventVm();
    expect(t.vcpu.ioctl(0xae9a)).toMatchObject({ ret: 0 });
    expect(get(t).nmi.pending).toBe(1);
  });
});

describe('KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS', () => {
  it('an exception injected -> delivered with its error code at the next entry', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    expect(set(t, { exception: exception(13, { hasErrorCode: true, errorCode: 0x18 }) })).toBe(0);
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 13, code: 0x18, rip: VM.code, flags: 2 }]);
  });
  it('#MC set -> vector 18 at the next entry, RF stays 0', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    set(t, { exception: exception(18) });
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 18, flags: 2 }]);
  });
  it.each([
    ['vector 2', { exception: exception(2) }],
    ['vector 32', { exception: exception(32) }],
    ['a payload without the capability', { flags: EventsValid.Payload }],
    ['an unknown flag', { flags: 0x40 }],
    ['a triple fault without the capability', { flags: EventsValid.TripleFault }],
  ] as const)('%s -> EINVAL', (_, part) => {
    expect(set(eventVm(), part)).toBe('EINVAL');
  });
  it('a triple fault without the capability -> EINVAL, all else is set already', () => {
    const t = eventVm();
    expect(
      set(t, {
        flags: EventsValid.TripleFault,
        interrupt: { injected: true, nr: 0x44, soft: false, shadow: 0 },
      }),
    ).toBe('EINVAL');
    expect(get(t).interrupt).toMatchObject({ injected: true, nr: 0x44 });
  });
  it('flags 0 -> NMI count, shadow and SMM stay as they are', () => {
    const t = eventVm();
    t.vcpu.op('nmi', {});
    set(t, {
      flags: 0,
      nmi: { injected: false, pending: 0, masked: false },
      interrupt: { injected: false, nr: 0, soft: false, shadow: 3 },
      smi: { smm: true, pending: true, smmInsideNmi: true, latchedInit: false },
    });
    expect(get(t)).toMatchObject({ nmi: { pending: 1 }, interrupt: { shadow: 0 }, smi: { smm: false } });
  });
  it('a queued #PF, payloads off -> pending and injected both read 1, CR2 is written', () => {
    const t = eventVm();
    t.arch.events.queueException(Vector.PF, 6, { lo: 0x1234, hi: 0 });
    expect(get(t).exception).toMatchObject({
      injected: true,
      pending: true,
      nr: 14,
      errorCode: 6,
      hasPayload: false,
    });
    expect(t.vcpu.get('cr2')).toBe(0x1234n);
  });
  it('payloads on -> pending only; SET with a payload writes CR2 when it is delivered', () => {
    const t = eventVm();
    t.vcpu.vm.enableCap('exception-payload' as never);
    t.load('nop\nhlt');
    const pending = exception(14, {
      injected: false,
      pending: true,
      hasErrorCode: true,
      errorCode: 2,
      hasPayload: true,
      payload: 0xabcdn,
    });
    set(t, { exception: pending });
    expect(get(t).exception).toMatchObject({
      injected: false,
      pending: true,
      hasPayload: true,
      payload: 0xabcdn,
    });
    expect(get(t).flags & EventsValid.Payload).not.toBe(0);
    expect(t.vcpu.get('cr2')).toBe(0n);
    t.run();
    expect(t.vcpu.get('cr2')).toBe(0xabcdn);
    // a fault-class exception that KVM queues sets RF
    expect(t.seen()).toMatchObject([{ vector: 14, code: 2, flags: 2 | FL.RF }]);
  });
  it('a pending triple fault with its capability -> visible, exit shutdown, nothing reset', () => {
    const t = eventVm();
    t.vcpu.vm.enableCap('x86-triple-fault-event' as never);
    t.load('nop\nhlt');
    expect(set(t, { flags: EventsValid.TripleFault, tripleFaultPending: true })).toBe(0);
    expect(get(t).tripleFaultPending).toBe(true);
    expect(t.run().kind).toBe('shutdown');
    expect(t.vcpu.pc).toBe(BigInt(VM.code));
  });
  it('a soft interrupt injected -> delivered with the DPL check of INT n, not reported back', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    set(t, { interrupt: { injected: true, nr: 0x55, soft: true, shadow: 0 } });
    expect(get(t).interrupt.injected).toBe(false);
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 0x55, rip: VM.code }]);
    expect(t.arch.events.interrupt.injected).toBe(false);
  });
  it('bytes -> the same as by name', () => {
    const t = eventVm();
    set(t, { exception: exception(13, { hasErrorCode: true, errorCode: 0x1234_5678 }) });
    const { ret, bytes } = t.vcpu.ioctl(0x8040_ae9f, new Uint8Array(64));
    expect(ret).toBe(0);
    expect([...bytes.slice(0, 8)]).toEqual([1, 13, 1, 0, 0x78, 0x56, 0x34, 0x12]);
    const u = eventVm();
    expect(u.vcpu.ioctl(0x4040_aea0, bytes)).toMatchObject({ ret: 0 });
    expect(get(u)).toEqual(get(t));
  });
  it('AMD, an interrupt shadow -> both bits read 1; Intel, the one that is', () => {
    for (const [model, shadow] of [
      ['zen3', 3],
      ['skylake', 2],
    ] as const) {
      const t = eventVm({ model });
      t.load('sti\nnop\nnop');
      t.run(1);
      expect(get(t).interrupt.shadow).toBe(shadow);
      t.run(1);
      expect(get(t).interrupt.shadow).toBe(0);
    }
  });
});

describe('KVM queues exceptions (kvm_multiple_exception)', () => {
  const queue = (...list: readonly (readonly [vector: number, code?: number])[]): EventVm => {
    const t = eventVm();
    t.load('nop\nhlt');
    for (const [v, code] of list) t.arch.events.queueException(v, code);
    return t;
  };
  it('#GP, #NP -> #DF', () => {
    const t = queue([13, 0], [11, 8]);
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 8, code: 0 }]);
  });
  it('#GP, #MC -> #MC alone: #GP is lost', () => {
    const t = queue([13, 0], [18]);
    t.run();
    expect(vectors(t)).toEqual([18]);
  });
  it('#DF, #MC -> shutdown', () => {
    expect(queue([8, 0], [18]).run().kind).toBe('shutdown');
  });
  it('#PF, #PF -> #DF; #PF, #UD -> #UD', () => {
    const t = queue([14, 0], [14, 0]);
    t.run();
    expect(vectors(t)).toEqual([8]);
    const u = queue([14, 0], [6]);
    u.vcpu.vm.poke(VM.log + 8, 0n);
    u.run(1);
    expect(get(u).exception.nr).toBe(6);
  });
  it('an exception, an NMI and an interrupt at once -> exception delivered first, the NMI upon it', () => {
    const t = queue([18]);
    t.vcpu.op('nmi', {});
    t.run();
    // the NMI's handler runs before the first instruction of that for #MC
    const seen = t.seen();
    expect(seen.map((s) => s.vector)).toEqual([2, 18]);
    expect(seen[0]?.rip).toBe(VM.stubs + 18 * 16);
  });
});

describe('the point x86.events', () => {
  const withRules = (rules: EventRules): EventVm =>
    eventVm({
      plugins: [
        definePlugin({
          name: 'gate',
          core: '^1.0.0',
          summary: 'x',
          setup: (ctx) => ctx.contribute(events, () => [rules]),
        }),
      ],
    });
  it('GIF = 0 -> NMIs are held; attend() after it opens -> taken', () => {
    let gif = false;
    const t = withRules({ allowed: () => (gif ? undefined : false) });
    t.load('nop\nnop\nnop\nhlt');
    t.vcpu.op('nmi', {});
    t.run(2);
    expect(vectors(t)).toEqual([]);
    gif = true;
    t.run();
    expect(vectors(t)).toEqual([2]);
  });
  it('an intercept of #UD -> the plugin gets it with RIP at the instruction; nothing is delivered', () => {
    const caught: number[] = [];
    const t = withRules({
      exception: (m, e) => {
        if (e.vector !== Vector.UD) return false;
        caught.push(m.state.ipLo);
        m.state.advance(2);
        return true;
      },
    });
    t.load('ud2\nhlt');
    expect(t.run().kind).toBe('hlt');
    expect([caught, vectors(t)]).toEqual([[VM.code], []]);
  });
  it('an intercept of #PF -> CR2 is not written', () => {
    const t = withRules({
      exception: (m, e) => {
        expect(e).toMatchObject({ vector: 14, payloadLo: 0x4000_0000 });
        m.state.advance(2);
        return true;
      },
    });
    t.vcpu.vm.poke(VM.pages + 0x1008, 0n);
    t.load('mov ebx, 0x40000000\nmov al, byte ptr [rbx]\nhlt');
    expect(t.run().kind).toBe('hlt');
    expect(t.vcpu.get('cr2')).toBe(0n);
  });
  it('a triple fault that the plugin takes -> no exit', () => {
    let taken = 0;
    const t = withRules({
      shutdown: (m) => {
        taken++;
        m.state.setIp(VM.user, 0);
        return true;
      },
    });
    t.load('lidt [rip + none]\nud2\nnone: .word 0\n.quad 0');
    t.load('hlt', VM.user);
    expect(t.run().kind).toBe('hlt');
    expect(taken).toBe(1);
  });
  it('hold -> nothing new, a step -> the run loop does it', () => {
    let answer: 'hold' | typeof Next.Run | undefined = 'hold';
    const t = withRules({ check: () => answer });
    t.load('nop\nnop\nhlt');
    t.vcpu.op('nmi', {});
    t.run(1);
    expect(vectors(t)).toEqual([]);
    answer = undefined;
    t.run();
    expect(vectors(t)).toEqual([2]);
  });
});

describe('delivery that memory cannot serve', () => {
  /** The stack of NMI handlers lies at a page behind the memory of the VM. */
  const outside = (): EventVm => {
    const t = eventVm();
    t.vcpu.vm.poke(VM.pages + 0x2010, 0x40_00e7n);
    t.vcpu.vm.memory.write(VM.idt + 2 * 16 + 4, Uint8Array.of(1));
    t.vcpu.vm.poke(VM.tss + 36, 0x40_1000n);
    t.load('nop\nhlt');
    t.vcpu.op('nmi', {});
    return t;
  };
  it('a handler stack without memslot -> KVM_INTERNAL_ERROR_DELIVERY_EV; the NMI stays injected', () => {
    const t = outside();
    expect(t.run()).toMatchObject({ kind: 'internal-error', ret: 0, suberror: 3 });
    expect(get(t).nmi).toEqual({ injected: true, pending: 0, masked: true });
    expect(t.vcpu.pc).toBe(BigInt(VM.code));
  });
  it('memory added there -> the next KVM_RUN delivers it', () => {
    const t = outside();
    t.run();
    t.vcpu.vm.addMemory({ gpa: 0x40_0000n, size: 0x1000n });
    t.vcpu.vm.memory.write(0x40_0000, new Uint8Array(8));
    expect(t.run().kind).toBe('hlt');
    expect(t.seen()).toMatchObject([{ vector: 2, rip: VM.code }]);
    expect(get(t).nmi).toEqual({ injected: false, pending: 0, masked: false });
  });
  it('a page table entry that is missing -> #PF of the delivery, RIP at the interrupted instruction', () => {
    const t = outside();
    t.vcpu.vm.poke(VM.pages + 0x2010, 0n);
    t.run();
    expect(t.seen()).toMatchObject([{ vector: 14, code: 2, rip: VM.code }]);
    expect(t.vcpu.get('cr2')).toBe(0x40_0ff8n);
  });
});

describe('snapshots', () => {
  it('everything that waits -> is there after a restore', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    t.vcpu.op('nmi', {});
    t.vcpu.op('interrupt', { irq: 0x77 });
    const before = get(t);
    const s = t.vcpu.vm.snapshot();
    t.run();
    expect(vectors(t)).toEqual([2, 0x77]);
    t.vcpu.vm.restore(s);
    expect(get(t)).toEqual(before);
    t.run();
    expect(vectors(t)).toEqual([2, 0x77]);
  });
});
