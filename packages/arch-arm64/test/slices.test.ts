/** What may begin between two instructions of one run, and what a run may cost: the same however a run is cut. */
import { afterEach, describe, expect, test } from 'vitest';
import { closeLabs, HOLE, type Lab, lab, RAM } from './support/lab.ts';

/** PSTATE.SS. */
const SS = 1n << 21n;

afterEach(closeLabs);

describe('software step that is enabled in the middle of a run -> EL1', () => {
  const enable = {
    'PSTATE.D cleared': { code: 'msr daifclr, #8', locked: false, mdscr: 0x2001n },
    'MDSCR_EL1 written': { code: 'msr mdscr_el1, x1', locked: false, mdscr: 0n },
    'OS lock released': { code: 'msr oslar_el1, xzr', locked: true, mdscr: 0x2001n },
  };
  test.each(Object.entries(enable))('%s -> step exception before the next instruction', (_, o) => {
    for (const slice of [1, 100]) {
      const l = lab(`${o.code}\nmov x2, #1\nmov x3, #1`);
      l.cpu.set('oslar_el1', o.locked ? 1n : 0n);
      l.cpu.set('pstate', o.code.includes('daif') ? 0x205n : 5n);
      l.cpu.set('x1', 0x2001n);
      l.cpu.set('mdscr_el1', o.mdscr);
      for (let left = 100; left > 0; left -= slice) l.cpu.run(slice);
      expect(l.vector).toBe(0x200);
      expect(l.cpu.get('esr_el1') >> 26n).toBe(0x33n);
      expect(l.cpu.get('elr_el1')).toBe(RAM + 4n);
      expect(l.cpu.get('x2')).toBe(0n);
    }
  });
  test('PSTATE.D set while stepping -> the next instruction is not stepped', () => {
    const l = lab('msr daifset, #8\nmov x2, #1\nwfi');
    l.cpu.set('oslar_el1', 0n);
    l.cpu.set('mdscr_el1', 0x2001n);
    l.cpu.set('pstate', 0x20_0005n);
    expect(l.run().kind).toBe('intr');
    expect(l.cpu.get('x2')).toBe(1n);
    expect(l.vector).toBeUndefined();
  });
});

describe('a stepped instruction that does not finish -> EL1', () => {
  const start = (code: string): Lab => {
    const l = lab(code, { memory: 16n << 20n });
    l.cpu.set('oslar_el1', 0n);
    l.cpu.set('mdscr_el1', 0x2001n);
    l.cpu.set('pstate', 0x20_0005n);
    return l;
  };
  test('its page is not mapped at stage 2 yet -> it is done, then the step exception', () => {
    const l = start('str x1, [x2]\nnop');
    l.cpu.set('x1', 7n);
    l.cpu.set('x2', RAM + (8n << 20n));
    l.run();
    expect(l.vm.peek(RAM + (8n << 20n))).toBe(7n);
    expect(l.cpu.get('elr_el1')).toBe(RAM + 4n);
    expect(l.cpu.get('spsr_el1') & SS).toBe(0n);
  });
  test('it aborts -> SPSR.SS is 1: it is to be stepped again', () => {
    const l = start('ldr x1, [x2]\nnop');
    l.cpu.set('x2', RAM + 0x10001n);
    l.run();
    expect(l.cpu.get('esr_el1') >> 26n).toBe(0x25n);
    expect(l.cpu.get('elr_el1')).toBe(RAM);
    expect(l.cpu.get('spsr_el1') & SS).toBe(SS);
  });
  test('it waits for a device -> SS is 1 until the answer, then the step exception', () => {
    const l = start('ldr x1, [x2]\nnop');
    l.cpu.set('x2', HOLE);
    const e = l.run();
    expect(e.kind).toBe('mmio');
    expect(l.cpu.get('pstate') & SS).toBe(SS);
    l.cpu.answer(e, 5);
    l.run();
    expect(l.cpu.get('x1')).toBe(5n);
    expect(l.cpu.get('elr_el1')).toBe(RAM + 4n);
    expect(l.vector).toBe(0x200);
  });
});

describe('work done between two runs -> budget', () => {
  test('an abort and an SError injected, then runs of one -> each retires one', () => {
    const l = lab('ldr x1, [x2]\nwfi');
    l.cpu.set('x2', HOLE);
    expect(l.run().kind).toBe('mmio');
    l.cpu.op('set-vcpu-events', { extDabtPending: true, serrorPending: true });
    for (let k = 1; k <= 4; k++) {
      const before = l.cpu.retired;
      expect(l.cpu.run(1)).toMatchObject({ kind: 'budget', retired: 1 });
      expect(l.cpu.retired - before).toBe(1);
    }
  });
});
