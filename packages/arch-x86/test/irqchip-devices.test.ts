/** 8259, I/O APIC, 8254 and routes one by one, as KVM keeps them. */
import { Clock } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { type ApicMessage, Delivery, type Destination } from '../src/irqchip/apic-registers.ts';
import { IoApic } from '../src/irqchip/io-apic.ts';
import { Pic } from '../src/irqchip/pic.ts';
import { Pit } from '../src/irqchip/pit.ts';
import { badRoutes, defaultRoutes, readMsi } from '../src/irqchip/routing.ts';

function pic(): { pic: Pic; acks: number[]; masks: [number, boolean][] } {
  const acks: number[] = [];
  const masks: [number, boolean][] = [];
  const p = new Pic({
    changed: () => {},
    acknowledged: (line) => acks.push(line),
    maskChanged: (line, masked) => masks.push([line, masked]),
    listened: () => true,
  });
  for (const [port, base, cascade] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ] as const) {
    p.write(port, 0x11);
    p.write(port + 1, base);
    p.write(port + 1, cascade);
    p.write(port + 1, 1);
    p.write(port + 1, 0);
  }
  return { pic: p, acks, masks };
}
const pulse = (p: Pic, line: number): number => {
  const news = p.setLine(line, true);
  p.setLine(line, false);
  return news;
};

describe('8259', () => {
  it('lines 5, 1, 12 -> vectors in order of priority, the second one through line 2', () => {
    const { pic: p } = pic();
    for (const line of [5, 1, 12]) pulse(p, line);
    expect(p.acknowledge()).toBe(0x21);
    expect(p.output).toBe(false);
    p.write(0x20, 0x20);
    expect(p.acknowledge()).toBe(0x2c);
    p.write(0xa0, 0x20);
    p.write(0x20, 0x20);
    expect(p.acknowledge()).toBe(0x25);
  });
  it('a line twice, a masked line -> merged, ignored', () => {
    const { pic: p } = pic();
    expect([pulse(p, 3), pulse(p, 3)]).toEqual([1, 0]);
    p.write(0x21, 0x10);
    expect(pulse(p, 4)).toBe(-1);
  });
  it('an acknowledge without a request -> line 7 of the one that was asked', () => {
    const { pic: p } = pic();
    expect(p.acknowledge()).toBe(0x27);
    pulse(p, 12);
    p.write(0xa1, 0x10);
    expect(p.acknowledge()).toBe(0x2f);
  });
  it('automatic EOI, with rotation -> nothing in service, the line is last', () => {
    const { pic: p, acks } = pic();
    p.write(0x20, 0x11);
    for (const v of [0x20, 4, 3, 0]) p.write(0x21, v);
    p.write(0x20, 0x80);
    pulse(p, 1);
    expect(p.acknowledge()).toBe(0x21);
    expect(acks).toContain(1);
    for (const line of [1, 2 + 1]) pulse(p, line);
    expect(p.acknowledge()).toBe(0x23);
  });
  it('specific EOI and rotation -> priorities move', () => {
    const { pic: p } = pic();
    pulse(p, 4);
    p.acknowledge();
    p.write(0x20, 0xe4);
    for (const line of [4, 5]) pulse(p, line);
    expect(p.acknowledge()).toBe(0x25);
  });
  it('a level-triggered line -> asks until it is let go', () => {
    const { pic: p } = pic();
    p.write(0x4d0, 0xff);
    expect(p.read(0x4d0)).toBe(0xf8);
    p.setLine(5, true);
    p.acknowledge();
    p.write(0x20, 0x20);
    expect(p.acknowledge()).toBe(0x25);
    p.setLine(5, false);
    p.write(0x20, 0x20);
    expect(p.output).toBe(false);
  });
  it('IRR, ISR, IMR, poll -> read', () => {
    const { pic: p } = pic();
    pulse(p, 6);
    expect(p.read(0x20)).toBe(0x40);
    p.acknowledge();
    p.write(0x20, 0x0b);
    expect(p.read(0x20)).toBe(0x40);
    p.write(0x20, 0x20);
    pulse(p, 3);
    p.write(0x20, 0x0c);
    expect([p.read(0x20), p.output]).toEqual([3, false]);
    p.write(0x21, 0x81);
    expect(p.read(0x21)).toBe(0x81);
  });
  it('OCW1, ICW1 -> masks told line by line; waiting edges dropped, and acknowledged', () => {
    const { pic: p, acks, masks } = pic();
    masks.length = 0;
    p.write(0xa1, 0x82);
    expect(masks).toEqual([
      [9, true],
      [15, true],
    ]);
    pulse(p, 3);
    acks.length = 0;
    p.write(0x20, 0x11);
    expect([acks, p.output]).toEqual([[3], false]);
  });
  it('RESET -> nothing waits, nothing is set up', () => {
    const { pic: p } = pic();
    pulse(p, 3);
    p.reset();
    expect([p.output, p.acknowledge(), p.read(0x21)]).toEqual([false, 7, 0]);
  });
  it('state to another pair -> it goes on there', () => {
    const { pic: a } = pic();
    pulse(a, 9);
    const { pic: b } = pic();
    b.setImage(0, a.image(0));
    b.setImage(1, a.image(1));
    expect(b.acknowledge()).toBe(0x29);
  });
});

