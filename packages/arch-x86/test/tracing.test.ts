import type { TraceEvent } from '@faultyard/core';
import { expect, test } from 'vitest';
import { real, run } from './support/real.ts';

test('a traced guest -> entries, faults, CPUID, MSRs, exceptions under the names of KVM’s tracepoints', () => {
  const { vm, core } = real('mov eax, 1; cpuid; mov ecx, 0x12345; rdmsr');
  vm.traced = true;
  const seen: TraceEvent[] = [];
  vm.trace.on((e) => seen.push(e));
  run(core);
  const names = new Set(seen.map((e) => e.name));
  for (const name of ['kvm_entry', 'kvm_exit', 'kvm_page_fault', 'kvm_cpuid', 'kvm_msr', 'kvm_inj_exception'])
    expect(names).toContain(name);
  expect(seen.find((e) => e.name === 'kvm_cpuid')).toMatchObject({ function: 1, rax: 0x00a0_0f11 });
  expect(seen.find((e) => e.name === 'kvm_msr')).toMatchObject({
    ecx: 0x12345,
    write: false,
    exception: true,
  });
  expect(seen.find((e) => e.name === 'kvm_inj_exception')).toMatchObject({ vector: 13, pc: 0x7000n });
  expect(seen.find((e) => e.name === 'kvm_page_fault')).toMatchObject({ gpa: 0x8000n, errorCode: 16 });
  vm.dispose();
});

test('an interrupt from userspace -> kvm_inj_virq', () => {
  const { vm, core } = real('sti; nop; jmp $');
  vm.traced = true;
  vm.poke(0x21 * 4, 0x7100, 4);
  core.op('interrupt', { irq: 0x21 });
  run(core);
  const events = vm.trace.events();
  expect(events.find((e) => e.name === 'kvm_inj_virq')).toMatchObject({ vector: 0x21, pc: 0x7100n });
  vm.dispose();
});
