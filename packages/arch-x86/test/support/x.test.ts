import { checkHandler, createEngine } from '@faultyard/engine';
import { test } from 'vitest';
import { testHost } from '../../../engine/test/support/host.ts';
import { x86Isa } from '../../src/isa/isa.ts';

test('x', () => {
  let t = performance.now();
  const isa = x86Isa();
  console.log(
    'table',
    performance.now() - t,
    isa.handlers.length,
    isa.handlers.filter((h) => !h.cold).length,
  );
  t = performance.now();
  const bad: string[] = [];
  for (const h of isa.handlers) {
    try {
      checkHandler(isa, h);
    } catch (e) {
      bad.push(String(e));
    }
  }
  console.log('check', performance.now() - t, bad.length, bad.slice(0, 10));
  t = performance.now();
  const e = createEngine(testHost(), isa);
  const cpu = e.createCpu({ resolve: () => -1, check: () => 0, deviceLoad: () => -1, deviceStore: () => -1 });
  cpu.run(1);
  console.log('engine', performance.now() - t, e.figures());
});
