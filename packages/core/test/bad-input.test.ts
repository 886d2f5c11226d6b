/** What callers get wrong: typed, says what, where and what to do, with KVM's errno where it has one; changes nothing. */
import { toy, toyAddi, toyHalt, toyLoad, toyStore } from '@faultyard/testkit';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type AnyPlugin,
  createVm,
  definePlugin,
  FaultyardError,
  HostMemory,
  KvmError,
  type OpName,
  type Vm,
  type VmOptions,
} from '../src/index.ts';

const RAM = 0x10_0000n;
const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

const caps = definePlugin({
  name: 'test-caps',
  core: '^1.0.0',
  caps: [
    { name: 'test-on', kvm: 'KVM_CAP_TEST_ON', number: 9001, enable: 'vm', meaning: 'can be enabled' },
    { name: 'test-info', kvm: 'KVM_CAP_TEST_INFO', number: 9002, check: 7, meaning: 'only informs' },
  ],
  knobs: {
    shade: { values: ['light', 'dark'], default: 'light', meaning: 'a word', source: 'none' },
    size: { range: [1, 8], default: 4, meaning: 'a number', source: 'none' },
  },
  setup: () => ({}),
});
const other = definePlugin({
  name: 'test-other',
  core: '^1.0.0',
  knobs: { shade: { values: ['red'], default: 'red', meaning: 'a word', source: 'none' } },
  setup: () => ({}),
});

/** A VM with two vCPUs, memory at RAM in slot 0, and a program that is in the middle of things. */
function make(more: Partial<VmOptions<readonly AnyPlugin[]>> = {}): Vm {
  const vm = createVm({
    arch: toy(),
    plugins: [caps],
    vcpus: 2,
    memslots: [{ gpa: RAM, size: 0x10000n }],
    ...more,
  }) as unknown as Vm;
  open.push(vm);
  const code = [
    ...toyAddi(1, 0, 7),
    ...toyLoad(4, 2, 0, 0x900_0000),
    ...toyStore(4, 1, 0, 0x10_4000),
    ...toyHalt(),
  ];
  vm.write(RAM, Uint8Array.from(code));
  for (const v of vm.vcpus) v.pc = RAM;
  vm.vcpus[0]?.run();
  return vm;
}

interface Refusal {
  readonly code: string;
  readonly message: string;
}
/** Code (FY_*) or errno and message of what `f` throws. */
function refusal(f: () => unknown): Refusal {
  try {
    f();
  } catch (e) {
    if (e instanceof KvmError) return { code: `${e.op} ${e.errno}`, message: e.message };
    if (e instanceof FaultyardError) return { code: e.code, message: e.message };
    throw e;
  }
  return { code: 'nothing was thrown', message: '' };
}

const slot = { slot: 1, gpa: 0x20_0000n, size: 0x1000n, hva: 0x7000_0000n };
type Case = readonly [stimulus: string, code: string, says: RegExp, f: (vm: Vm) => unknown];