function ioApic(takes = 1): { io: IoApic; sent: ApicMessage[]; to: Destination[]; acks: number[] } {
  const sent: ApicMessage[] = [];
  const to: Destination[] = [];
  const acks: number[] = [];
  const io = new IoApic({
    send: (m, d) => {
      sent.push(m);
      to.push(d);
      return takes;
    },
    acknowledged: (pin) => acks.push(pin),
    maskChanged: () => {},
  });
  return { io, sent, to, acks };
}
const entry = (io: IoApic, pin: number, low: number, high = 0): void => {
  for (const [n, v] of [
    [0x11, high],
    [0x10, low],
  ] as const) {
    io.write(0, n + 2 * pin);
    io.write(0x10, v);
  }
};
const read = (io: IoApic, n: number): number => {
  io.write(0, n);
  return io.read(0x10) >>> 0;
};

describe('I/O APIC', () => {
  it('id, version, arbitration, entries that are not there -> as KVM has them', () => {
    const { io } = ioApic();
    io.write(0, 0);
    io.write(0x10, 0xff00_0000 | 0);
    expect([0, 1, 2, 0x10, 0x11, 0x40].map((n) => read(io, n))).toEqual([
      0x0f00_0000, 0x17_0011, 0x0f00_0000, 0x1_0000, 0, 0xffff_ffff,
    ]);
  });
  it('an edge -> one message; again while high -> merged; masked -> ignored', () => {
    const { io, sent, to } = ioApic();
    entry(io, 4, 0x941, 0x0300_0000);
    expect([io.setPin(4, true), io.setPin(4, true), io.setPin(4, false), io.setPin(4, true)]).toEqual([
      1, 0, 1, 1,
    ]);
    expect(sent).toHaveLength(2);
    expect(sent[0]).toEqual({ vector: 0x41, mode: Delivery.Lowest, level: false, assert: true });
    expect(to[0]).toEqual({ id: 3, logical: true, shorthand: 0 });
    expect(io.setPin(5, true)).toBe(-1);
  });
  it('a level -> remote IRR until EOI, then again while high', () => {
    const { io, sent, acks } = ioApic();
    entry(io, 9, 0x8051);
    io.setPin(9, true);
    expect(read(io, 0x22)).toBe(0xc051);
    expect(io.setPin(9, true)).toBe(-1);
    io.ended(0x50, true);
    expect(sent).toHaveLength(1);
    io.ended(0x51, true);
    expect([sent.length, acks]).toEqual([2, [9]]);
    io.setPin(9, false);
    io.ended(0x51, true);
    expect([sent.length, read(io, 0x22)]).toEqual([2, 0x8051]);
  });
  it('remote IRR and delivery status written -> kept as they are; made edge-triggered -> forgotten', () => {
    const { io } = ioApic();
    entry(io, 9, 0x8051);
    io.setPin(9, true);
    entry(io, 9, 0x9051);
    expect(read(io, 0x22)).toBe(0xc051);
    entry(io, 9, 0x51);
    expect(read(io, 0x22)).toBe(0x51);
  });
  it('a level that waits, unmasked -> sent', () => {
    const { io, sent } = ioApic();
    entry(io, 9, 0x1_8051);
    io.setPin(9, true);
    expect(sent).toHaveLength(0);
    entry(io, 9, 0x8051);
    expect(sent).toHaveLength(1);
  });
  it('state to another one -> what was pending is offered there; edges that were delivered are not', () => {
    const a = ioApic();
    entry(a.io, 3, 0x8043);
    entry(a.io, 4, 0x44);
    a.io.setPin(3, true);
    a.io.setPin(4, true);
    const b = ioApic();
    b.io.setImage(a.io.image());
    expect(b.sent).toEqual([]);
    b.io.ended(0x43, true);
    expect(b.sent.map((m) => m.vector)).toEqual([0x43]);
  });
});

