/** Every mistake of a plugin's author is a typed error that names the plugin and what to do. */
import { describe, expect, test } from 'vitest';
import {
  type AnyPlugin,
  type ArchVcpu,
  type Cell,
  createVm,
  definePlugin,
  definePoint,
  type Exit,
  type ExitCodec,
  type FaultyardError,
  HostMemory,
  type PluginDef,
  resolvePlugins,
  type SetupCtx,
  Stop,
  type Task,
} from '../src/index.ts';

declare module '../src/exit.ts' {
  interface ExitMap {
    'test-exit': { readonly code: number };
  }
}

const codec = (number = 200): ExitCodec<'test-exit'> => ({
  kind: 'test-exit',
  name: 'KVM_EXIT_TEST',
  number: () => number,
  encode: (e, run) => run.setUint32(32, e.code, true),
  decode: (run) => ({ code: run.getUint32(32, true) }),
});

/** A vCPU whose every entry leaves with `exit`. */
function vcpu(exit: Exit): ArchVcpu {
  return {
    pc: 0n,
    registers: [],
    read: () => undefined,
    write: () => false,
    enter: () => Stop.Handle,
    retired: 0,
    // biome-ignore lint/correctness/useYield: nothing to wait for
    *handle(): Task<Exit> {
      return exit;
    },
    complete: () => {},
    runnable: () => true,
    power: 'on',
    deadline: () => Number.POSITIVE_INFINITY,
    prepare: () => undefined,
    flush: () => {},
    zapped: () => {},
    walk: () => ({ steps: [] }),
    disassemble: () => [],
    cells: [{ name: 'testarch.vcpu', version: 1, side: 'guest', read: () => 0, write: () => {} }],
    dispose: () => {},
  };
}

const exit: Exit<'test-exit'> = { kind: 'test-exit', vcpu: 0, ret: 0, code: 7 };
const arch = (more: Partial<PluginDef<never, unknown>> = {}): AnyPlugin =>
  definePlugin<never, unknown>({
    name: 'testarch',
    core: '^1.0.0',
    arch: {
      name: 'testarch',
      memslots: {
        ids: 32767,
        addressSpaces: 1,
        gpaLimit: 2 ** 40,
        beyondLimit: 'EFAULT',
        refusesDirtyPfnmap: true,
        userfault: true,
      },
      stage2: { invalidSlot: 'noslot', vmaFirst: true, execDevice: 'refuse' },
      taskSize: 2 ** 47,
      createVcpu: () => vcpu(exit),
    },
    setup: () => ({}),
    ...more,
  });

const plugin = (name: string, more: Partial<PluginDef<never, unknown>> = {}): AnyPlugin =>
  definePlugin<never, unknown>({ name, core: '^1.0.0', setup: () => ({}), ...more });
const setup = (name: string, f: (ctx: SetupCtx) => unknown): AnyPlugin => plugin(name, { setup: f });
const host = new HostMemory();
const make = (...plugins: AnyPlugin[]) => createVm({ arch: arch(), plugins, host });

/** What `f` throws, if it is a typed error. */
function refusal(f: () => unknown): { code: string; message: string } {
  try {
    f();
  } catch (e) {
    if ((e as Error).name !== 'FaultyardError') throw e;
    return e as FaultyardError;
  }
  return { code: 'nothing', message: '' };
}

const cell = (name: string): Cell => ({ name, version: 1, side: 'guest', read: () => 0, write: () => {} });
const op = (name: string, ioctl: number) =>
  ({ name, kvm: 'KVM_TEST', ioctl, on: 'vm', run: () => 0 }) as never;
const cap = (name: string, number: number) => ({ name, kvm: 'KVM_CAP_TEST', number, meaning: 'test' });
const exits = (c: unknown) => ({ exits: { 'test-exit': c } }) as never;

describe('a definition', () => {
  test.each([
    ['an exit without codec', exits(undefined), /acme: its exit test-exit needs a codec/],
    ['an exit whose codec cannot decode', exits({ ...codec(), decode: undefined }), /needs a codec/],
    ['the codec of another exit', exits({ ...codec(), kind: 'mmio' }), /kind: 'test-exit'/],
    [
      'a knob whose default is none of its values',
      { knobs: { k: { values: ['a'], default: 'b', meaning: '', source: '' } } },
      /the default b of its knob k is none of its values/,
    ],
    ['no setup', { setup: undefined } as never, /it has no setup/],
    ['no name', { name: undefined } as never, /plugin undefined: its name must be/],
  ])('%s -> FY_PLUGIN_INVALID', (_, more, says) => {
    const r = refusal(() => plugin('acme', more));
    expect(r.code).toBe('FY_PLUGIN_INVALID');
    expect(r.message).toMatch(says);
  });

  test('plugins that need each other -> FY_PLUGIN_INVALID that shows the ring', () => {
    const ring = [
      plugin('a', { needs: ['b'] }),
      plugin('b', { needs: ['c'] }),
      plugin('c', { needs: ['b'] }),
    ];
    const r = refusal(() => resolvePlugins(ring));
    expect(r.code).toBe('FY_PLUGIN_INVALID');
    expect(r.message).toContain('it needs itself: b needs c needs b');
  });
});

