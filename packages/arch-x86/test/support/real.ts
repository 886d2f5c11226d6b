/** Small real-mode guests at 0:8000h, for tests that only want a few instructions. */
import { createVm, type Exit, type Vcpu, type Vm, type VmOptions } from '@faultyard/core';
import { asm16, type X86PluginOptions, type X86Vcpu, x86 } from '../../src/index.ts';

/** Where the code is. */
export const ENTRY = 0x8000;

/** A VM with 1 MiB of memory whose vCPUs are about to run `text`; #GP and #UD halt with 0DEADh or 0BEEFh in SI. */
export function real(
  text: string,
  options: X86PluginOptions = {},
  more: Partial<VmOptions<readonly []>> = {},
): { readonly vm: Vm; readonly core: Vcpu; readonly v: X86Vcpu } {
  const memslots = [{ gpa: 0n, size: 1n << 20n }];
  const vm = createVm({ arch: x86(options), memslots, ...more }) as unknown as Vm;
  load(vm, text);
  const core = vm.vcpus[0] as Vcpu;
  return { vm, core, v: core.arch as X86Vcpu };
}

/** Puts a program there and all vCPUs to its start. */
export function load(vm: Vm, text: string): void {
  vm.write(ENTRY, asm16`${text}`.at(ENTRY).bytes);
  vm.write(0x7000, asm16`mov si, 0xdead; hlt`.bytes);
  vm.write(0x7100, asm16`mov si, 0xbeef; hlt`.bytes);
  vm.poke(13 * 4, 0x7000, 4);
  vm.poke(6 * 4, 0x7100, 4);
  for (const c of vm.vcpus) {
    c.set('cs', 0);
    c.set('cs.base', 0);
    c.set('rsp', 0x6000);
    c.set('rsi', 0);
    c.pc = BigInt(ENTRY);
  }
}

/** Runs to the next exit. */
export const run = (core: Vcpu): Exit => core.run(100_000);
/** Whether the guest ended in its #GP handler. */
export const gp = (core: Vcpu): boolean => core.get('rsi') === 0xdeadn;
