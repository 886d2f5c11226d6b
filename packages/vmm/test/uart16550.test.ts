/** The 16550 (PC16550D data sheet) by itself: polled, interrupts by priority, FIFOs, loopback, snapshot. */
import { expect, test } from 'vitest';
import { Uart16550, Uart16550Register } from '../src/index.ts';

const R = Uart16550Register;

/** A UART whose interrupt line is watched; OUT2 lets interrupts through. */
function make(): { u: Uart16550; levels: boolean[] } {
  const levels: boolean[] = [];
  const u = new Uart16550(0x3f8, { irq: (level) => levels.push(level) });
  u.store(R.MCR, 1, 8);
  return { u, levels };
}

test('reset -> empty transmitter, no interrupt, a terminal on the line', () => {
  const u = new Uart16550(0x3f8);
  expect([R.IER, R.IIR, R.LCR, R.MCR, R.LSR, R.MSR].map((r) => u.load(r))).toEqual([0, 1, 0, 0, 0x60, 0xb0]);
});

test('a character sent -> text; THRE interrupts until IIR is read', () => {
  const { u, levels } = make();
  u.store(R.IER, 1, 2);
  expect(u.load(R.IIR)).toBe(2);
  u.store(R.DATA, 1, 0x41);
  expect(levels).toEqual([true, false, true]);
  expect([u.load(R.IIR), u.load(R.IIR), u.text]).toEqual([2, 1, 'A']);
  expect(levels.at(-1)).toBe(false);
});

test('OUT2 low -> the interrupt does not reach the bus', () => {
  const { u, levels } = make();
  u.store(R.MCR, 1, 0);
  u.store(R.IER, 1, 2);
  expect([u.load(R.IIR), levels]).toEqual([2, []]);
});

test('two characters for a guest without FIFO -> the second is an overrun, told once', () => {
  const { u } = make();
  u.send('xy');
  expect([u.load(R.LSR), u.load(R.LSR)]).toEqual([0x63, 0x61]);
  expect([u.load(R.DATA), u.load(R.LSR)]).toEqual([0x78, 0x60]);
});

test('FIFO with level 4 -> timeout below it, data at it; line status comes first', () => {
  const { u } = make();
  u.store(R.IIR, 1, 0x41);
  u.store(R.IER, 1, 5);
  u.send('abc');
  expect(u.load(R.IIR)).toBe(0xcc);
  u.send('d');
  expect(u.load(R.IIR)).toBe(0xc4);
  u.send('0123456789ABC');
  expect(u.load(R.IIR)).toBe(0xc6);
  u.load(R.LSR);
  expect(u.load(R.IIR)).toBe(0xc4);
});

test('clearing or switching the FIFO -> what was in it is gone', () => {
  const { u } = make();
  u.store(R.IIR, 1, 1);
  u.send('abc');
  u.store(R.IIR, 1, 3);
  expect(u.load(R.LSR)).toBe(0x60);
});

test('DLAB -> the divisor instead of data and IER', () => {
  const { u } = make();
  u.store(R.LCR, 1, 0x83);
  u.store(R.DATA, 1, 0x34);
  u.store(R.IER, 1, 0x12);
  expect([u.load(R.DATA), u.load(R.IER), u.text]).toEqual([0x34, 0x12, '']);
  u.store(R.LCR, 1, 3);
  expect([u.load(R.LCR), u.load(R.IER)]).toEqual([3, 0]);
});

test('loopback -> what is sent comes back, outputs are the modem inputs, no interrupt leaves', () => {
  const { u, levels } = make();
  u.store(R.MCR, 1, 0x1a);
  // as Linux looks for a UART: RTS and OUT2 come back as CTS and DCD
  expect(u.load(R.MSR) & 0xf0).toBe(0x90);
  u.store(R.IER, 1, 1);
  u.store(R.DATA, 1, 0x5a);
  expect([u.load(R.IIR), u.load(R.DATA), u.text, levels]).toEqual([4, 0x5a, '', []]);
});

test('modem lines that change -> delta bits and an interrupt until MSR is read', () => {
  const { u, levels } = make();
  u.store(R.IER, 1, 8);
  u.store(R.MCR, 1, 0x18);
  u.store(R.MCR, 1, 8);
  expect(levels).toEqual([true]);
  expect(u.load(R.IIR)).toBe(0);
  // DSR and CTS fell and rose; DCD stayed; no ring
  expect([u.load(R.MSR), u.load(R.MSR)]).toEqual([0xb3, 0xb0]);
  expect(levels).toEqual([true, false]);
});

test('the cell -> everything again in another UART', () => {
  const { u } = make();
  u.store(R.LCR, 1, 0x1b);
  u.store(R.SCR, 1, 0x77);
  u.store(R.IER, 1, 3);
  u.send('q');
  const { u: other, levels } = make();
  other.cell.write(structuredClone(u.cell.read()));
  expect([R.LCR, R.SCR, R.IER, R.DATA].map((r) => other.load(r))).toEqual([0x1b, 0x77, 3, 0x71]);
  expect(levels[0]).toBe(true);
});
