/** What the engine needs from whoever owns the host's memory (core's HostMemory). */

/**
 * The host's one memory. It has its maximum size from the start and never grows; offsets are unsigned 32-bit
 * numbers, so it may be as large as 4 GiB - 64 KiB. Guest frames are 4 KiB, aligned, and never at offset 0.
 */
export interface EngineHost {
  readonly memory: WebAssembly.Memory;
  /**
   * Hands out `bytes` zeroed bytes for the engine's tables (vCPU blocks, predecoded pages).
   * @param align power of two, default 16.
   */
  allocTable(bytes: number, align?: number): number;
  /** Takes back what {@link allocTable} gave. */
  freeTable(offset: number, bytes: number): void;
  /**
   * Called when the frame (byte offset of its start) first holds predecoded code, and when it no longer does.
   * While it does, no write translation to it is cached; the engine sees to that for every vCPU of this host.
   */
  setCode(frame: number, on: boolean): void;
}

/** Views of a host's memory, made once. */
export interface HostViews {
  readonly dv: DataView;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
}

/** Makes the views. */
export function hostViews(memory: WebAssembly.Memory): HostViews {
  const b = memory.buffer;
  return { dv: new DataView(b), u8: new Uint8Array(b), u16: new Uint16Array(b), i32: new Int32Array(b) };
}

/** Bytes of a guest frame, and of a page of any fast translation. */
export const PAGE = 4096;