describe('two plugins', () => {
  const both = (a: Partial<PluginDef<never, unknown>>, b = a) => [plugin('acme', a), plugin('zeta', b)];
  test.each([
    ['one exit kind', both(exits(codec(200)), exits(codec(201))), 'exit test-exit'],
    ['one operation', both({ ops: [op('t', 1)] }, { ops: [op('t', 2)] }), 'operation t'],
    [
      'one ioctl number',
      both({ ops: [op('t', 0x8004ae01)] }, { ops: [op('u', 0x8004ae01)] }),
      'ioctl of a vm 0x8004ae01',
    ],
    ['one capability', both({ caps: [cap('c', 900)] }, { caps: [cap('c', 901)] }), 'capability c'],
    [
      'one capability number',
      both({ caps: [cap('c', 900)] }, { caps: [cap('d', 900)] }),
      'capability number 900',
    ],
  ])('that define %s -> FY_PLUGIN_CLASH that names both', (_, plugins, what) => {
    const r = refusal(() => make(...plugins));
    expect(r.code).toBe('FY_PLUGIN_CLASH');
    expect(r.message).toContain(`${what} is defined by both zeta and acme; `);
  });

  test.each([
    [
      "the kind of one of core's exits",
      plugin('acme', { exits: { mmio: { ...codec(), kind: 'mmio' } } as never }),
    ],
    ["the number of one of core's exits", plugin('acme', exits(codec(6)))],
    ["the name of one of core's operations", plugin('acme', { ops: [op('run', 1)] })],
    ["the number of one of core's operations", plugin('acme', { ops: [op('t', 0x4020ae46)] })],
  ])('core and a plugin with %s -> FY_PLUGIN_CLASH', (_, p) => {
    const r = refusal(() => make(p));
    expect(r.code).toBe('FY_PLUGIN_CLASH');
    expect(r.message).toContain('is defined by both acme and core; ');
  });

  test("an architecture with its own codec for one of core's exits -> taken", () => {
    const debug = { ...codec(4), kind: 'debug' };
    const vm = createVm({ arch: arch({ exits: { debug } as never }), host });
    expect(vm.exitCodecs.get('debug')).toBe(debug);
    vm.dispose();
  });

  test('one knob name -> bare in `set`: FY_KNOB_AMBIGUOUS with both ids; in full: taken', () => {
    const knobs = { mode: { values: ['a', 'b'], default: 'a', meaning: '', source: '' } };
    const plugins = [plugin('acme', { knobs }), plugin('zeta', { knobs })];
    const r = refusal(() => createVm({ arch: arch(), plugins, host, set: { mode: 'b' } }));
    expect(r.code).toBe('FY_KNOB_AMBIGUOUS');
    expect(r.message).toContain('acme.mode, zeta.mode');
    const vm = createVm({ arch: arch(), plugins, host, set: { 'zeta.mode': 'b' } });
    expect(vm.knobs).toEqual({ 'acme.mode': 'a', 'zeta.mode': 'b' });
    vm.dispose();
  });
});

