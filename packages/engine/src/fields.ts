/** The two kinds of {@link Fields}: loads from the record (interpreter), and constants (compiled code). */
import { SemanticsError } from './builder.ts';
import { const32, const64, extU } from './fold.ts';
import type { Fields, I32, I64, Slot } from './ir.ts';
import type { Isa, RecordField } from './isa.ts';
import type { FieldNode, Node } from './node.ts';
import { Mem } from './wasm/op.ts';

const field32 = (at: number, op: number): FieldNode => ({ kind: 'field', ty: 'i32', at, op });

function find(isa: Isa, name: string): RecordField {
  const f = isa.fields[name];
  if (!f) throw new SemanticsError(`${isa.name}: no record field "${name}"`);
  return f;
}

/** Fields that are read from the record when the handler runs. */
export function recordFields(isa: Isa): Fields {
  const low = (f: RecordField): Node =>
    field32(f.at, f.ty === 'u8' ? Mem.i32load8u : f.ty === 'u16' ? Mem.i32load16u : Mem.i32load);
  return {
    slot: (name) => ({ at: find(isa, name).at }) as unknown as Slot,
    i32: (name) => low(find(isa, name)) as unknown as I32,
    i64: (name) => {
      const f = find(isa, name);
      const n: Node = f.ty === 'i64' ? { kind: 'field', ty: 'i64', at: f.at, op: Mem.i64load } : extU(low(f));
      return n as unknown as I64;
    },
    hi32: (name) => {
      const f = find(isa, name);
      return (f.ty === 'i64' ? field32(f.at + 4, Mem.i32load) : const32(0)) as unknown as I32;
    },
  };
}

/** Fields with the values the record at byte `rec` of `dv` has now. */
export function constantFields(isa: Isa, dv: DataView, rec: number): Fields {
  const low = (f: RecordField): number => {
    const at = rec + f.at;
    return f.ty === 'u8' ? dv.getUint8(at) : f.ty === 'u16' ? dv.getUint16(at, true) : dv.getInt32(at, true);
  };
  const high = (f: RecordField): number => (f.ty === 'i64' ? dv.getInt32(rec + f.at + 4, true) : 0);
  return {
    slot: (name) => low(find(isa, name)),
    i32: (name) => const32(low(find(isa, name))) as unknown as I32,
    i64: (name) => const64(low(find(isa, name)), high(find(isa, name))) as unknown as I64,
    hi32: (name) => const32(high(find(isa, name))) as unknown as I32,
  };
}
