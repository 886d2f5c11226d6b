/** Virtual time: what is due, and in which order it fires. */
import { expect, test } from 'vitest';
import { Clock } from '../src/index.ts';

test('deadlines set, replaced, taken away -> due is the earliest left', () => {
  const c = new Clock();
  const seen: number[] = [];
  const arm = (key: string, when: number): void => c.arm({ key, when, fire: () => {} });
  const due = (): void => void seen.push(c.due);
  due();
  arm('a', 50);
  arm('b', 30);
  due();
  arm('b', 70);
  due();
  c.disarm('a');
  c.disarm('nobody');
  due();
  c.advanceTo(69);
  due();
  c.advanceTo(70);
  due();
  arm('c', 90);
  c.reset(10);
  due();
  expect(seen).toEqual([Infinity, 30, 50, 70, 70, Infinity, Infinity]);
  expect(c.now).toBe(10);
});

test('time moves over several deadlines -> fired by time, then key, each at its time; never back', () => {
  const c = new Clock();
  const log: string[] = [];
  const arm = (key: string, when: number, more?: () => void): void =>
    c.arm({
      key,
      when,
      fire: () => {
        log.push(`${key} ${c.now}`);
        more?.();
      },
    });
  arm('late', 300);
  arm('x#1', 100);
  arm('x#0', 100, () => arm('soon', 150));
  arm('past', 40);
  c.advanceTo(50);
  arm('overdue', 20);
  c.advanceTo(200);
  c.advanceTo(120);
  expect(log).toEqual(['past 40', 'overdue 50', 'x#0 100', 'x#1 100', 'soon 150']);
  expect([c.now, c.due]).toEqual([200, 300]);
});