describe('a setup', () => {
  test("a cell that does not begin with the plugin's name -> FY_PLUGIN_INVALID", () => {
    const r = refusal(() => make(setup('acme', (ctx) => ctx.cell(cell('zeta.count')))));
    expect(r.code).toBe('FY_PLUGIN_INVALID');
    expect(r.message).toContain('plugin acme: its cell zeta.count must be named acme.<name>');
  });

  test("a cell twice, and a VMM's cell of a plugin's name -> FY_PLUGIN_CLASH with both owners", () => {
    const twice = setup('acme', (ctx) => {
      ctx.cell(cell('acme.count'));
      ctx.cell(cell('acme.count'));
    });
    expect(refusal(() => make(twice)).message).toContain('cell acme.count is defined by both acme and acme');
    const vm = make(setup('acme', (ctx) => ctx.cell(cell('acme.count'))));
    const r = refusal(() => vm.keep(cell('acme.count')));
    expect(r.code).toBe('FY_PLUGIN_CLASH');
    expect(r.message).toContain('both the VMM and acme');
    vm.dispose();
  });

  test.each(['contribute', 'cell', 'onVcpu'] as const)(
    '%s when the VM is made -> FY_PLUGIN_INVALID',
    (what) => {
      let late: SetupCtx | undefined;
      const vm = make(
        setup('acme', (ctx) => {
          late = ctx;
        }),
      );
      const ctx = late as SetupCtx;
      const point = definePoint<void, number>('test.point', () => () => 0);
      const r = refusal(() => {
        if (what === 'contribute') ctx.contribute(point, () => 1);
        else if (what === 'cell') ctx.cell(cell('acme.late'));
        else ctx.onVcpu(() => {});
      });
      expect(r.code).toBe('FY_PLUGIN_INVALID');
      expect(r.message).toContain(`acme: it called ${what} when the VM was made already`);
      vm.dispose();
    },
  );

  test('a point that was asked during setup -> a later contribution: FY_PLUGIN_INVALID that names the point', () => {
    const point = definePoint<void, number>('test.asked', () => () => 0);
    const r = refusal(() =>
      make(
        setup('acme', (ctx) => ctx.vm.ask(point)()),
        setup('zeta', (ctx) => ctx.contribute(point, () => 1)),
      ),
    );
    expect(r.code).toBe('FY_PLUGIN_INVALID');
    expect(r.message).toContain('plugin zeta: it contributes to test.asked, which was asked already');
  });

  test('a contribution that answers something else -> refused by its type; literals need no help', () => {
    const point = definePoint<{ readonly n: number }, 'yes' | { readonly kind: 'no' }>(
      'test.type',
      () => () => 'yes',
    );
    const vm = make(
      setup('acme', (ctx) => {
        ctx.contribute(point, ({ n }) => (n > 0 ? 'yes' : { kind: 'no' }));
        // @ts-expect-error `maybe` is no answer
        ctx.contribute(point, () => 'maybe');
        // @ts-expect-error nobody asks with `m`
        ctx.contribute(point, ({ m }: { m: number }) => (m ? 'yes' : 'yes'));
      }),
    );
    expect(vm.contributions(point)).toHaveLength(3);
    vm.dispose();
  });

  test('contributions to a point -> the definer sees who made them, in plugin order', () => {
    const point = definePoint<void, number>('test.sum', (fns) => () => fns.reduce((n, f) => n + f(), 0));
    const vm = make(
      setup('acme', (ctx) => ctx.contribute(point, () => 1)),
      setup('zeta', (ctx) => ctx.contribute(point, () => 2)),
    );
    expect(vm.ask(point)()).toBe(3);
    expect(vm.contributions(point).map((c) => [c.plugin, c.fn()])).toEqual([
      ['acme', 1],
      ['zeta', 2],
    ]);
    vm.dispose();
  });
});

test('a snapshot of a VM with other plugins -> FY_CELL_MISSING or FY_SNAPSHOT_FOREIGN, and nothing changes', () => {
  let value = 1;
  const counting = setup('acme', (ctx) =>
    ctx.cell({
      name: 'acme.count',
      version: 1,
      side: 'guest',
      read: () => value,
      write: (v) => {
        value = v;
      },
    }),
  );
  const [without, having] = [make(), make(counting)];
  const [less, more] = [without.snapshot(), having.snapshot()];
  value = 2;
  const hash = having.stateHash();
  const foreign = refusal(() => having.restore(less));
  expect(foreign.code).toBe('FY_SNAPSHOT_FOREIGN');
  expect(foreign.message).toContain('holds no cell acme.count, which this VM has');
  expect(having.stateHash()).toBe(hash);
  const missing = refusal(() => without.restore(more));
  expect(missing.code).toBe('FY_CELL_MISSING');
  expect(missing.message).toContain('install acme');
  having.restore(more);
  expect(value).toBe(1);
  for (const x of [less, more, without, having]) x.dispose();
});

test('an exit that no installed plugin declares -> KVM_RUN: FY_EXIT_CODEC; declared: it stands in kvm_run', () => {
  const without = make();
  const r = refusal(() => without.run());
  expect(r.code).toBe('FY_EXIT_CODEC');
  expect(r.message).toContain('exit test-exit has no codec in this VM; name it under exits');
  without.dispose();
  const vm = make(plugin('acme', exits(codec())));
  expect(vm.run()).toEqual(exit);
  expect(vm.vcpus[0]?.kvmRun.getUint32(8, true)).toBe(200);
  expect(vm.vcpus[0]?.kvmRun.getUint32(32, true)).toBe(7);
  vm.dispose();
});
