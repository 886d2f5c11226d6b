import { readFileSync } from 'node:fs';
import { createVm, definePlugin, type Vcpu, type Vm } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { asm16, guards, instructions, intercept, Next, type X86Vcpu, x86 } from '../src/index.ts';
import { worlds } from './plugin/worlds.ts';
import { ENTRY, gp, load, real, run } from './support/real.ts';

const VMRUN = '.byte 0x0f, 0x01, 0xd8';
/** EFER.SVME, WORLD_SAVE = 3000h, then the inner world at 2000h. */
const OUTER = `
  mov ecx, 0xc0000080
  mov eax, 0x1000
  xor edx, edx
  wrmsr
  mov ecx, 0xc0011f00
  mov eax, 0x3000
  wrmsr
  mov eax, 0x2000
  ${VMRUN}
  mov di, ax
  hlt`;
const INNER = 'add bx, ax; rdtsc; mov cx, 0x77; rdtsc';

function lab(plugins: readonly (typeof worlds)[]): { vm: Vm; core: Vcpu; v: X86Vcpu } {
  const memslots = [{ gpa: 0n, size: 1n << 20n }];
  const vm = createVm({ arch: x86(), plugins, memslots }) as unknown as Vm;
  load(vm, OUTER);
  vm.write(0x9000, asm16`${INNER}`.at(0x9000).bytes);
  for (const [n, x] of [0x9000n, 0x5000n, 0x1111n, 2n].entries()) vm.poke(0x2000 + 8 * n, x);
  const core = vm.vcpus[0] as Vcpu;
  return { vm, core, v: core.arch as X86Vcpu };
}

describe('a plugin with a second world', () => {
  test('its source -> at most 150 lines', () => {
    const source = readFileSync(new URL('plugin/worlds.ts', import.meta.url), 'utf8');
    expect(source.split('\n').length).toBeLessThanOrEqual(151);
  });
  test('VMRUN -> the inner world; its RDTSC -> the outer one goes on, the exit code stands in the block', () => {
    const { vm, core } = lab([worlds]);
    core.set('rbx', 1);
    expect(run(core).kind).toBe('hlt');
    expect([gp(core), core.get('rdi'), core.get('rbx'), core.get('rsp')]).toEqual([
      false,
      0x2000n,
      0x1112n,
      0x6000n,
    ]);
    expect([vm.peek(0x2000, 8), vm.peek(0x2020, 4)]).toEqual([0x9002n, 1n]);
    expect(vm.api(worlds).inner).toEqual([0]);
    vm.dispose();
  });
  test('a fork inside -> it comes back as the original does', () => {
    const { vm, core } = lab([worlds]);
    while (!vm.api(worlds).inner[0]) core.run(1);
    const twin = vm.fork();
    expect(twin.api(worlds).inner).toEqual([0x2000]);
    run(core);
    expect(run(twin.vcpus[0] as Vcpu).kind).toBe('hlt');
    expect(twin.stateHash()).toBe(vm.stateHash());
    twin.dispose();
    vm.dispose();
  });
  test('RDTSC in the outer world -> not intercepted', () => {
    const { vm, core, v } = lab([worlds]);
    load(vm, 'rdtsc; hlt');
    expect(run(core).kind).toBe('hlt');
    expect(v.intercepts.has('rdtsc')).toBe(false);
    vm.dispose();
  });
  test('its CPUID leaf and MSR -> guest; an MSR value it refuses -> #GP', () => {
    const { vm, core } = lab([worlds]);
    load(vm, 'mov eax, 0x8000000a; cpuid; hlt');
    run(core);
    expect([core.get('rax'), core.get('rbx')]).toEqual([1n, 1n]);
    load(vm, 'mov ecx, 0xc0011f00; mov eax, 0x3001; xor edx, edx; wrmsr; hlt');
    run(core);
    expect(gp(core)).toBe(true);
    expect(core.get('world_save')).toBe(0n);
    vm.dispose();
  });
  test('without it -> VMRUN is #UD, EFER.SVME is #GP', () => {
    const { vm, core } = lab([]);
    run(core);
    expect(gp(core)).toBe(true);
    load(vm, `${VMRUN}; hlt`);
    run(core);
    expect(core.get('rsi')).toBe(0xbeefn);
    vm.dispose();
  });
});

