/** The handler of the architecture page: a ts-pattern match that must know every exit of the VM it drives. */
import { answer, createVm, type ExitOf, resume, stop, type Verdict } from '@faultyard/core';
import { toy, toyHalt, toyLoad } from '@faultyard/testkit';
import { match, P } from 'ts-pattern';
import { expect, expectTypeOf, test } from 'vitest';
import { MmioBus, Pl011, Pl011Register, VIRT } from '../src/index.ts';

test('an exhaustive match over the installed exits -> drives a guest; a forgotten exit does not compile', () => {
  const vm = createVm({ arch: toy(), memslots: [{ gpa: BigInt(VIRT.ram), size: 0x1000n }] });
  const bus = new MmioBus(vm as never);
  const uart = new Pl011(VIRT.uart);
  bus.add(uart);
  uart.send('Q');
  vm.write(VIRT.ram, Uint8Array.from([...toyLoad(4, 1, 0, VIRT.uart + Pl011Register.DR), ...toyHalt()]));
  vm.vcpus[0]!.pc = BigInt(VIRT.ram);
  const handler = (exit: ExitOf<typeof vm>): Verdict =>
    match(exit)
      .with({ kind: 'mmio' }, (e) => bus.answer(e) ?? (e.write ? resume : answer(0)))
      .with({ kind: P.union('hlt', 'intr', 'budget', 'debug', 'system-event', 'io') }, (e) => stop(e.kind))
      .with({ kind: P.union('memory-fault', 'arm-nisv', 'shutdown', 'internal-error', 'run-error') }, (e) =>
        stop(`fatal: ${e.kind}`),
      )
      .exhaustive();
  expect(vm.drive(handler)).toMatchObject({ why: 'hlt', exits: 2 });
  expect(vm.vcpus[0]!.get('r1')).toBe(BigInt('Q'.charCodeAt(0)));

  const forgetful = (exit: ExitOf<typeof vm>) => match(exit).with({ kind: 'mmio' }, () => resume);
  // exhaustive() is callable only when nothing is left
  expectTypeOf<ReturnType<typeof forgetful>['exhaustive']>().not.toBeFunction();
});