const calls: readonly Case[] = [
  [
    'a memslot that overlaps another',
    'KVM_SET_USER_MEMORY_REGION EEXIST',
    /0x108000 \+ 0x10000 overlaps slot 0/,
    (vm) => vm.setMemoryRegion({ ...slot, gpa: RAM + 0x8000n, size: 0x10000n }),
  ],
  [
    'a misaligned gpa',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /gpa 0x200800 is not page aligned/,
    (vm) => vm.setMemoryRegion({ ...slot, gpa: 0x20_0800n }),
  ],
  [
    'a misaligned size',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /size 0x1001 is not page aligned/,
    (vm) => vm.setMemoryRegion({ ...slot, size: 0x1001n }),
  ],
  [
    'a misaligned hva',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /hva 0x70000001 is not page aligned/,
    (vm) => vm.setMemoryRegion({ ...slot, hva: 0x7000_0001n }),
  ],
  [
    'a slot id that does not exist',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /slot 40000/,
    (vm) => vm.setMemoryRegion({ ...slot, slot: 40000 }),
  ],
  [
    'a gpa beyond the guest',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /beyond/,
    (vm) => vm.setMemoryRegion({ ...slot, gpa: 1n << 45n }),
  ],
  [
    'the size of a live slot',
    'KVM_SET_USER_MEMORY_REGION EINVAL',
    /delete it first/,
    (vm) => vm.setMemoryRegion({ slot: 0, gpa: RAM, size: 0x8000n, hva: BigInt(vm.memory.hvaOf(RAM) ?? 0) }),
  ],
  [
    'a dirty log that is not kept',
    'KVM_GET_DIRTY_LOG ENOENT',
    /slot 0 does not log/,
    (vm) => vm.op('get-dirty-log', { slot: 0 }),
  ],
  [
    'a capability nobody defines, by name',
    'FY_CAP_UNSUPPORTED',
    /test-nothing .*capabilities here: test-info, test-on/,
    (vm) => vm.enableCap('test-nothing'),
  ],
  [
    'a capability nobody defines, by number',
    'KVM_ENABLE_CAP EINVAL',
    /capability 9999 is not known/,
    (vm) => vm.op('enable-cap', { cap: 9999 }),
  ],
  [
    'a capability that only informs',
    'KVM_ENABLE_CAP EINVAL',
    /KVM_CAP_TEST_INFO only informs/,
    (vm) => vm.op('enable-cap', { cap: 9002 }),
  ],
  [
    'a capability with flags',
    'KVM_ENABLE_CAP EINVAL',
    /flags 1 of KVM_CAP_TEST_ON must be 0/,
    (vm) => vm.enableCap('test-on', { flags: 1 }),
  ],
  [
    'an unknown operation',
    'FY_OP_UNKNOWN',
    /fly.*operations here: check-extension, /,
    (vm) => vm.op('fly' as OpName, {} as never),
  ],
  [
    'an operation of a vcpu on a VM',
    'FY_ARGUMENT',
    /get-one-reg is one of a vcpu.*call vm\.vcpus\[n\]\.op/,
    (vm) => vm.op('get-one-reg', { id: 0n }),
  ],
  [
    'an operation of a VM on a vcpu',
    'FY_ARGUMENT',
    /enable-cap is one of a vm.*call vm\.op/,
    (vm) => vm.vcpus[0]?.op('enable-cap', { cap: 9001 }),
  ],
  [
    'a register id nobody knows',
    'KVM_GET_ONE_REG ENOENT',
    /no register 0x1234/,
    (vm) => vm.vcpus[0]?.op('get-one-reg', { id: 0x1234n }),
  ],
  [
    'an address outside memory, written',
    'FY_ADDRESS',
    /gpa 0x900000.* is in no memslot; add memory there first/,
    (vm) => vm.write(0x900000, Uint8Array.of(1)),
  ],
  [
    'an address outside memory, poisoned',
    'FY_ADDRESS',
    /0x900000 has no host page/,
    (vm) => vm.poison(0x900000),
  ],
  ['a negative address', 'FY_ADDRESS', /below 2\^53/, (vm) => vm.read(-5, 1)],
  ['a negative length', 'FY_ARGUMENT', /length -1 is not a number of bytes/, (vm) => vm.read(RAM, -1)],
  ['half a byte', 'FY_ARGUMENT', /length 0.5 /, (vm) => vm.memory.load(RAM, 0.5)],
  [
    'a schedule that cannot be read',
    'FY_SCHEDULE',
    /step 0:5.*write steps like/,
    (vm) => {
      vm.scheduler.schedule = { kind: 'list', steps: '0*3 0:5' };
    },
  ],
  [
    'a schedule with a vcpu that is not there',
    'FY_SCHEDULE',
    /step 2\*3.*vcpu below 2/,
    (vm) => {
      vm.scheduler.schedule = { kind: 'list', steps: '2*3' };
    },
  ],
  [
    'an API of a plugin that is not installed',
    'FY_PLUGIN_UNKNOWN',
    /test-absent/,
    (vm) => vm.api('test-absent'),
  ],
  [
    'a snapshot while a task stands in the middle',
    'FY_SNAPSHOT_BUSY',
    /no snapshot while config-write is at K3/,
    (vm) => {
      vm.busy = { task: 'config-write', point: 'K3' };
      try {
        vm.snapshot();
      } finally {
        vm.busy = undefined;
      }
    },
  ],
];

describe('a refused call', () => {
  test.each(calls)('%s -> %s, state hash as before', (_, code, says, f) => {
    const vm = make();
    const before = vm.stateHash();
    const r = refusal(() => f(vm));
    expect(r.code).toBe(code);
    expect(r.message).toMatch(says);
    expect(vm.stateHash()).toBe(before);
  });

  test.each([undefined, {}, 7])('an answer to %o -> FY_ARGUMENT, state hash as before', (exit) => {
    const vm = make();
    const before = vm.stateHash();
    expect(() => vm.vcpus[0]?.answer(exit as never, 1)).toThrow(
      /FY_ARGUMENT.*is none.*what run\(\) returned/,
    );
    expect(vm.stateHash()).toBe(before);
  });
  test('the exit answered twice, and by the wrong vcpu -> FY_EXIT_ANSWER, state hash as before', () => {
    const vm = make();
    const [v, w] = vm.vcpus;
    const e = v?.exit;
    if (!v || !w || e?.kind !== 'mmio') throw new Error('no mmio exit');
    const before = vm.stateHash();
    expect(refusal(() => w.answer(e, 1))).toMatchObject({
      code: 'FY_EXIT_ANSWER',
      message: expect.stringMatching(
        /exit mmio of vcpu 0 was returned by another vcpu, not 1; call vcpus\[0\]\.answer/,
      ),
    });
    expect(vm.stateHash()).toBe(before);
    v.answer(e, 5);
    const answered = vm.stateHash();
    expect(refusal(() => v.answer(e, 6)).message).toMatch(/is answered already; run the vcpu/);
    expect(vm.stateHash()).toBe(answered);
    v.run();
    expect(refusal(() => v.answer(e, 6)).message).toMatch(/is not pending; answer the last exit/);
    expect(v.get('r2')).toBe(5n);
  });
});

