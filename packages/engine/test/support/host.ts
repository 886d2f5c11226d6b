/** A host for tests: one memory, frames handed out from a chosen offset, tables below or above. */
import type { EngineHost } from '../../src/index.ts';

export interface TestHost extends EngineHost {
  readonly dv: DataView;
  readonly u8: Uint8Array;
  /** Frames that hold code now. */
  readonly code: Set<number>;
  /** Table bytes handed out and not taken back. */
  readonly tableBytes: number;
  frame(): number;
}

/** @param options size of the memory, offsets of the first frame and of the first table. */
export function testHost(options: { bytes?: number; framesAt?: number; tablesAt?: number } = {}): TestHost {
  const bytes = options.bytes ?? 32 << 20;
  const pages = bytes / 65536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const u8 = new Uint8Array(memory.buffer);
  const code = new Set<number>();
  const free = new Map<number, number[]>();
  let table = options.tablesAt ?? 4096;
  let frames = options.framesAt ?? 16 << 20;
  let held = 0;
  return {
    memory,
    dv: new DataView(memory.buffer),
    u8,
    code,
    get tableBytes() {
      return held;
    },
    allocTable(size, align = 16) {
      held += size;
      const again = free.get(size)?.pop();
      if (again !== undefined) {
        u8.fill(0, again, again + size);
        return again;
      }
      const at = Math.ceil(table / align) * align;
      table = at + size;
      return at;
    },
    freeTable(offset, size) {
      held -= size;
      const list = free.get(size) ?? [];
      list.push(offset);
      free.set(size, list);
    },
    setCode(frame, on) {
      if (on === code.has(frame)) throw new Error(`setCode(${frame}, ${on}) twice`);
      if (on) code.add(frame);
      else code.delete(frame);
    },
    frame() {
      frames += 4096;
      return frames - 4096;
    },
  };
}