describe('8254', () => {
  const make = (): { pit: Pit; clock: Clock; ticks: number[] } => {
    const clock = new Clock();
    const ticks: number[] = [];
    const pit = new Pit(
      clock,
      () => clock.now,
      () => ticks.push(clock.now),
    );
    return { pit, clock, ticks };
  };
  const load = (pit: Pit, command: number, count: number): void => {
    pit.write(0x43, command);
    pit.write(0x40 + (command >>> 6), count & 0xff);
    pit.write(0x40 + (command >>> 6), count >>> 8);
  };
  const latched = (pit: Pit, n: number): number => {
    pit.write(0x43, n << 6);
    return pit.read(0x40 + n) | (pit.read(0x40 + n) << 8);
  };
  it('mode 0 -> one tick after the count, at 1.193182 MHz', () => {
    const { pit, clock, ticks } = make();
    load(pit, 0x30, 1193);
    clock.advanceTo(3e6);
    expect(ticks).toEqual([999_847]);
  });
  it('mode 2 -> ticks again when acknowledged; missed ones are injected one after another', () => {
    const { pit, clock, ticks } = make();
    load(pit, 0x34, 1193);
    clock.advanceTo(5.5e6);
    expect(ticks).toHaveLength(1);
    expect(clock.due).toBe(Infinity);
    for (let n = 0; n < 6; n++) pit.acknowledge();
    expect(ticks).toHaveLength(5);
    clock.advanceTo(6.5e6);
    expect(ticks).toHaveLength(6);
  });
  it('missed ticks, then unmasked -> forgotten', () => {
    const { pit, clock, ticks } = make();
    load(pit, 0x34, 1193);
    clock.advanceTo(5.5e6);
    pit.forget();
    pit.acknowledge();
    expect(ticks).toHaveLength(1);
  });
  it('counts of modes 0, 2 and 3 -> down, reloaded, down by two', () => {
    const { pit, clock } = make();
    load(pit, 0xb0, 1000);
    load(pit, 0x74, 1000);
    clock.advanceTo(Math.ceil((1500 * 1e9) / 1_193_182));
    expect([latched(pit, 2), latched(pit, 1)]).toEqual([0x1_0000 - 500, 500]);
    load(pit, 0xb6, 1000);
    clock.advanceTo(clock.now + Math.ceil((100 * 1e9) / 1_193_182));
    expect(latched(pit, 2)).toBe(800);
  });
  it('read back -> status, then the latched count', () => {
    const { pit, clock } = make();
    load(pit, 0xb0, 0x1234);
    pit.write(0x43, 0xc8);
    expect([pit.read(0x42), pit.read(0x42), pit.read(0x42)]).toEqual([0x30, 0x34, 0x12]);
    clock.advanceTo(1e9);
    pit.write(0x43, 0xe8);
    expect(pit.read(0x42)).toBe(0xb0);
  });
  it('one byte at a time -> low or high of the count', () => {
    const { pit } = make();
    pit.write(0x43, 0xa0);
    pit.write(0x42, 0x12);
    expect(pit.read(0x42)).toBe(0x12);
    expect(latched(pit, 2) & 0xff).toBe(0x12);
  });
  it('port 61h -> gate, speaker, output of channel 2', () => {
    const { pit, clock } = make();
    load(pit, 0xb2, 100);
    pit.write(0x61, 3);
    expect(pit.read(0x61)).toBe(0x23);
    clock.advanceTo(1e6);
    expect(pit.read(0x61) & 0x2f).toBe(3);
  });
  it('RESET -> no tick comes', () => {
    const { pit, clock, ticks } = make();
    load(pit, 0x34, 5000);
    pit.reset();
    clock.advanceTo(1e9);
    expect([ticks, clock.due]).toEqual([[], Infinity]);
  });
  it('state to another one -> counts loaded anew; the bytes stay', () => {
    const a = make();
    load(a.pit, 0x34, 5000);
    a.pit.write(0x61, 3);
    const b = make();
    b.pit.setImage(a.pit.image());
    expect(b.pit.image()).toEqual(a.pit.image());
    b.clock.advanceTo(1e8);
    expect(b.ticks).toHaveLength(1);
  });
});

describe('routes and MSIs', () => {
  it('twice to a chip, a pin too many, an MSI beside a pin -> refused; the default -> taken', () => {
    expect(badRoutes(defaultRoutes())).toBeUndefined();
    expect(badRoutes([{ gsi: 0, chip: 2, pin: 24 }])).toMatch(/no pin/);
    expect(badRoutes([{ gsi: 0, chip: 0, pin: 8 }])).toMatch(/no pin/);
    const one = { gsi: 3, chip: 2, pin: 3 };
    expect(badRoutes([one, { ...one, pin: 4 }])).toMatch(/twice/);
    expect(badRoutes([one, { gsi: 3, address: 0n, data: 0 }])).toMatch(/MSI/);
  });
  it('address and data -> destination, vector, mode, trigger, hint', () => {
    expect(readMsi(0xfee0_500cn, 0x8151)).toEqual({
      m: { vector: 0x51, mode: 1, level: true, assert: true, hint: true },
      to: { id: 5, logical: true, shorthand: 0 },
    });
  });
});
