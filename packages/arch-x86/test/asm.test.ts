/** The assembler: whole programs, branch relaxation, templates, disassembly, and what it says about mistakes. */
import { describe, expect, it } from 'vitest';
import { asm, asm16, asm32, assemble } from '../src/asm/assemble.ts';
import { AssemblyError } from '../src/asm/assembly-error.ts';
import { disassemble } from '../src/asm/disassemble.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The hex of some code. */
function code(text: string, bits: 16 | 32 | 64 = 64, origin = 0): string {
  return hex(assemble(text, { bits, origin }).bytes);
}

/** Every mistake as `line:column message`. */
function mistakes(text: string, bits: 16 | 32 | 64 = 64): string[] {
  try {
    return [`no mistake: ${code(text, bits)}`];
  } catch (e) {
    if (!(e instanceof AssemblyError)) throw e;
    return e.diagnostics.map((d) => `${d.line}:${d.column} ${d.message}`);
  }
}

const PROGRAM = `
.intel_syntax noprefix
.equ SIZE, 0x40
BASE = SIZE * 4 + (1 << 12)
.code16
start: cli
  xor ax, ax
  mov ds, ax
  lgdt [gdtr]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  data32 ljmp 8, protected
  .align 4, 0
gdtr: .word gdtr - gdt - 1
  .long gdt
gdt: .quad 0, 0x00cf9b000000ffff
.code32
protected: mov ax, 0x10
  mov ds, ax
  mov esp, BASE
1: dec ecx
  jnz 1b
  jmp 1f
  .skip 200, 0xcc
1: lock add dword ptr [eax + ecx*4 + SIZE], 1
  rep movsb
  jz far_away
  push 5
  push dword ptr [ebx]
  call start
.code64
longmode: lea rsi, [rip + text]
  mov rax, qword ptr fs:[0x28]
  mov rax, 0x123456789abcdef0
  mov r8d, dword ptr [r9 + r10*8 - 8]
  movzx eax, byte ptr [rsi]
  out dx, al
  in eax, dx
  mov cr3, rax
  wrmsr; swapgs
  sysretq
  iretq
  jne longmode
  .fill 3, 2, 0x1234
text: .asciz "a;b#c\\n"
  .p2align 3, 0
  .byte 1, 'A', '\\n', -1
  .long text - .
  .quad -1
far_away: hlt
`;

it('a program through three modes with labels, expressions and data -> bytes: those of GNU as and ld at 0x7c00', () => {
  const { bytes, symbols } = assemble(PROGRAM, { origin: 0x7c00 });
  // as --64, ld -Ttext=0x7c00 (binutils 2.40)
  expect(hex(bytes)).toBe(
    'fa31c08ed80f01161c7c0f20c00c010f22c066ea327c000008000000f9ff227c00000000000000000000ffff0000009bcf00' +
      '66b810008ed8bc001100004975fde9c8000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc' +
      'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc' +
      'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc' +
      'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc' +
      'ccccccccccccccccccccccccccccccccccccccf08344884001f3a474596a05ff33e8e0feffff488d353200000064488b0425' +
      '2800000048b8f0debc9a78563412478b44d1f80fb606eeed0f22d80f300f01f8480f0748cf75cd341234123412613b622363' +
      '0a0001410afff5fffffffffffffffffffffff4',
  );
  expect(symbols).toMatchObject({ SIZE: 0x40n, BASE: 0x1100n, start: 0x7c00n, gdtr: 0x7c1cn });
});

describe('branch relaxation', () => {
  it.each([
    [127, 'eb7f'],
    [128, 'e980000000'],
  ])('a jump over %i bytes -> bytes: %s', (gap, bytes) => {
    expect(code(`jmp x; .skip ${gap}; x:`).slice(0, bytes.length)).toBe(bytes);
  });

  it('a jump that is short only while another is -> both grow', () => {
    // 0: jmp b (over jmp a and 123 bytes); growing the second pushes b out of reach of the first
    const text = 'a: .skip 2; jmp b; jmp c; .skip 123; b: .skip 3; c:';
    expect(code(text)).toBe(`0000eb7deb7e${'00'.repeat(126)}`);
    const both = 'jmp b; jmp c; .skip 124; b: .skip 5; c:';
    expect(code(both).slice(0, 20)).toBe('e981000000e981000000');
  });

  it('the size of a gap that depends on a jump that grows -> the layout settles', () => {
    const { bytes, symbols } = assemble(
      'start: jmp end; .fill 510 - (. - start), 1, 0; .word 0xaa55; end: hlt',
    );
    expect(bytes.length).toBe(513);
    expect(hex(bytes.subarray(510))).toBe('55aaf4');
    expect(symbols.end).toBe(512n);
  });

  it('an immediate that is known behind the instruction -> the shortest form that holds it', () => {
    expect(code('add eax, n; n = 5')).toBe('83c005');
    expect(code('add eax, n; n = 500')).toBe('05f4010000');
  });
});

