/** Debug exceptions of a running guest (AMD64 APM volume 2, 13.1; Intel SDM volume 3, 19.3). */
import { definePlugin } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { events } from '../src/index.ts';
import { FL } from '../src/isa/flags.ts';
import { type EventVm, eventVm, VM } from './support/event-vm.ts';

const TF = FL.TF;
const DR7 = (n: number, rw: number, len: number): number =>
  0x400 | (1 << (2 * n)) | (((len << 2) | rw) << (16 + 4 * n));
/** RIPs of the #DBs, as labels where they have one. */
const steps = (t: EventVm, at: ReadonlyMap<string, number>): readonly string[] =>
  t.seen().map((s) => {
    const label = [...at].find(([, v]) => v === s.rip)?.[0] ?? s.rip.toString(16);
    return s.vector === 1 ? label : `${s.vector}@${label}`;
  });
const setFlags = (flags: number): string => `push ${flags | 2}\npopfq`;

describe('single step', () => {
  it('POPF that sets TF -> #DB behind the next instruction, and so on until TF is cleared', () => {
    const t = eventVm();
    const at = t.load(`
      ${setFlags(TF)}
      a: nop
      b: mov eax, 5
      c: ${setFlags(0).replace('\n', '\nd: ')}
      e: nop
      hlt`);
    expect(t.run().kind).toBe('hlt');
    const seen = t.seen();
    expect(seen.map((s) => s.rip)).toEqual(['b', 'c', 'd', 'e'].map((l) => at.get(l)));
    expect(seen.map((s) => s.dr6 & 0x4000)).toEqual([0x4000, 0x4000, 0x4000, 0x4000]);
    // the image has TF, the handler runs without it
    expect(seen[0]?.flags).toBe(TF | 2 | (FL.PF * 0));
  });
  it('MOV SS -> no trap behind it, one behind the instruction that follows', () => {
    const t = eventVm();
    const at = t.load(`
      mov eax, 0x10
      ${setFlags(TF)}
      a: mov ss, eax
      b: nop
      c: ${setFlags(0)}
      hlt`);
    t.run();
    expect(steps(t, at).slice(0, 1)).toEqual(['c']);
  });
  it('INT n -> the handler is not stepped, nor is there a trap behind INT; IRET restores TF', () => {
    const t = eventVm();
    const at = t.load(`
      ${setFlags(TF)}
      a: int 0x40
      b: nop
      c: ${setFlags(0)}
      hlt`);
    t.run();
    expect(steps(t, at).slice(0, 2)).toEqual(['64@b', 'c']);
  });
  it('SYSCALL with TF in SFMASK -> no trap in the kernel; SYSRET steps user code behind it', () => {
    const t = eventVm();
    t.load(`
      mov ecx, 0xc0000081
      mov edx, 0x00130008
      xor eax, eax
      wrmsr
      mov ecx, 0xc0000082
      xor edx, edx
      lea rax, [rip + kernel]
      wrmsr
      mov ecx, 0xc0000084
      mov eax, 0x100
      wrmsr
      mov ecx, 0xc0000080
      rdmsr
      or eax, 1
      wrmsr
      mov ecx, ${VM.user}
      mov r11d, 2
      sysretq
      kernel: nop
      nop
      sysretq`);
    t.load(`${setFlags(TF)}\nnop\nsyscall\nnop\nnop\nud2`, VM.user);
    t.vcpu.vm.poke(VM.log + 8, 0n);
    t.run(200);
    const rips = t.seen().map((s) => s.rip);
    // user instructions only: nop, syscall (seen behind SYSRET), nop, nop
    expect(rips.slice(0, 4).every((r) => r >= VM.user && r < VM.user + 0x100)).toBe(true);
    expect(new Set(rips.slice(0, 4)).size).toBe(4);
  });
  it('HLT with a controller in the kernel -> the trap behind it wakes the vCPU', () => {
    const t = eventVm();
    t.arch.events.source = { pending: () => false, acknowledge: () => -1 };
    const at = t.load(`${setFlags(TF)}\nhlt\na: ${setFlags(0)}\nb: jmp b`);
    t.run(90);
    expect(t.seen()[0]).toMatchObject({ vector: 1, rip: at.get('a') });
  });
  it('IN, OUT and OUTS by userspace -> a trap behind each; the same after a snapshot at the exit', () => {
    const t = eventVm();
    const at = t.load(`
      mov esi, 0x40000
      mov edx, 0x80
      ${setFlags(TF)}
      in al, dx
      b: out dx, al
      c: outsb
      d: ${setFlags(0).replace('\n', '\ne: ')}
      f: nop
      hlt`);
    for (let exits = 0; exits < 3; exits++) {
      expect(t.run().kind).toBe('io');
      const here = t.vcpu.vm.snapshot();
      t.run();
      t.vcpu.vm.restore(here);
    }
    expect(t.run().kind).toBe('hlt');
    expect(steps(t, at)).toEqual(['b', 'c', 'd', 'e', 'f']);
  });
  it('REP MOVSB of 3 -> a trap behind each iteration; RF = 1 in the image while some are left', () => {
    const t = eventVm();
    const at = t.load(
      `mov esi, 0x40000\nmov edi, 0x41000\nmov ecx, 3\n${setFlags(TF)}\na: rep movsb\nb: ${setFlags(0)}\nhlt`,
    );
    t.run();
    expect(
      t
        .seen()
        .slice(0, 3)
        .map((s) => [s.rip, s.flags & FL.RF]),
    ).toEqual([
      [at.get('a'), FL.RF],
      [at.get('a'), FL.RF],
      [at.get('b'), 0],
    ]);
  });
  it('an instruction whose exception a plugin takes -> no step behind it', () => {
    const plugin = definePlugin({
      name: 'taker',
      core: '^1.0.0',
      summary: 'x',
      setup: (ctx) =>
        ctx.contribute(events, () => [
          {
            exception: (m, e) => {
              if (e.vector !== 6) return false;
              m.state.advance(2);
              m.state.other &= ~TF;
              m.modeChanged();
              return true;
            },
          },
        ]),
    });
    const t = eventVm({ plugins: [plugin] });
    t.load(`${setFlags(TF)}\nud2\nhlt`);
    expect(t.run().kind).toBe('hlt');
    expect(t.seen()).toEqual([]);
  });
  it('an instruction that faults -> its own exception, no step; RF = 1 in the image', () => {
    const t = eventVm();
    t.vcpu.vm.poke(VM.log + 8, 2n);
    const at = t.load(`
      ${setFlags(TF)}
      a: ud2
      b: nop
      c: ${setFlags(0)}
      hlt`);
    t.run();
    const seen = t.seen();
    expect(seen[0]).toMatchObject({ vector: 6, rip: at.get('a'), flags: TF | FL.RF | 2 });
    expect(seen[1]).toMatchObject({ vector: 1, rip: at.get('c') });
  });
});

