/**
 * `struct kvm_run` (include/uapi/linux/kvm.h): exit_reason and the exit union, little-endian, byte for byte.
 * The union starts at byte 32; offsets below are from the start of the structure.
 */
import { gpa } from '../address.ts';
import { FaultyardError } from '../errors.ts';
import type { CoreExit, Exit, ExitCodec, ExitKind, ExitMap } from '../exit.ts';
import type { Vm } from '../vm.ts';

/** Byte offset of exit_reason (u32). */
export const EXIT_REASON = 8;
/** Byte offset of the exit union. */
export const EXIT_UNION = 32;
/** Bytes of the exit union. */
export const EXIT_UNION_SIZE = 256;

const codec = <K extends CoreExit>(
  kind: K,
  name: string,
  number: number,
  encode: (e: Exit<K>, v: DataView) => void = () => {},
  decode: (v: DataView) => ExitMap[K] = () => ({}) as ExitMap[K],
): ExitCodec<K> => ({ kind, name, number: () => number, encode, decode });

const u64 = (v: DataView, at: number, n: bigint): void => v.setBigUint64(at, BigInt.asUintN(64, n), true);

/** Codecs of the exits that core itself brings. `budget` has no number in KVM and leaves the page alone. */
export const CORE_EXIT_CODECS: { readonly [K in Exclude<CoreExit, 'budget'>]: ExitCodec<K> } = {
  mmio: codec(
    'mmio',
    'KVM_EXIT_MMIO',
    6,
    (e, v) => {
      u64(v, 32, e.gpa);
      if (e.write) {
        const n = 1n << BigInt(8 * e.size);
        u64(v, 40, (v.getBigUint64(40, true) & ~(n - 1n)) | (e.value & (n - 1n)));
      }
      v.setUint32(48, e.size, true);
      v.setUint8(52, e.write ? 1 : 0);
    },
    (v) => {
      const size = v.getUint32(48, true) as 1 | 2 | 4 | 8;
      const write = v.getUint8(52) !== 0;
      const value = write ? BigInt.asUintN(8 * size, v.getBigUint64(40, true)) : 0n;
      return { gpa: gpa(v.getBigUint64(32, true)), size, write, value };
    },
  ),
  io: codec(
    'io',
    'KVM_EXIT_IO',
    2,
    (e, v) => {
      v.setUint8(32, e.write ? 1 : 0);
      v.setUint8(33, e.size);
      v.setUint16(34, e.port, true);
      v.setUint32(36, e.count, true);
      u64(v, 40, BigInt(IO_DATA));
      if (e.write)
        for (const [i, x] of e.data.slice(0, 4096).entries()) put(v, IO_DATA + i * e.size, e.size, x);
    },
    (v) => {
      const size = v.getUint8(33) as 1 | 2 | 4;
      const count = v.getUint32(36, true);
      const write = v.getUint8(32) === 1;
      const data = write ? Array.from({ length: count }, (_, i) => take(v, IO_DATA + i * size, size)) : [];
      return { port: v.getUint16(34, true), size, write, count, data };
    },
  ),
  hlt: codec('hlt', 'KVM_EXIT_HLT', 5),
  intr: codec('intr', 'KVM_EXIT_INTR', 10),
  // struct kvm_debug_exit_arch belongs to the architecture: one that can stop for debugging brings its own codec.
  debug: codec('debug', 'KVM_EXIT_DEBUG', 4, undefined, () => ({ why: 'step' })),
  shutdown: codec('shutdown', 'KVM_EXIT_SHUTDOWN', 8, undefined, () => ({ why: '' })),
  'system-event': codec(
    'system-event',
    'KVM_EXIT_SYSTEM_EVENT',
    24,
    (e, v) => {
      v.setUint32(32, e.type, true);
      v.setUint32(36, e.data.length, true);
      for (const [i, d] of e.data.slice(0, 16).entries()) u64(v, 40 + 8 * i, d);
    },
    (v) => ({
      type: v.getUint32(32, true),
      data: Array.from({ length: Math.min(16, v.getUint32(36, true)) }, (_, i) =>
        v.getBigUint64(40 + 8 * i, true),
      ),
    }),
  ),
  'memory-fault': codec(
    'memory-fault',
    'KVM_EXIT_MEMORY_FAULT',
    39,
    (e, v) => {
      u64(v, 32, e.flags);
      u64(v, 40, e.gpa);
      u64(v, 48, e.size);
    },
    (v) => ({
      flags: v.getBigUint64(32, true),
      gpa: gpa(v.getBigUint64(40, true)),
      size: v.getBigUint64(48, true),
    }),
  ),
  'arm-nisv': codec(
    'arm-nisv',
    'KVM_EXIT_ARM_NISV',
    28,
    (e, v) => {
      u64(v, 32, e.esrIss);
      u64(v, 40, e.faultIpa);
    },
    (v) => ({ esrIss: v.getBigUint64(32, true), faultIpa: gpa(v.getBigUint64(40, true)) }),
  ),
  'internal-error': codec(
    'internal-error',
    'KVM_EXIT_INTERNAL_ERROR',
    17,
    (e, v) => {
      v.setUint32(32, e.suberror, true);
      v.setUint32(36, e.data.length, true);
      for (const [i, d] of e.data.slice(0, 16).entries()) u64(v, 40 + 8 * i, d);
    },
    (v) => ({
      suberror: v.getUint32(32, true),
      data: Array.from({ length: Math.min(16, v.getUint32(36, true)) }, (_, i) =>
        v.getBigUint64(40 + 8 * i, true),
      ),
    }),
  ),
  // A failure that filled nothing in: KVM_RUN cleared exit_reason before it entered the guest.
  'run-error': codec('run-error', 'KVM_EXIT_UNKNOWN', 0),
};