it.each([
  ['mov eax, [table]', 64, '8b042500000000'.replace('00000000', '07000000')],
  ['mov eax, [rel table]', 64, '8b0500000000'],
  ['mov eax, [rip + table]', 64, '8b0500000000'],
  ['mov eax, [rip + 8]', 64, '8b0508000000'],
  ['mov eax, table', 64, 'b805000000'],
  ['mov eax, offset table', 64, 'b805000000'],
  ['mov eax, dword ptr table', 64, '8b042507000000'],
] as const)('%s -> bytes: memory in brackets, a number without them', (text, bits, bytes) => {
  expect(code(`${text}; table:`, bits)).toBe(bytes);
});

it('an address beyond 2 GiB -> relative to RIP, where "abs" does not ask for another', () => {
  const origin = 0xffff_8000_0000_0000n;
  const { bytes } = assemble('mov eax, [x]; x:', { origin });
  expect(hex(bytes)).toBe('8b0500000000');
  expect(() => assemble('mov ecx, [abs x]; x:', { origin })).toThrow(/out of reach/);
});

it.each([
  ['lock xadd [rbx], eax', 64, 'f00fc103'],
  ['rep stosq', 64, 'f348ab'],
  ['repne scasb', 64, 'f2ae'],
  ['fs lodsb', 64, '64ac'],
  ['addr32 movsb', 64, '67a4'],
  ['data16 push 5', 64, '666a05'],
  ['jmp dword 8:0x100000', 16, '66ea000010000800'],
  ['jmp 8:0x1000', 16, 'ea00100800'],
  ['call far [ebx]', 32, 'ff1b'],
  ['call [ebx]', 32, 'ff13'],
  ['mov eax, fs:[0]', 32, '64a100000000'],
  ['mov byte ptr es:[di + 2], 5', 16, '26c6450205'],
  ['mov dword [esp + ebp*2 - 129], 0x10', 32, 'c7846c7fffffff10000000'],
  ['vmrun rax', 64, '0f01d8'],
  ['vmload eax', 64, '670f01da'],
  ['jz $', 64, '74fe'],
  ['pushf; iret; iretq; iretw', 64, '9ccf48cf66cf'],
  ['aam; aad 16', 32, 'd40ad510'],
  ['imul ecx, 3', 32, '6bc903'],
  ['test [rax], ecx; xchg ecx, [rax]', 64, '85088708'],
  ['fadd st(3); faddp; fld tbyte ptr [rax]', 64, 'd8c3dec1db28'],
  ['mov cr8, rax; mov rax, dr7', 64, '440f22c00f21f8'],
  ['1: loop 1b; jecxz 1f; 1:', 32, 'e2fee300'],
  ["mov al, 12h; mov ah, 0b101; mov bl, 'z'", 32, 'b012b405b37a'],
] as const)('%s (%i bits) -> %s', (text, bits, bytes) => {
  expect(code(text, bits)).toBe(bytes);
});

it('a template -> 64, 32 or 16 bits, numbers and text put in, assembled anew where it is loaded', () => {
  const port = 0xf4n;
  expect(hex(asm`mov eax, ${5}; out ${port}, al; hlt`.bytes)).toBe('b805000000e6f4f4');
  expect(hex(asm32`push ${'ebx'}`.bytes)).toBe('53');
  expect(hex(asm16`push eax`.bytes)).toBe('6650');
  const code = asm`here: mov rax, offset here`;
  expect(code.at(0x1000).symbols).toEqual({ here: 0x1000n });
  expect(hex(code.at(0x1000).bytes)).toBe('48c7c000100000');
  expect(hex(asm`mov eax, far_off`.at(0, { far_off: 7 }).bytes)).toBe('b807000000');
});