describe('mistakes of plugins', () => {
  const plugin = (name: string, contribute: Parameters<typeof definePlugin>[0]['setup']) =>
    definePlugin({ name, core: '^1.0.0', needs: ['x86'], setup: contribute });
  const make = (...plugins: ReturnType<typeof plugin>[]) => createVm({ arch: x86(), plugins });
  test('a code of two plugins -> FY_PLUGIN_CLASH; one of ours -> theirs in its place', () => {
    const p = (name: string) =>
      plugin(name, (ctx) => {
        ctx.contribute(instructions, () => [{ name, codes: ['Nopw'], run: (v) => v.raise(6) }]);
        return {};
      });
    expect(() => make(p('acme'), p('other'))).toThrow(/FY_PLUGIN_CLASH.*Nopw/);
    const vm = createVm({ arch: x86(), plugins: [p('acme')], memslots: [{ gpa: 0n, size: 1n << 20n }] });
    load(vm as unknown as Vm, 'nop; hlt');
    run(vm.vcpus[0] as unknown as Vcpu);
    expect(vm.vcpus[0]?.get('rsi')).toBe(0xbeefn);
    vm.dispose();
  });
  test('a code that iced-x86 lacks, neither sem nor run -> an error that names the plugin', () => {
    const unknown = plugin('acme', (ctx) => {
      ctx.contribute(instructions, () => [{ name: 'mine', codes: ['Vmfoo'], run: () => Next.Run }]);
      return {};
    });
    expect(() => make(unknown)).toThrow(/acme.*Vmfoo/);
    const empty = plugin('acme', (ctx) => {
      ctx.contribute(instructions, () => [{ name: 'mine', codes: ['Vmrunq'] }]);
      return {};
    });
    expect(() => make(empty)).toThrow(/FY_PLUGIN_INVALID.*acme/);
  });
  test('a guard bit claimed twice, or out of range -> an error; one claimed -> its instruction is intercepted', () => {
    const claim = (name: string, bit: number) =>
      plugin(name, (ctx) => {
        ctx.contribute(guards, () => [{ bit, doc: 'test' }]);
        return {};
      });
    expect(() => make(claim('a', 16), claim('b', 16))).toThrow(/FY_PLUGIN_CLASH/);
    expect(() => make(claim('a', 3))).toThrow(/FY_PLUGIN_INVALID/);
    const { v, vm } = real('hlt');
    expect(() => v.setGuard(20, true)).toThrow(/FY_ARGUMENT/);
    vm.dispose();
  });
  test('a guarded instruction -> runs in generated code until its guard is set', () => {
    const seen: number[] = [];
    const p = plugin('acme', (ctx) => {
      ctx.contribute(guards, () => [{ bit: 17, doc: 'test' }]);
      ctx.contribute(instructions, () => [
        {
          name: 'acme_vmload',
          codes: ['Vmloadw'],
          sem: ({ b }) => {
            b.guard(17);
            b.set(3, b.c64(5));
          },
        },
      ]);
      ctx.contribute(intercept, ({ vcpu, what, info }) => {
        if (what !== 'guard' || info !== 17) return undefined;
        seen.push(info);
        vcpu.state.advance(3);
        return Next.Run;
      });
      return {};
    });
    const vm = createVm({ arch: x86(), plugins: [p], memslots: [{ gpa: 0n, size: 1n << 20n }] });
    load(vm as unknown as Vm, '.byte 0x0f, 0x01, 0xda; hlt');
    const core = vm.vcpus[0] as unknown as Vcpu;
    run(core);
    expect([core.get('rbx'), seen]).toEqual([5n, []]);
    core.set('rbx', 0);
    core.pc = BigInt(ENTRY);
    (core.arch as X86Vcpu).setGuard(17, true);
    run(core);
    expect([core.get('rbx'), seen]).toEqual([0n, [17]]);
    vm.dispose();
  });
});
