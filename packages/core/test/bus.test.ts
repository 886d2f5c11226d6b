/** The in-kernel bus: who is asked, with what offset, after devices come and go. */
import { expect, test } from 'vitest';
import { KernelBus, type KernelDevice } from '../src/index.ts';

/** A device that writes down what it is asked, and answers its number. */
function device(name: string, gpa: number, size: number, log: string[], mine = true): KernelDevice {
  return {
    name,
    gpa,
    size,
    load(at, n, vcpu, out) {
      log.push(`${name} r ${at} ${n} ${vcpu}`);
      out.lo = gpa;
      return mine;
    },
    store(at, n, vcpu, lo, hi) {
      log.push(`${name} w ${at} ${n} ${vcpu} ${lo} ${hi}`);
      return mine;
    },
  };
}
const out = { lo: 0, hi: 0 };

test('two devices in turn, the last bytes, one past them, a gap -> each asked for its own, by offset', () => {
  const log: string[] = [];
  const bus = new KernelBus();
  bus.add(device('a', 0x1000, 0x10, log));
  bus.add(device('b', 0x2_0000_0000, 0x100, log));
  expect(bus.load(0x1008, 4, 3, out)).toBe(true);
  expect(out.lo).toBe(0x1000);
  expect(bus.store(0x2_0000_00f8, 8, 1, -1, 7)).toBe(true);
  expect(bus.load(0x100c, 4, 0, out)).toBe(true);
  expect(bus.load(0x100c, 8, 0, out)).toBe(false);
  expect(bus.store(0xffc, 8, 0, 1, 0)).toBe(false);
  expect(bus.store(0x2_0000_00fc, 8, 0, 1, 0)).toBe(false);
  expect(bus.load(0, 4, 0, out)).toBe(false);
  expect(log).toEqual(['a r 8 4 3', 'b w 248 8 1 -1 7', 'a r 12 4 0']);
});

test('the device asked last is removed, twice -> nobody serves there, the other one still does', () => {
  const log: string[] = [];
  const bus = new KernelBus();
  const remove = bus.add(device('a', 0x1000, 0x10, log));
  bus.add(device('b', 0x2000, 0x10, log));
  expect(bus.load(0x1000, 4, 0, out)).toBe(true);
  remove();
  remove();
  expect(bus.load(0x1000, 4, 0, out)).toBe(false);
  expect(bus.load(0x2000, 4, 0, out)).toBe(true);
  bus.add(device('c', 0x1000, 0x20, log));
  expect(bus.store(0x1010, 4, 0, 5, 0)).toBe(true);
  expect(log).toEqual(['a r 0 4 0', 'b r 0 4 0', 'c w 16 4 0 5 0']);
});

test('a device that says "not mine" -> not served, asked again the next time', () => {
  const log: string[] = [];
  const bus = new KernelBus();
  bus.add(device('a', 0x1000, 0x10, log, false));
  expect(bus.load(0x1000, 4, 0, out)).toBe(false);
  expect(bus.store(0x1000, 4, 0, 1, 0)).toBe(false);
  expect(log.length).toBe(2);
});

test('a device of outside only, asked from inside -> left alone; others served; from outside served, too', () => {
  const log: string[] = [];
  const bus = new KernelBus();
  bus.add(device('a', 0x1000, 0x10, log));
  expect(bus.outside(0x1000, 4)).toBe(false);
  bus.add({ ...device('b', 0x2000, 0x10, log), outside: true });
  expect([bus.outside(0x1000, 4), bus.outside(0x2004, 4), bus.outside(0x200c, 8)]).toEqual([
    false,
    true,
    false,
  ]);
  expect([bus.loadInside(0x2000, 4, 0, out), bus.storeInside(0x2000, 4, 0, 1, 0)]).toEqual([false, false]);
  expect([bus.loadInside(0x1000, 4, 0, out), bus.storeInside(0x1000, 4, 0, 1, 0)]).toEqual([true, true]);
  expect([bus.load(0x2000, 4, 0, out), bus.store(0x2000, 4, 0, 2, 0)]).toEqual([true, true]);
  expect(log).toEqual(['a r 0 4 0', 'a w 0 4 0 1 0', 'b r 0 4 0', 'b w 0 4 0 2 0']);
});
