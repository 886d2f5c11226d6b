import { createVm, type Exit, type ExitKind, stop, type Vm } from '@faultyard/core';
import { toy, toyAddi, toyHalt, toyLoad, toyStore } from '@faultyard/testkit';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type Board,
  compose,
  DebugPortRegister,
  endings,
  failures,
  MmioBus,
  on,
  Pl011,
  Pl011Register,
  total,
  VIRT,
  virtBoard,
} from '../src/index.ts';

const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});
function make(code: number[], board: Parameters<typeof virtBoard>[1] = {}): Board {
  const vm = createVm({
    arch: toy(),
    memslots: [{ gpa: BigInt(VIRT.ram), size: 0x10000n }],
  }) as unknown as Vm;
  open.push(vm);
  vm.write(VIRT.ram, Uint8Array.from(code));
  for (const v of vm.vcpus) v.pc = BigInt(VIRT.ram);
  return virtBoard(vm, board);
}
const put = (gpa: number, value: number, size: 1 | 2 | 4 | 8 = 4): number[] => [
  ...toyAddi(1, 0, value),
  ...toyStore(size, 1, 0, gpa),
];
const uart = (r: number): number => VIRT.uart + r;
const port = (r: number): number => VIRT.debugPort + r;

describe('the board', () => {
  test('a guest that prints -> text of the UART', () => {
    const b = make([
      ...[...'hi!'].flatMap((c) => put(uart(Pl011Register.DR), c.charCodeAt(0), 1)),
      ...toyHalt(),
    ]);
    expect(b.vm.drive(b.handler)).toMatchObject({ why: 'hlt', exits: 4 });
    expect(b.uart.text).toBe('hi!');
  });
  test('a guest that records and exits -> records, and why the drive ended', () => {
    const R = DebugPortRegister;
    const b = make([
      ...put(port(R.word), 0x11),
      ...put(port(R.word), 0x22, 8),
      ...put(port(R.end), 5),
      ...put(port(R.text), 0x41),
      ...put(port(R.end), 6),
      ...put(port(R.exit), 3),
    ]);
    expect(b.vm.drive(b.handler).why).toBe('guest exit 3');
    expect(b.debugPort.records).toEqual([
      { tag: 5n, words: [0x11n, 0x22n] },
      { tag: 6n, words: [] },
    ]);
    expect(b.debugPort.text).toBe('A');
  });
  test('a load outside every device -> ones, and an event in the trace; zero or nobody if so chosen', () => {
    const code = [...toyLoad(4, 2, 0, 0x0b00_0000), ...toyHalt()];
    const b = make(code);
    b.vm.drive(b.handler);
    expect(b.vm.vcpus[0]?.get('r2')).toBe(0xffff_ffffn);
    expect(b.vm.trace.events().at(-1)).toMatchObject({ name: 'unmapped_read', gpa: 0x0b00_0000n, size: 4 });
    const zero = make(code, { unassigned: 'zero' });
    zero.vm.drive(zero.handler);
    expect(zero.vm.vcpus[0]?.get('r2')).toBe(0n);
    const left = make(code, { unassigned: 'leave' });
    expect(() => left.vm.drive(left.handler)).toThrow(
      /FY_POLICY: handler: nobody answers exit mmio of vcpu 0; compose a policy on\('mmio'/,
    );
  });
  test('a snapshot in the middle -> devices go back with it, and into a fork made the same way', () => {
    const b = make([...put(uart(0), 0x61), ...put(port(0), 7), ...put(uart(0), 0x62), ...toyHalt()]);
    const step = (): Exit => {
      const e = b.vm.run();
      b.handler(e, b.vm);
      return e;
    };
    step();
    step();
    const s = b.vm.snapshot();
    b.vm.drive(b.handler);
    expect(b.uart.text).toBe('ab');
    b.vm.restore(s);
    expect(b.uart.text).toBe('a');
    b.vm.drive(b.handler);
    expect(b.uart.text).toBe('ab');
  });
});

describe('policies', () => {
  const exit = (kind: ExitKind, more: object = {}): Exit => ({ kind, vcpu: 0, ret: 0, ...more }) as Exit;
  const vm = undefined as unknown as Vm;
  test('compose -> the first that answers decides; nobody: undefined', () => {
    const p = compose(
      on('hlt', () => undefined),
      on(['hlt', 'intr'], (e) => stop(`first ${e.kind}`)),
      on('hlt', () => stop('second')),
    );
    expect(p(exit('hlt'), vm)).toEqual(stop('first hlt'));
    expect(p(exit('budget'), vm)).toBeUndefined();
  });
  test.each(['hlt', 'intr', 'budget', 'debug', 'system-event'] as const)('%s -> ends the drive', (kind) => {
    expect(compose(endings, failures)(exit(kind), vm)).toEqual(stop(kind));
  });
  test.each(['memory-fault', 'arm-nisv', 'shutdown', 'internal-error', 'run-error'] as const)(
    '%s -> fatal',
    (kind) => {
      expect(compose(endings, failures)(exit(kind), vm)).toEqual(stop(`fatal: ${kind}`));
    },
  );
  test('a failure with errno -> named', () => {
    expect(total(failures)(exit('run-error', { errno: 'EFAULT' }), vm)).toEqual(
      stop('fatal: run-error EFAULT'),
    );
  });
});

describe('the bus', () => {
  test('overlapping devices -> FY_ADDRESS; taken out, the place is free', () => {
    const bus = new MmioBus(undefined as unknown as Vm);
    const out = bus.add(new Pl011(0x1000));
    expect(() => bus.add(new Pl011(0x1800, { name: 'second' }))).toThrow(
      /FY_ADDRESS: device second at 0x1800 overlaps pl011/,
    );
    out();
    bus.add(new Pl011(0x1800, { name: 'second' }));
    expect(bus.devices.map((d) => d.name)).toEqual(['second']);
  });
});

describe('the UART (DDI 0183)', () => {
  const R = Pl011Register;
  const make = (): { u: Pl011; levels: boolean[] } => {
    const levels: boolean[] = [];
    return { u: new Pl011(0, { irq: (l) => levels.push(l) }), levels };
  };
  const fr = (u: Pl011): Record<string, boolean> => {
    const v = u.load(R.FR);
    return { rxfe: (v & 0x10) !== 0, rxff: (v & 0x40) !== 0, txfe: (v & 0x80) !== 0 };
  };
  test('reset -> CR 0x300, IFLS 0x12, identification of a PL011', () => {
    const { u } = make();
    expect([u.load(R.CR), u.load(R.IFLS), u.load(R.IMSC)]).toEqual([0x300, 0x12, 0]);
    expect([0xfe0, 0xfe4, 0xfe8, 0xfec, 0xff0, 0xff4, 0xff8, 0xffc].map((a) => u.load(a))).toEqual([
      0x11, 0x10, 0x34, 0, 0x0d, 0xf0, 0x05, 0xb1,
    ]);
  });
  test('characters for the guest, FIFO off -> one fits, the next is an overrun', () => {
    const { u } = make();
    u.send('xy');
    expect(fr(u)).toEqual({ rxfe: false, rxff: true, txfe: true });
    expect(u.load(R.RIS) & 0x400).toBe(0x400);
    expect(u.load(R.DR)).toBe(0x78);
    expect(fr(u).rxfe).toBe(true);
  });
  test('FIFO on -> receive interrupt at half, timeout for less; the line follows the mask', () => {
    const { u, levels } = make();
    u.store(R.LCR_H, 4, 0x70n);
    u.store(R.IMSC, 4, 0x10n);
    u.send('1234567');
    expect(u.load(R.RIS) & 0x50).toBe(0x40);
    expect(levels).toEqual([]);
    u.send('8');
    expect(u.load(R.MIS)).toBe(0x10);
    expect(levels).toEqual([true]);
    u.load(R.DR);
    expect(levels).toEqual([true, false]);
  });
  test('a character sent -> transmit interrupt until it is cleared', () => {
    const { u, levels } = make();
    u.store(R.IMSC, 4, 0x20n);
    u.store(R.DR, 1, 0x41n);
    u.store(R.ICR, 4, 0x20n);
    expect([u.text, levels]).toEqual(['A', [true, false]]);
  });
  test('registers -> hold what fits them, and the cell brings them back', () => {
    const { u } = make();
    for (const r of [R.IBRD, R.FBRD, R.LCR_H, R.CR, R.IFLS, R.IMSC, R.DMACR]) u.store(r, 4, 0xffffn);
    const values = [0xffff, 0x3f, 0xff, 0xff87, 0x3f, 0x7ff, 7];
    const read = (x: Pl011): number[] =>
      [R.IBRD, R.FBRD, R.LCR_H, R.CR, R.IFLS, R.IMSC, R.DMACR].map((r) => x.load(r));
    expect(read(u)).toEqual(values);
    u.send('q');
    const { u: other } = make();
    other.cell.write(structuredClone(u.cell.read()));
    expect(read(other)).toEqual(values);
    expect(other.load(R.DR)).toBe(0x71);
  });
});
