/** The PC board with interrupt controllers in the kernel: COM1 interrupts the guest, which sleeps in between. */
import { asm16, x86 } from '@faultyard/arch-x86';
import { createVm, type Vm } from '@faultyard/core';
import { afterEach, expect, test } from 'vitest';
import { bootFlat, type PcBoard, pcBoard, pcMemory } from '../src/index.ts';

const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/** Echoes what comes in, in capitals, by interrupts alone; ends at a full stop. */
const ECHO = asm16`
  cli
  xor ax, ax
  mov ds, ax
  mov ss, ax
  mov sp, 0x7000
  // IRQ 4 is vector 24h
  mov word ptr [0x90], handler
  mov word ptr [0x92], 0
  mov al, 0x11
  out 0x20, al
  mov al, 0x20
  out 0x21, al
  mov al, 4
  out 0x21, al
  mov al, 1
  out 0x21, al
  mov al, 0xef
  out 0x21, al
  mov dx, 0x3f9
  mov al, 1
  out dx, al
  mov dx, 0x3fc
  mov al, 0x0b
  out dx, al
  sti
1: hlt
  jmp 1b
handler:
  mov dx, 0x3f8
  in al, dx
  cmp al, 0x2e
  je over
  sub al, 0x20
  out dx, al
  mov al, 0x20
  out 0x20, al
  iret
over:
  mov dx, 0xf4
  xor eax, eax
  out dx, al
  hlt
`;

function pc(): PcBoard {
  const vm = createVm({ arch: x86({ irqchip: 'kernel' }), memslots: pcMemory(1 << 20) }) as unknown as Vm;
  open.push(vm);
  return pcBoard(vm);
}

test('characters for a guest in HLT -> IRQ 4 wakes it; between them it sleeps', () => {
  const { vm, uart, handler } = pc();
  bootFlat(vm, ECHO.at(0x7c00).bytes);
  const run = (): string => vm.drive(handler).why;
  run();
  for (const c of 'hello') {
    uart.send(c);
    run();
  }
  expect(uart.text).toBe('HELLO');
  uart.send('.');
  expect(run()).toBe('guest exit 1');
});
