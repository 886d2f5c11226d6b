/** Cases of events that run here and on KVM: what the guest's handlers see, and what the VMM sees. */
import { FL } from '../../src/isa/flags.ts';
import type { EventCase } from './event-script.ts';
import { type EventVm, VM } from './event-vm.ts';

const { TF } = FL;
const flags = (f: number): string => `push ${f | 2}\npopfq`;
const OFF = flags(0);
const dr7 = (...bp: readonly (readonly [n: number, rw: number, len: number])[]): string =>
  bp
    .reduce((v, [n, rw, len]) => v | (1 << (2 * n)) | (((len << 2) | rw) << (16 + 4 * n)), 0x400)
    .toString(16);
/** What handlers do to the frame: skip bytes, set flags. */
const skip = (n: number) => (t: EventVm) => t.vcpu.vm.poke(VM.log + 8, BigInt(n));
const frame = (t: EventVm, f: number): void => t.vcpu.vm.poke(VM.log + 16, BigInt(f));
const RUN = ['run', 'log'];
const DATA = '40000';

const stepping: readonly EventCase[] = [
  {
    name: 'step: nop, mov, pushf',
    program: `${flags(TF)}\nnop\nmov eax, 5\npushfq\npop rbx\n${OFF}\nnop\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: mov ss',
    program: `mov eax, 16\n${flags(TF)}\nmov ss, eax\nnop\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  { name: 'step: int 0x40', program: `${flags(TF)}\nint 0x40\nnop\n${OFF}\nint 0xff`, actions: RUN },
  { name: 'step: int3', program: `${flags(TF)}\nint3\nnop\n${OFF}\nint 0xff`, actions: RUN },
  { name: 'step: int1', program: `${flags(TF)}\n.byte 0xf1\nnop\n${OFF}\nint 0xff`, actions: RUN },
  { name: 'step: ud2', program: `${flags(TF)}\nud2\nnop\n${OFF}\nint 0xff`, prepare: skip(2), actions: RUN },
  {
    name: 'step: iretq that sets TF',
    program: `mov rax, rsp\npush 16\npush rax\npush ${TF | 2}\npush 8\nlea rbx, [rip + a]\npush rbx\niretq\na: nop\nnop\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: rep movsb',
    program: `mov esi, 0x40000\nmov edi, 0x41000\nmov ecx, 3\n${flags(TF)}\nrep movsb\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: rep of none',
    program: `xor ecx, ecx\n${flags(TF)}\nrep stosb\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  { name: 'step: sti', program: `${flags(TF)}\nsti\nnop\ncli\n${OFF}\nint 0xff`, actions: RUN },
  {
    name: 'step: jmp, call, ret',
    program: `${flags(TF)}\njmp a\na: call b\n${OFF}\nint 0xff\nb: ret`,
    actions: RUN,
  },
  {
    name: 'step: cpuid, rdmsr',
    program: `mov ecx, 0xc0000080\n${flags(TF)}\nrdmsr\ncpuid\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: wrmsr, mov cr',
    program: `mov ecx, 0xc0000082\nxor eax, eax\nxor edx, edx\n${flags(TF)}\nwrmsr\nmov rax, cr4\nmov cr4, rax\nmov rbx, cr0\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: lidt, lgdt, invlpg',
    program: `sidt [rip + a]\n${flags(TF)}\nlidt [rip + a]\ninvlpg [rip + a]\n${OFF}\nint 0xff\na: .quad 0, 0`,
    actions: RUN,
  },
  {
    name: 'step: xchg, lock',
    program: `mov ebx, 0x40000\n${flags(TF)}\nxchg [rbx], eax\nlock inc dword ptr [rbx]\n${OFF}\nint 0xff`,
    actions: RUN,
  },
  {
    name: 'step: user code and syscall',
    program: `mov ecx, 0xc0000081\nmov edx, 0x00130008\nxor eax, eax\nwrmsr
      mov ecx, 0xc0000082\nxor edx, edx\nlea rax, [rip + kernel]\nwrmsr
      mov ecx, 0xc0000084\nmov eax, 0x100\nwrmsr
      mov ecx, 0xc0000080\nrdmsr\nor eax, 1\nwrmsr
      mov ecx, ${VM.user}\nmov r11d, 2\nsysretq
      kernel: nop\ntest eax, eax\njz done\nsysretq\ndone: int 0xff`,
    user: `mov eax, 1\n${flags(TF)}\nnop\nsyscall\nnop\nxor eax, eax\nsyscall`,
    actions: RUN,
  },
  {
    name: 'step: syscall without TF in the mask',
    program: `mov ecx, 0xc0000081\nmov edx, 0x00130008\nxor eax, eax\nwrmsr
      mov ecx, 0xc0000082\nxor edx, edx\nlea rax, [rip + kernel]\nwrmsr
      mov ecx, 0xc0000084\nxor eax, eax\nwrmsr
      mov ecx, 0xc0000080\nrdmsr\nor eax, 1\nwrmsr
      mov ecx, ${VM.user}\nmov r11d, 2\nsysretq
      kernel: nop\nnop\n${OFF}\nint 0xff`,
    user: `${flags(TF)}\nnop\nsyscall`,
    actions: RUN,
  },
  {
    name: 'step: sysret that sets TF',
    program: `mov ecx, 0xc0000081\nmov edx, 0x00130008\nxor eax, eax\nwrmsr
      mov ecx, 0xc0000082\nxor edx, edx\nlea rax, [rip + kernel]\nwrmsr
      mov ecx, 0xc0000084\nmov eax, 0x100\nwrmsr
      mov ecx, 0xc0000080\nrdmsr\nor eax, 1\nwrmsr
      mov ecx, ${VM.user}\nmov r11d, ${TF | 2}\nsysretq
      kernel: int 0xff`,
    user: 'nop\nnop\nsyscall',
    actions: RUN,
  },
];

/** A data breakpoint at 40000h, and an instruction that may hit it. */
const watched = (name: string, how: readonly [number, number, number], text: string): EventCase => ({
  name: `watch: ${name}`,
  program: `mov ebx, 0x40000\nmov rdx, rsp\n${text}\nmov rsp, rdx\nint 0xff`,
  actions: [`set dr0 ${DATA}`, `set dr7 ${dr7(how)}`, ...RUN],
});
const W = 1;
const RW = 3;
const breakpoints: readonly EventCase[] = [
  {
    name: 'break: once, RF by the handler',
    program: 'nop\na: mov eax, 7\nnop\nint 0xff',
    prepare: (t) => frame(t, FL.RF),
    actions: ['set dr0 @a', `set dr7 ${dr7([0, 0, 0])}`, ...RUN],
  },
  {
    name: 'break: in a loop',
    program: 'mov ecx, 3\na: dec ecx\njnz a\nint 0xff',
    prepare: (t) => frame(t, FL.RF),
    actions: ['set dr2 @a', `set dr7 ${dr7([2, 0, 0])}`, ...RUN],
  },
  {
    name: 'break: two at one place, one elsewhere',
    program: 'nop\na: nop\nb: nop\nint 0xff',
    prepare: (t) => frame(t, FL.RF),
    actions: [
      'set dr0 @a',
      'set dr1 @b',
      'set dr3 @a',
      `set dr7 ${dr7([0, 0, 0], [1, 0, 0], [3, 0, 0])}`,
      ...RUN,
    ],
  },
  {
    name: 'break: behind mov ss',
    program: 'mov eax, 16\nmov ss, eax\na: nop\nnop\nint 0xff',
    prepare: (t) => frame(t, FL.RF),
    actions: ['set dr0 @a', `set dr7 ${dr7([0, 0, 0])}`, ...RUN],
  },
  {
    name: 'break: behind sti',
    program: 'sti\na: nop\ncli\nint 0xff',
    prepare: (t) => frame(t, FL.RF),
    actions: ['set dr0 @a', `set dr7 ${dr7([0, 0, 0])}`, ...RUN],
  },
  {
    name: 'break: while stepping',
    program: `${flags(TF)}\nnop\na: nop\n${OFF}\nint 0xff`,
    prepare: (t) => frame(t, FL.RF),
    actions: ['set dr0 @a', `set dr7 ${dr7([0, 0, 0])}`, ...RUN],
  },
  watched('write, load', [0, W, 3], 'mov eax, [rbx]'),
  watched('write, store', [0, W, 3], 'mov [rbx], eax'),
  watched('write, add', [0, W, 3], 'add dword ptr [rbx], 1'),
  watched('write, cmp', [0, W, 3], 'cmp dword ptr [rbx], 1'),
  watched('write, cmpxchg that fails', [0, W, 3], 'mov eax, 1\ncmpxchg [rbx], ecx'),
  watched('read, load', [0, RW, 3], 'mov eax, [rbx]'),
  watched('read, last byte', [0, RW, 3], 'mov al, [rbx + 3]'),
  watched('read, behind', [0, RW, 3], 'mov al, [rbx + 4]'),
  watched('read, before', [0, RW, 3], 'mov eax, [rbx - 4]'),
  watched('read, across the start', [0, RW, 3], 'mov eax, [rbx - 2]'),
  watched('1 byte in 8', [0, RW, 0], 'mov rax, [rbx - 7]'),
  watched('8 bytes', [0, RW, 2], 'mov al, [rbx + 7]'),
  watched('push', [0, W, 3], 'lea rsp, [rbx + 8]\npush rax'),
  watched('pop', [0, RW, 3], 'mov rsp, rbx\npop rax'),
  watched('pop, write only', [0, W, 3], 'mov rsp, rbx\npop rax'),
  watched('call', [0, W, 3], 'lea rsp, [rbx + 8]\ncall a\na: nop'),
  watched('lea', [0, RW, 3], 'lea eax, [rbx]'),
  watched('prefetch', [0, RW, 3], 'prefetcht0 [rbx]'),
  watched('rep stosb over it', [0, W, 0], 'lea edi, [rbx - 2]\nmov ecx, 5\nrep stosb'),
  watched('movsq from it', [0, RW, 3], 'mov esi, ebx\nmov edi, 0x41000\nmovsq'),
  watched('movdqu over it', [0, RW, 3], 'movdqu xmm0, [rbx - 8]'),
  watched('mov ss from it', [0, RW, 1], 'mov word ptr [rbx], 16\nmov ss, [rbx]\nnop\nnop'),
  watched('mov ds from it', [0, RW, 1], 'mov word ptr [rbx], 16\nmov ds, [rbx]\nnop'),
  watched('mov ss from it, then int', [0, RW, 1], 'mov word ptr [rbx], 16\nmov ss, [rbx]\nint 0x40\nnop'),
  watched('lidt from it', [0, RW, 3], 'sidt [rbx + 8]\nlidt [rbx + 8]\nmov eax, [rbx + 8]\nmov [rbx], eax'),
  watched('fxsave over it', [0, W, 3], 'fxsave [rbx]'),
  watched('two accesses of one instruction', [0, RW, 3], 'mov esi, ebx\nmov edi, ebx\nmovsd'),
  {
    name: 'watch: while stepping',
    program: `mov ebx, 0x40000\n${flags(TF)}\nmov al, [rbx]\n${OFF}\nint 0xff`,
    actions: [`set dr3 ${DATA}`, `set dr7 ${dr7([3, RW, 0])}`, ...RUN],
  },
  {
    name: 'watch: a store that faults',
    program: 'mov ebx, 0x40000000\nmov [rbx], al\nint 0xff',
    prepare: (t) => {
      t.vcpu.vm.poke(VM.pages + 0x1008, 0n);
      skip(2)(t);
    },
    actions: ['set dr0 40000000', `set dr7 ${dr7([0, W, 0])}`, ...RUN],
  },
  {
    name: 'general detect',
    program: 'mov rax, dr3\nnop\nint 0xff',
    prepare: () => {},
    actions: ['set dr7 2400', ...RUN],
  },
];

/** Vector 40h by INT, from CPL 0, with something wrong on the way. */
const wrong = (name: string, prepare: (t: EventVm) => void, how: 'int' | 'irq' = 'int'): EventCase => ({
  name: `gate: ${name}, ${how}`,
  program: how === 'int' ? 'int 0x40\nint 0xff' : 'nop\nint 0xff',
  prepare: (t) => {
    prepare(t);
    if (how === 'int') skip(2)(t);
  },
  actions: how === 'int' ? RUN : ['irq 40', ...RUN],
});
const GATE = VM.idt + 0x40 * 16;
const poke8 = (t: EventVm, at: number, v: number): void => t.vcpu.vm.memory.write(at, Uint8Array.of(v));
const poke16 = (t: EventVm, at: number, v: number): void =>
  t.vcpu.vm.memory.write(at, Uint8Array.of(v & 255, v >> 8));
const gateFaults: readonly (readonly [string, (t: EventVm) => void])[] = [
  ['not present', (t) => poke8(t, GATE + 5, 0x6e)],
  ['a call gate', (t) => poke8(t, GATE + 5, 0xec)],
  ['a task gate', (t) => poke8(t, GATE + 5, 0xe5)],
  ['a 16-bit gate', (t) => poke8(t, GATE + 5, 0xe6)],
  ['a code descriptor', (t) => poke8(t, GATE + 5, 0xfe)],
  ['null selector', (t) => poke16(t, GATE + 2, 0)],
  ['beyond the GDT', (t) => poke16(t, GATE + 2, 0x40)],
  ['in an absent LDT', (t) => poke16(t, GATE + 2, 0xc)],
  ['a data segment', (t) => poke16(t, GATE + 2, 0x10)],
  ['an outer code segment', (t) => poke16(t, GATE + 2, 0x20)],
  ['RPL in the selector', (t) => poke16(t, GATE + 2, 0xb)],
  ['32-bit code', (t) => poke8(t, VM.gdt + 8 + 6, 0xcf)],
  ['code not present', (t) => poke8(t, VM.gdt + 8 + 5, 0x1b)],
  ['a non-canonical handler', (t) => poke16(t, GATE + 10, 0x8000)],
  [
    'an IST entry',
    (t) => {
      poke8(t, GATE + 4, 2);
      t.vcpu.vm.poke(VM.tss + 28 + 16, 0x7_0008n);
    },
  ],
  [
    'an IST entry that is not canonical',
    (t) => {
      poke8(t, GATE + 4, 2);
      t.vcpu.vm.poke(VM.tss + 28 + 16, 0x8000_0000_0000n);
    },
  ],
  [
    'IST 7',
    (t) => {
      poke8(t, GATE + 4, 7);
      t.vcpu.vm.poke(VM.tss + 28 + 56, 0x7_0000n);
    },
  ],
  ['a trap gate', (t) => poke8(t, GATE + 5, 0xef)],
];
const user = (text: string): string =>
  `push 0x1b\npush ${VM.stack3}\npush 2\npush 0x23\npush ${VM.user}\niretq\n${text}`;
/** The 32-bit code case breaks every handler: a triple fault, which says little. */
const delivery: readonly EventCase[] = [
  ...gateFaults.flatMap(([name, f]) => [wrong(name, f), wrong(name, f, 'irq')]),
  {
    name: 'user: int 0x40',
    program: user('nop'),
    user: 'int 0x40\nint 0x41',
    actions: ['run', 'log'],
    prepare: (t) => poke8(t, VM.idt + 0x41 * 16 + 5, 0x8e),
  },
  {
    name: 'user: int of DPL 0, int3, ud2, privileged',
    program: user('nop'),
    user: 'int 0x42\nint3\nud2\nhlt\nnop\nint 0xff',
    prepare: (t) => {
      poke8(t, VM.idt + 0x42 * 16 + 5, 0x8e);
      skip(2)(t);
    },
    actions: RUN,
  },
  {
    name: 'user: page fault',
    program: user('nop'),
    user: 'mov ebx, 0x40000000\nmov [rbx], al\nint 0xff',
    prepare: (t) => {
      t.vcpu.vm.poke(VM.pages + 0x1008, 0n);
      skip(2)(t);
    },
    actions: RUN,
  },
  {
    name: 'double fault: #GP through a gate that is not present',
    program: 'xor eax, eax\nmov ds, eax\nmov eax, 0x48\nmov ds, eax\nint 0xff',
    prepare: (t) => {
      poke8(t, VM.idt + 13 * 16 + 5, 0x6e);
      skip(2)(t);
    },
    actions: RUN,
  },
  {
    name: 'serial: #UD through a gate that is not present',
    program: 'ud2\nint 0xff',
    prepare: (t) => {
      poke8(t, VM.idt + 6 * 16 + 5, 0x6e);
      skip(2)(t);
    },
    actions: RUN,
  },
  {
    name: 'double fault: #PF, whose stack faults',
    program: 'mov ebx, 0x40000000\nmov al, [rbx]\nint 0xff',
    prepare: (t) => {
      t.vcpu.vm.poke(VM.pages + 0x1008, 0n);
      poke8(t, VM.idt + 14 * 16 + 4, 1);
      t.vcpu.vm.poke(VM.tss + 36, 0x4000_1000n);
      skip(2)(t);
    },
    actions: RUN,
  },
  { name: 'triple fault: no IDT', program: 'lidt [rip + a]\nud2\na: .quad 0, 0', actions: ['run'] },
  {
    name: 'iretq: bad CS',
    program: 'push 16\npush 0x80000\npush 2\npush 0x10\npush 0\niretq\nint 0xff',
    prepare: skip(2),
    actions: RUN,
  },
  {
    name: 'iretq: null SS to CPL 0',
    program:
      'mov rax, rsp\npush 0\npush rax\npush 2\npush 8\nlea rbx, [rip + a]\npush rbx\niretq\na: mov ecx, ss\nint 0xff',
    actions: RUN,
  },
  {
    name: 'iretq: null SS to CPL 3',
    program: 'push 3\npush 0x90000\npush 2\npush 0x23\npush 0x30000\niretq\nint 0xff',
    prepare: skip(2),
    actions: RUN,
  },
  {
    name: 'iretq: not canonical',
    program: 'mov rax, 0x800000000000\npush 16\npush rsp\npush 2\npush 8\npush rax\niretq\nint 0xff',
    prepare: skip(2),
    actions: RUN,
  },
  { name: 'iretq: NT', program: `${flags(FL.NT)}\niretq\nint 0xff`, prepare: skip(2), actions: RUN },
];

const injected = (nr: number, code?: number): string => {
  const e = Buffer.alloc(64);
  e[0] = 1;
  e[1] = nr;
  if (code !== undefined) {
    e[2] = 1;
    e.writeUInt32LE(code, 4);
  }
  return `events ${e.toString('hex')}`;
};
const bytes = (f: (e: Buffer) => void): string => {
  const e = Buffer.alloc(64);
  f(e);
  return `events ${e.toString('hex')}`;
};
const PLAIN = 'nop\nnop\nhlt';
const queue: readonly EventCase[] = [
  { name: 'events: as made', program: PLAIN, actions: ['get', 'run', 'get', 'log'] },
  { name: 'events: interrupt with IF = 0', program: PLAIN, actions: ['irq 30', 'get', 'run', 'get', 'log'] },
  { name: 'events: interrupt 256', program: PLAIN, actions: ['irq 100', 'get'] },
  { name: 'events: two interrupts', program: PLAIN, actions: ['irq 30', 'irq 31', 'get', 'run', 'log'] },
  { name: 'events: three NMIs', program: PLAIN, actions: ['nmi', 'nmi', 'nmi', 'get', 'run', 'get', 'log'] },
  { name: 'events: NMI and interrupt', program: PLAIN, actions: ['nmi', 'irq 33', 'get', 'run', 'log'] },
  { name: 'events: #GP injected', program: PLAIN, actions: [injected(13, 0x18), 'get', 'run', 'log'] },
  { name: 'events: #PF injected', program: PLAIN, actions: [injected(14, 6), 'get', 'run', 'log'] },
  { name: 'events: #MC injected', program: PLAIN, actions: [injected(18), 'get', 'run', 'log'] },
  { name: 'events: #DB injected', program: PLAIN, actions: [injected(1), 'get', 'run', 'log'] },
  { name: 'events: #BP injected', program: PLAIN, actions: [injected(3), 'get'] },
  { name: 'events: vector 2', program: PLAIN, actions: [injected(2), 'get'] },
  { name: 'events: vector 32', program: PLAIN, actions: [injected(32), 'get'] },
  {
    name: 'events: vector 32, not injected',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[1] = 32;
      }),
      'get',
    ],
  },
  {
    name: 'events: unknown flag',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[20] = 0x40;
      }),
      'get',
    ],
  },
  {
    name: 'events: payload without the capability',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[20] = 0x10;
      }),
      'get',
    ],
  },
  {
    name: 'events: pending without the payload flag',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[3] = 1;
        e[1] = 13;
      }),
      'get',
    ],
  },
  {
    name: 'events: triple fault without the capability',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[20] = 0x20;
        e[8] = 1;
        e[9] = 0x44;
      }),
      'get',
    ],
  },
  {
    name: 'events: triple fault',
    program: PLAIN,
    actions: [
      'cap da 1',
      bytes((e) => {
        e[20] = 0x20;
        e[28] = 1;
      }),
      'get',
      'run',
    ],
  },
  {
    name: 'events: NMI masked',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[14] = 1;
      }),
      'nmi',
      'nmi',
      'get',
      'run',
      'get',
      'log',
    ],
  },
  {
    name: 'events: NMI count set',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[20] = 1;
        e[13] = 5;
      }),
      'get',
      'run',
      'get',
      'log',
    ],
  },
  {
    name: 'events: payload of #PF',
    program: PLAIN,
    actions: [
      'cap a4 1',
      bytes((e) => {
        e[20] = 0x10;
        e[3] = 1;
        e[1] = 14;
        e[2] = 1;
        e[4] = 2;
        e[55] = 1;
        e.writeUInt32LE(0xabcd, 56);
      }),
      'get',
      'run',
      'get',
      'log',
    ],
  },
  {
    name: 'events: payload of #DB',
    program: PLAIN,
    actions: [
      'cap a4 1',
      bytes((e) => {
        e[20] = 0x10;
        e[3] = 1;
        e[1] = 1;
        e[55] = 1;
        e.writeUInt32LE(0x4001, 56);
      }),
      'get',
      'run',
      'get',
      'log',
    ],
  },
  {
    name: 'events: interrupt injected',
    program: PLAIN,
    actions: [
      bytes((e) => {
        e[8] = 1;
        e[9] = 0x55;
      }),
      'get',
      'run',
      'get',
      'log',
    ],
  },
  {
    name: 'window: opened by sti',
    program: 'nop\nsti\nnop\nnop\ncli\nhlt',
    actions: ['window 1', 'run', 'window 0', 'irq 90', 'run', 'log'],
  },
  {
    name: 'window: open already',
    program: PLAIN,
    actions: ['set rflags 202', 'window 1', 'run', 'window 0', 'run'],
  },
  {
    name: 'window: popf',
    program: `${flags(FL.IF)}\nnop\ncli\nhlt`,
    actions: ['window 1', 'run', 'window 0', 'run'],
  },
  {
    name: 'window: mov ss behind popf',
    program: `mov eax, 16\n${flags(FL.IF)}\nnop\nhlt`,
    actions: ['window 1', 'run', 'irq 91', 'run', 'window 0', 'run', 'log'],
  },
  {
    name: 'debugger: step',
    program: 'nop\npushfq\npop rax\nmov ecx, 1\nhlt',
    actions: ['debug 3 0 0 0 0 0', 'run', 'run', 'run', 'run', 'debug 0 0 0 0 0 0', 'run', 'log'],
  },
  {
    name: 'debugger: step over cpuid and hlt',
    program: 'cpuid\nhlt\nnop\nhlt',
    actions: ['debug 3 0 0 0 0 0', 'run', 'run', 'run'],
  },
  {
    name: 'debugger: hardware breakpoint',
    program: 'nop\na: nop\nhlt',
    actions: [`debug 20001 @a 0 0 0 ${dr7([0, 0, 0])}`, 'run', 'debug 0 0 0 0 0 0', 'run', 'log'],
  },
  {
    name: 'debugger: watchpoint',
    program: 'mov ebx, 0x40000\nmov [rbx], al\na: nop\nhlt',
    actions: [`debug 20001 0 ${DATA} 0 0 ${dr7([1, W, 0])}`, 'run', 'run', 'log'],
  },
  {
    name: 'debugger: int3',
    program: 'nop\nint3\nhlt',
    actions: ['debug 10001 0 0 0 0 0', 'run', 'debug 0 0 0 0 0 0', 'run', 'log'],
  },
  {
    name: 'debugger: inject #DB',
    program: PLAIN,
    actions: ['debug 40001 0 0 0 0 0', 'debug 40001 0 0 0 0 0', 'debug 0 0 0 0 0 0', 'run', 'log'],
  },
  {
    name: 'debugger: BLOCKIRQ',
    program: PLAIN,
    actions: ['debug 100001 0 0 0 0 0', 'nmi', 'run', 'get', 'log'],
  },
];

/** What the guest sees; they end with INT FFh. */
export const GUEST_CASES: readonly EventCase[] = [...stepping, ...breakpoints, ...delivery];
/** What the VMM sees: KVM is asked. */
export const QUEUE_CASES: readonly EventCase[] = queue;