it.each([
  ['mvo eax, 1', '1:1 unknown instruction "mvo"; did you mean mov?'],
  ['nop\n  mov eax, bx', '2:12 no form of mov takes these operands; the nearest: '],
  [
    'inc [rax]',
    '1:5 the size of the memory operand is open: put one of byte ptr, word ptr, dword ptr, qword ptr',
  ],
  ['mov al, 256', '1:9 0x100 does not fit into 8 bits'],
  ['add rax, 0x80000000', '1:10 0x80000000 is not a sign-extended number of 32 bits'],
  ['mov eax, [rax + ebx]', '1:17 ebx is not of the size of the other register'],
  ['mov eax, [rax*3]', '1:11 a scale is 1, 2, 4 or 8'],
  ['mov eax, [rax', '1:14 expected "]" or an operator'],
  ['jmp nowhere', '1:5 "nowhere" is not defined'],
  [
    'jmp short x; .skip 200; x:',
    '1:11 the target is 0xca bytes away; jmp reaches -128 to 127 bytes from its end',
  ],
  ['lock add eax, 1', '1:6 lock goes with a read-modify-write of memory'],
  ['rep add eax, 1', '1:5 rep goes with string instructions, not with add'],
  ['mov ah, sil', '1:5 AH, BH, CH and DH do not go with a register that needs REX'],
  ['a: nop; a: nop', '1:9 label "a" is defined twice'],
  ['eax: nop', '1:1 "eax" is a register and cannot be a label'],
  ['.frob 1', '1:1 unknown directive ".frob"'],
  ['.byte 256', '1:7 256 does not fit into 1 byte'],
  ['.byte 1,', '1:9 expected a value'],
  ['.org 5; .org 2', '1:14 .org goes back from 0x5 to 0x2'],
  ['.align 3', '1:8 an alignment is a power of two up to 65536'],
  ['.ascii x', '1:8 expected a string in double quotes'],
  ['x = 1 / 0', '1:7 division by zero'],
  ['lock', '1:1 the prefix lock stands before an instruction'],
  ['mov', '1:1 mov takes 2 operands, not 0'],
  ['mov %eax, %ebx', '1:5 registers are written without "%"'],
  ['a: .skip 1 - (b - a); b:', '1:1 the layout never settles'],
])('%s -> mistake: %s', (text, message) => {
  expect(mistakes(text)[0]).toContain(message);
});

it('registers and instructions of another mode -> mistakes that name the mode', () => {
  expect(mistakes('mov r8d, 1', 32)).toEqual(['1:5 r8d exists in 64-bit code only, and this is 32-bit code']);
  expect(mistakes('pushad', 64)).toEqual(['1:1 pushad does not exist in 64-bit code']);
});

it('several mistakes -> one error with every line, the first shown in place', () => {
  const text = 'nop\n  mov eax, [rbx\n  jmp away';
  expect(mistakes(text)).toEqual(['2:16 expected "]" or an operator', '3:7 "away" is not defined']);
  expect(() => assemble(text)).toThrow(/^line 2, column 16: .*\n {2}.*\n {17}\^/);
});

describe('disassembly', () => {
  it('code of a program -> its text, targets with the names of symbols', () => {
    const { bytes, symbols } = assemble('f: call g; lea rax, [rip + g]; ret; g: mov eax, [rbx+8]; hlt', {
      origin: 0x1000,
    });
    const all = disassemble(bytes, { ip: 0x1000, symbols });
    expect(all.map((i) => i.text)).toEqual([
      'call 0x100d # <g>',
      'lea rax, [rip+1] # 0x100d <g>',
      'ret',
      'mov eax, dword ptr [rbx+8]',
      'hlt',
    ]);
    expect(all.map((i) => i.pc)).toEqual([0x1000n, 0x1005n, 0x100cn, 0x100dn, 0x1010n]);
    expect(disassemble(bytes, { ip: 0x1000, count: 1 })).toHaveLength(1);
  });

  it('bytes that are no instruction, and one cut off -> .byte, which assembles to them', () => {
    const all = disassemble(Uint8Array.of(0x06, 0xe8, 0x01), { bits: 64 });
    expect(all.map((i) => i.text)).toEqual(['.byte 0x06', '.byte 0xe8', '.byte 0x01']);
    expect(code(all.map((i) => i.text).join('\n'))).toBe('06e801');
  });

  it('far pointers, string instructions and widths of the mode -> what people write', () => {
    const text = (bits: 16 | 32 | 64, ...bytes: number[]): string | undefined =>
      disassemble(Uint8Array.from(bytes), { bits })[0]?.text;
    expect(text(16, 0xea, 0, 0x10, 8, 0)).toBe('jmp 0x8:0x1000');
    expect(text(64, 0xf3, 0xab)).toBe('rep stosd');
    expect(text(64, 0x67, 0xa4)).toBe('movsb byte ptr [edi], byte ptr [esi]');
    expect(text(64, 0x66, 0xcf)).toBe('iretw');
    expect(text(64, 0x0f, 0x01, 0x10)).toBe('lgdt [rax]');
  });
});
