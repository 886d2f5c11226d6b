import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, test } from 'vitest';
import * as codecs from '../src/abi/ops.ts';
import {
  CORE_EXIT_CODECS,
  decodeExit,
  EXIT_REASON,
  EXIT_UNION,
  EXIT_UNION_SIZE,
  type Exit,
  encodeExit,
  gpa,
  hva,
  KVM_RUN_SIZE,
  type OpCodec,
  type OpName,
} from '../src/index.ts';
import { MemFlag } from '../src/memslot.ts';
import { CORE_OPS } from '../src/ops.ts';
import type { UserSpace } from '../src/user-space.ts';

const unless = missingFor('native');
const said = capture({
  record: new URL('recorded/kvm-abi.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/kvm-abi.c', import.meta.url) }),
});
const names = (text: string): string[] => text.split('\n').filter((l) => l && !l.startsWith('own '));
const kvm = new Map(names(said.text).map((l) => l.split(' ') as [string, string]));
const where = said.how === 'live' ? 'the installed <linux/kvm.h>' : `the recorded header (${said.why})`;
const number = (name: string): number => Number(kvm.get(name));

test.skipIf(unless !== undefined)(
  `C on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    expect(names(said.text)).toEqual(names(said.recorded ?? ''));
  },
);
const cross = missingFor('aarch64');
test.skipIf(cross !== undefined)(
  `C for arm64 -> the recording: equal${cross ? ` (skipped: ${cross})` : ''}`,
  () => {
    const source = new URL('abi/kvm-abi.c', import.meta.url);
    expect(names(runC({ source, target: 'aarch64' }))).toEqual(names(said.recorded ?? ''));
  },
);

describe(`core against ${where}`, () => {
  test('struct kvm_run -> size and offsets', () => {
    expect(KVM_RUN_SIZE).toBe(number('KVM_RUN_SIZE'));
    expect(EXIT_REASON).toBe(number('offset.kvm_run.exit_reason'));
    expect(EXIT_UNION).toBe(number('EXIT_UNION'));
    expect(EXIT_UNION_SIZE).toBe(number('EXIT_UNION_SIZE'));
  });

  test.each(Object.values(CORE_EXIT_CODECS))('$name -> number', (c) => {
    expect(c.number({})).toBe(number(c.name));
  });

  test.each(CORE_OPS.map((d) => [d.kvm, d.ioctl] as const))('%s -> ioctl number', (name, ioctl) => {
    expect(ioctl).toBe(number(name));
  });

  test.each(Object.entries(codecs.OP_STRUCT_SIZE))('struct %s -> size', (name, size) => {
    expect(size).toBe(number(`sizeof.${name}`));
  });

  test('flags of a memory region -> bits', () => {
    expect(MemFlag.LogDirty).toBe(number('KVM_MEM_LOG_DIRTY_PAGES'));
    expect(MemFlag.ReadOnly).toBe(number('KVM_MEM_READONLY'));
    expect(MemFlag.GuestMemfd).toBe(number('KVM_MEM_GUEST_MEMFD'));
  });

  const vm = { exitCodecs: new Map(), knobs: {} };
  const of = { vcpu: 0, ret: 0 } as const;
  const exits: Record<string, Exit> = {
    'mmio.store': {
      ...of,
      kind: 'mmio',
      gpa: gpa(0x0123456789abcdefn),
      size: 4,
      write: true,
      value: 0x55667788n,
    },
    'mmio.load': { ...of, kind: 'mmio', gpa: gpa(0x9000000), size: 8, write: false, value: 0n },
    io: { ...of, kind: 'io', port: 0x3f8, size: 2, write: true, count: 1, data: [0xaa] },
    'system-event': { ...of, kind: 'system-event', type: 2, data: [1n, 0xfedcba9876543210n] },
    'arm-nisv': { ...of, kind: 'arm-nisv', esrIss: 0x1a2b3c4dn, faultIpa: gpa(0xa000008) },
    'memory-fault': {
      ...of,
      kind: 'memory-fault',
      ret: -1,
      errno: 'EFAULT',
      flags: 8n,
      gpa: gpa(0x40002000),
      size: 4096n,
    },
    'internal-error': { ...of, kind: 'internal-error', suberror: 1, data: [0x55aan] },
    hlt: { ...of, kind: 'hlt' },
    intr: { ...of, kind: 'intr', ret: -1, errno: 'EINTR' },
    shutdown: { ...of, kind: 'shutdown', why: '' },
    'run-error': { ...of, kind: 'run-error', ret: -1, errno: 'EFAULT' },
    debug: { ...of, kind: 'debug', why: 'step' },
  };
  const page = (): DataView => {
    const bytes = new Uint8Array(2 * 4096).fill(0xff);
    return new DataView(bytes.buffer);
  };
  const hex = (v: DataView, from: number, to: number): string =>
    [...new Uint8Array(v.buffer).slice(from, to)].map((b) => b.toString(16).padStart(2, '0')).join('');

  test.each(Object.entries(exits))('exit %s -> bytes of the page, and back', (name, e) => {
    const v = page();
    encodeExit(vm, e, v);
    expect(hex(v, 8, 288)).toBe(kvm.get(`exit.${name}`));
    const back = decodeExit(vm, v);
    const { vcpu: _vcpu, ret: _ret, errno: _errno, kind, ...payload } = e as Exit & { errno?: string };
    expect(back).toEqual({ kind, payload });
  });

  test('every exit of core but budget is compared', () => {
    const compared = new Set(Object.values(exits).map((e) => e.kind));
    expect(Object.keys(CORE_EXIT_CODECS).filter((k) => !compared.has(k as never))).toEqual([]);
  });

  const file = { id: 'gmem0' } as never;
  const user: UserSpace = {
    load: (_, n) => new Uint8Array(n),
    store: () => {},
    file: (fd) => (fd === 16 ? file : undefined),
    descriptor: () => 16,
  };
  const case_ = <N extends OpName>(name: string, codec: OpCodec<N>, arg: object) =>
    [name, codec as unknown as OpCodec, arg] as const;
  test.each([
    case_('enable-cap', codecs.enableCapCodec, {
      cap: number('KVM_CAP_ARM_NISV_TO_USER'),
      flags: 3,
      args: [1n, 2n, 3n, 0x8000000000000004n],
    }),
    case_('set-user-memory-region', codecs.setRegionCodec, {
      slot: 7,
      asId: 1,
      flags: 3,
      gpa: 0x40000000n,
      size: 0x200000n,
      hva: hva(0x7f0000000000n),
    }),
    case_('set-user-memory-region2', codecs.setRegion2Codec, {
      slot: 5,
      asId: 0,
      flags: 4,
      gpa: 0x80000000n,
      size: 0x1000n,
      hva: 0x7f0000001000n,
      guestMemfdOffset: 0x3000n,
      guestMemfd: file,
    }),
    case_('get-dirty-log', codecs.getDirtyLogCodec, { slot: 3, asId: 1 }),
    case_('clear-dirty-log', codecs.clearDirtyLogCodec, {
      slot: 3,
      asId: 0,
      firstPage: 64,
      pages: 128,
      bitmap: new Uint8Array(16),
    }),
    case_('one-reg', codecs.getOneRegCodec, { id: 0x6030000000100040n }),
    case_('create-guest-memfd', codecs.createGuestMemfdCodec, { size: 0x10000n, flags: 1n }),
    case_('irq-line', codecs.gsiLineCodec, { irq: 0x1122_3344, level: true }),
    case_('signal-msi', codecs.signalMsiCodec, { address: 0x100_fee0_1004n, data: 0x4051 }),
  ])('argument of %s -> bytes of the structure, and back', (name, codec, arg) => {
    const v = new DataView(new ArrayBuffer(codec.size));
    codec.encode(arg as never, v, user);
    expect(hex(v, 0, codec.size)).toBe(kvm.get(`op.${name}`));
    expect(codec.decode(v, user)).toEqual(arg);
  });
});