/** io.data_offset: the second page of the mapping (KVM_PIO_PAGE_OFFSET). */
const IO_DATA = 4096;

function put(v: DataView, at: number, size: number, x: number): void {
  for (let i = 0; i < size && at + i < v.byteLength; i++) v.setUint8(at + i, (x >>> (8 * i)) & 255);
}
function take(v: DataView, at: number, size: number): number {
  let x = 0;
  for (let i = size - 1; i >= 0; i--) x = x * 256 + (at + i < v.byteLength ? v.getUint8(at + i) : 0);
  return x;
}

/** Codec of an exit kind in this VM, core's or a plugin's; `undefined` for `budget`. */
export function exitCodec(vm: Pick<Vm, 'exitCodecs'>, kind: ExitKind): ExitCodec | undefined {
  return (
    vm.exitCodecs.get(kind) ??
    ((CORE_EXIT_CODECS as Partial<Record<ExitKind, unknown>>)[kind] as ExitCodec | undefined)
  );
}

/**
 * Writes exit_reason and payload of an exit into a kvm_run page.
 * @throws FaultyardError FY_EXIT_CODEC for a kind that no installed plugin declares.
 */
export function encodeExit(vm: Pick<Vm, 'exitCodecs' | 'knobs'>, e: Exit, run: DataView): void {
  const c = exitCodec(vm, e.kind);
  if (!c && e.kind !== 'budget') throw new FaultyardError('FY_EXIT_CODEC', { kind: e.kind });
  if (!c) return;
  run.setUint32(EXIT_REASON, c.number(vm.knobs), true);
  c.encode(e, run, vm.knobs);
}

/** Reads exit_reason and payload back; `undefined` for a number nobody here knows. */
export function decodeExit(
  vm: Pick<Vm, 'exitCodecs' | 'knobs'>,
  run: DataView,
): { readonly kind: ExitKind; readonly payload: unknown } | undefined {
  const n = run.getUint32(EXIT_REASON, true);
  const all = [...vm.exitCodecs.values(), ...(Object.values(CORE_EXIT_CODECS) as ExitCodec[])];
  const c = all.find((x) => x.number(vm.knobs) === n);
  return c && { kind: c.kind, payload: c.decode(run, vm.knobs) };
}