describe('breakpoint registers', () => {
  const arm = (t: EventVm, n: number, address: number, dr7: number): void => {
    t.vcpu.set(`dr${n}`, address);
    t.vcpu.set('dr7', dr7);
  };
  it('instruction breakpoint -> #DB before it, DR6.B0; with RF set by the handler it executes', () => {
    const t = eventVm();
    t.vcpu.vm.poke(VM.log + 16, BigInt(FL.RF));
    const at = t.load('nop\na: mov eax, 7\nhlt');
    arm(t, 0, at.get('a') as number, DR7(0, 0, 0));
    expect(t.run().kind).toBe('hlt');
    expect(t.vcpu.get('rax')).toBe(7n);
    expect(t.seen()).toMatchObject([{ vector: 1, rip: at.get('a'), dr6: 0xffff0ff1 }]);
  });
  it('RF -> is cleared by the instruction: a loop meets the breakpoint each time', () => {
    const t = eventVm();
    t.vcpu.vm.poke(VM.log + 16, BigInt(FL.RF));
    const at = t.load('mov ecx, 3\na: dec ecx\njnz a\nhlt');
    arm(t, 2, at.get('a') as number, DR7(2, 0, 0));
    t.run();
    const seen = t.seen();
    expect(seen.length).toBe(3);
    expect(seen.map((s) => s.dr6 & 15)).toEqual([4, 4, 4]);
  });
  it.each([
    ['write, load', 1, 3, 'mov eax, dword ptr [rbx]', 0],
    ['write, store', 1, 3, 'mov dword ptr [rbx], eax', 1],
    ['write, read-modify-write', 1, 3, 'add dword ptr [rbx], eax', 1],
    ['read or write, load', 3, 3, 'mov eax, dword ptr [rbx]', 1],
    ['read or write, last byte of 4', 3, 3, 'mov al, byte ptr [rbx + 3]', 1],
    ['read or write, byte behind', 3, 3, 'mov al, byte ptr [rbx + 4]', 0],
    ['1 byte, an access that covers it', 3, 0, 'mov rax, qword ptr [rbx - 7]', 1],
    ['1 byte, an access that ends before', 3, 0, 'mov rax, qword ptr [rbx - 8]', 0],
    ['8 bytes', 3, 2, 'mov al, byte ptr [rbx + 7]', 1],
    ['push', 1, 3, 'lea rsp, [rbx + 8]\npush rax', 1],
  ] as const)(
    'data breakpoint, %s (RW %i, LEN %i; %s) -> %i traps behind the instruction',
    (_, how, len, text, hits) => {
      const t = eventVm();
      const at = t.load(`mov ebx, 0x40000\n${text}\nb: mov esp, ${VM.stack}\nhlt`);
      arm(t, 1, 0x40000, DR7(1, how, len));
      t.run();
      expect(t.seen().map((s) => [s.vector, s.rip, s.dr6 & 15])).toEqual(
        Array.from({ length: hits }, () => [1, at.get('b'), 2]),
      );
    },
  );
  it('data breakpoint hit by MOV SS -> comes behind the next instruction', () => {
    const t = eventVm();
    const at = t.load(
      'mov ebx, 0x40000\nmov word ptr [rbx + 8], 0x10\nmov ss, word ptr [rbx + 8]\na: nop\nb: nop\nhlt',
    );
    arm(t, 0, 0x40008, DR7(0, 3, 1));
    t.run();
    // the store traps at once, the load of SS late
    expect(
      t
        .seen()
        .map((s) => s.rip)
        .at(-1),
    ).toBe(at.get('b'));
  });
  it('data breakpoint hit by MOV SS, then INT n -> #DB at the first instruction of its handler', () => {
    const t = eventVm();
    const at = t.load('mov ebx, 0x40000\nmov word ptr [rbx], 0x10\nmov ss, word ptr [rbx]\nint 0x40\na: hlt');
    arm(t, 0, 0x40000, DR7(0, 3, 1));
    t.run();
    expect(
      t
        .seen()
        .map((s) => [s.vector, s.rip])
        .slice(1),
    ).toEqual([
      [1, VM.stubs + 0x40 * 16],
      [0x40, at.get('a')],
    ]);
  });
  it.each([
    ['zen3', 1],
    ['skylake', 0],
  ] as const)('instruction breakpoint behind MOV SS, %s -> %i #DB', (model, traps) => {
    const t = eventVm({ model });
    const at = t.load('mov eax, 0x10\nmov ss, eax\na: nop\nhlt');
    arm(t, 0, at.get('a') as number, DR7(0, 0, 0));
    t.vcpu.vm.poke(VM.log + 16, FL.RF);
    t.run();
    expect(steps(t, at)).toEqual(Array.from({ length: traps }, () => 'a'));
  });
  it('a step, and a breakpoint on the next instruction -> one #DB with both bits', () => {
    const t = eventVm();
    t.vcpu.vm.poke(VM.log + 16, BigInt(FL.RF));
    const at = t.load(`${setFlags(TF)}\nnop\na: nop\n${setFlags(0)}\nhlt`);
    arm(t, 0, at.get('a') as number, DR7(0, 0, 0));
    t.run();
    expect(t.seen()[0]).toMatchObject({ vector: 1, rip: at.get('a'), dr6: 0xffff4ff1 });
  });
  it('a breakpoint of data, and stepping -> one #DB with both bits', () => {
    const t = eventVm();
    const at = t.load(`mov ebx, 0x40000\n${setFlags(TF)}\nmov al, byte ptr [rbx]\na: ${setFlags(0)}\nhlt`);
    arm(t, 3, 0x40000, DR7(3, 3, 0));
    t.run();
    expect(t.seen()[0]).toMatchObject({ vector: 1, rip: at.get('a'), dr6: 0xffff4ff8 });
  });
  it('a store that page-faults -> no data breakpoint for it', () => {
    const t = eventVm();
    // behind the memory of the VM there is nothing mapped by the guest either
    t.vcpu.vm.poke(VM.pages + 0x1008, 0n);
    t.vcpu.vm.poke(VM.log + 8, 2n);
    const at = t.load('mov ebx, 0x40000000\na: mov byte ptr [rbx], al\nhlt');
    arm(t, 0, 0x40000000, DR7(0, 1, 0));
    t.run();
    expect(t.seen().map((s) => [s.vector, s.rip])).toEqual([[14, at.get('a')]]);
  });
  it('MOV DR with DR7.GD -> #DB with BD, GD cleared', () => {
    const t = eventVm();
    const at = t.load('a: mov rax, dr3\nhlt');
    t.vcpu.set('dr7', 0x2400);
    t.run();
    expect(t.seen()[0]).toMatchObject({ vector: 1, rip: at.get('a'), dr6: 0xffff2ff0 });
    expect(t.vcpu.get('dr7')).toBe(0x400n);
  });
});

describe('RF of a double fault', () => {
  it.each([
    ['mapped', `mov rax, qword ptr [${VM.idt}]`],
    ['not mapped by stage 2 yet', 'nop'],
  ])('#GP without a gate, the IDT %s -> #DF with RF = 1 in its image', (_, before) => {
    const t = eventVm();
    t.load(`${before}\nmov eax, 0x1230\nmov ds, ax\nhlt`);
    t.vcpu.vm.poke(VM.log + 8, 2n);
    t.vcpu.vm.poke(VM.idt + 16 * 13 + 4, 0n);
    expect(t.run(3000).kind).toBe('hlt');
    expect(t.seen().map((s) => [s.vector, s.flags & FL.RF])).toEqual([[8, FL.RF]]);
  });
});