const creations: readonly (readonly [string, string, RegExp, Partial<VmOptions<readonly AnyPlugin[]>>])[] = [
  [
    'an unknown plugin',
    'FY_PLUGIN_UNKNOWN',
    /toy \(a function: call it/,
    { plugins: [toy as unknown as AnyPlugin] },
  ],
  [
    'an architecture that is none',
    'FY_PLUGIN_INVALID',
    /test-caps: it is not an architecture/,
    { arch: caps, plugins: [] },
  ],
  ['a plugin twice', 'FY_PLUGIN_TWICE', /test-caps/, { plugins: [caps, caps] }],
  [
    'a missing need',
    'FY_PLUGIN_NEEDS',
    /test-user needs test-lib/,
    {
      plugins: [definePlugin({ name: 'test-user', core: '^1.0.0', needs: ['test-lib'], setup: () => ({}) })],
    },
  ],
  [
    'a version out of range',
    'FY_PLUGIN_VERSION',
    /test-new was made for core \^3\.0\.0/,
    { plugins: [definePlugin({ name: 'test-new', core: '^3.0.0', setup: () => ({}) })] },
  ],
  [
    'a capability defined twice',
    'FY_PLUGIN_CLASH',
    /capability test-on is defined by both test-twin and test-caps/,
    {
      plugins: [
        caps,
        definePlugin({ name: 'test-twin', core: '^1.0.0', caps: caps.def.caps ?? [], setup: () => ({}) }),
      ],
    },
  ],
  ['an unknown knob', 'FY_KNOB_UNKNOWN', /colour.*toy\.faultPolicy/, { set: { colour: 'red' } }],
  [
    'a bare knob that two plugins have',
    'FY_KNOB_AMBIGUOUS',
    /shade.*test-caps\.shade, test-other\.shade/,
    { plugins: [caps, other], set: { shade: 'dark' } },
  ],
  [
    'a value that the knob does not have',
    'FY_KNOB_VALUE',
    /test-caps\.shade does not take "grey"; its values: light, dark/,
    { set: { shade: 'grey' } },
  ],
  [
    'a number outside the range',
    'FY_KNOB_VALUE',
    /test-caps\.size does not take 9; its values: 1\.\.8/,
    { set: { size: 9 } },
  ],
  ['no vcpus', 'FY_ARGUMENT', /vcpus 0 is not 1\.\.512/, { vcpus: 0 }],
  [
    'memslots that overlap',
    'KVM_SET_USER_MEMORY_REGION EEXIST',
    /overlaps slot 0/,
    {
      memslots: [
        { gpa: RAM, size: 0x10000n },
        { gpa: RAM + 0xf000n, size: 0x10000n },
      ],
    },
  ],
];
test.each(creations)('createVm with %s -> %s', (_, code, says, o) => {
  const r = refusal(() => make(o));
  expect(r.code).toBe(code);
  expect(r.message).toMatch(says);
});

describe('a snapshot restored where it does not belong', () => {
  test('a VM with another number of vcpus -> FY_SNAPSHOT_FOREIGN, state hash as before', () => {
    const s = make().snapshot();
    const vm = make({ vcpus: 1 });
    const before = vm.stateHash();
    expect(refusal(() => vm.restore(s))).toMatchObject({
      code: 'FY_SNAPSHOT_FOREIGN',
      message: /of 2 vcpus/ as never,
    });
    expect(vm.stateHash()).toBe(before);
  });
  test('another host memory -> FY_SNAPSHOT_FOREIGN', () => {
    const s = make().snapshot();
    const vm = make({ host: new HostMemory({ bytes: 64 << 20 }) });
    expect(refusal(() => vm.restore(s)).code).toBe('FY_SNAPSHOT_FOREIGN');
  });
  test('a VM without the plugin -> FY_CELL_MISSING that names cell and plugin, state hash as before', () => {
    const keeper = definePlugin({
      name: 'test-keeper',
      core: '^1.0.0',
      setup: (c) =>
        c.cell({ name: 'test-keeper.n', version: 3, side: 'guest', read: () => 1, write: () => {} }),
    });
    const s = make({ plugins: [caps, keeper] }).snapshot();
    const vm = make();
    const before = vm.stateHash();
    const r = refusal(() => vm.restore(s));
    expect(r.code).toBe('FY_CELL_MISSING');
    expect(r.message).toMatch(/test-keeper\.n \(version 3\).*install test-keeper/);
    expect(vm.stateHash()).toBe(before);
  });
});

test('a register or an ioctl number with a fraction, or NaN -> FY_ARGUMENT, EINVAL', () => {
  const vm = createVm({ arch: toy() }) as unknown as Vm;
  open.push(vm);
  const v = vm.vcpus[0] as NonNullable<(typeof vm.vcpus)[0]>;
  const before = vm.stateHash();
  for (const n of [Number.NaN, 1.5, Number.POSITIVE_INFINITY]) {
    expect(() => v.set('r1', n)).toThrow(/FY_ARGUMENT.*r1/);
    expect(v.ioctl(0xae80, n)).toMatchObject({ ret: -1, errno: 'EINVAL' });
  }
  expect(vm.stateHash()).toBe(before);
});
