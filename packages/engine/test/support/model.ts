/** Reference model of the mini instruction set: one instruction at a time, in BigInt, straight from its description. */
import { names } from './mini.ts';

const M64 = (v: bigint): bigint => BigInt.asUintN(64, v);
const S64 = (v: bigint): bigint => BigInt.asIntN(64, v);
const PAGE = 4096n;

/** Memory by page number: writable or not. */
export interface ModelPage {
  readonly bytes: Uint8Array;
  readonly writable: boolean;
}
export type Outcome = 'ok' | 'fault' | 'slow' | 'guard';

export class Model {
  pc = 0n;
  readonly x: bigint[] = Array.from({ length: 16 }, () => 0n);
  readonly v: Uint8Array[] = Array.from({ length: 16 }, () => new Uint8Array(16));
  last = 0n;
  carry = 0n;
  cold = 0n;
  readonly pages: Map<bigint, ModelPage> = new Map();
  slowOp = 0;
  guards = 0;

  #byte(at: bigint, write: boolean): [Uint8Array, number] | undefined {
    const p = this.pages.get(M64(at) / PAGE);
    return p && (!write || p.writable) ? [p.bytes, Number(M64(at) % PAGE)] : undefined;
  }
  read(at: bigint, n: number): bigint | undefined {
    let v = 0n;
    for (let i = n - 1; i >= 0; i--) {
      const b = this.#byte(at + BigInt(i), false);
      if (!b) return undefined;
      v = v * 256n + BigInt(b[0][b[1]] ?? 0);
    }
    return v;
  }
  write(at: bigint, n: number, v: bigint): boolean {
    for (let i = 0; i < n; i++) if (!this.#byte(at + BigInt(i), true)) return false;
    for (let i = 0; i < n; i++) {
      const b = this.#byte(at + BigInt(i), true);
      if (b) b[0][b[1]] = Number((v / 256n ** BigInt(i)) % 256n);
    }
    return true;
  }
  /** Runs one instruction; anything but `ok` changes nothing. */
  step(): Outcome {
    if (this.pc % 4n !== 0n) return 'fault';
    const code = this.read(this.pc, 4);
    if (code === undefined) return 'fault';
    const w = Number(code);
    const name = names[w & 255] ?? 'undefined';
    const [a, b, c] = [(w >>> 8) & 15, (w >>> 16) & 15, (w >>> 24) & 15];
    const imm = BigInt(w >> 24);
    const off = BigInt(w >> 16) * 4n;
    const x = this.x;
    const X = (i: number): bigint => x[i] ?? 0n;
    const next = M64(this.pc + 4n);
    let to = next;
    const put = (i: number, v: bigint): void => {
      x[i] = M64(v);
    };
    const mem = /^(ld|st|rmw)([1248])$/.exec(name);
    if (mem) {
      const n = Number(mem[2]);
      if (mem[1] === 'ld') {
        const v = this.read(M64(X(b) + imm), n);
        if (v === undefined) return 'fault';
        put(a, v);
      } else if (mem[1] === 'st') {
        if (!this.write(M64(X(b) + imm), n, X(a))) return 'fault';
      } else {
        const v = this.read(X(b), n);
        if (v === undefined || !this.write(X(b), n, BigInt.asUintN(8 * n, v + X(c)))) return 'fault';
        put(a, v);
      }
      this.pc = to;
      return 'ok';
    }
    switch (name) {
      case 'undefined':
        this.slowOp = 0xdead;
        return 'slow';
      case 'slow':
        this.slowOp = 7;
        return 'slow';
      case 'guard':
        if (this.guards & 8) return 'guard';
        put(a, 1n);
        break;
      case 'addi':
        put(a, X(b) + imm);
        break;
      case 'add':
        put(a, X(b) + X(c));
        break;
      case 'mul':
        put(a, X(b) * X(c));
        break;
      case 'xor':
        put(a, X(b) ^ X(c));
        break;
      case 'rotr': {
        const n = X(c) % 64n;
        put(a, X(b) / 2n ** n + X(b) * 2n ** (64n - n));
        break;
      }
      case 'mulhu':
        put(a, (X(b) * X(c)) / 2n ** 64n);
        break;
      case 'mulhs':
        put(a, M64((S64(X(b)) * S64(X(c)) - M64(S64(X(b)) * S64(X(c)))) / 2n ** 64n));
        break;
      case 'cmp':
        this.last = M64(X(b) - X(c));
        this.carry = X(b) >= X(c) ? 1n : 0n;
        break;
      case 'flags':
        put(a, this.last ^ this.carry);
        break;
      case 'count':
        this.cold = M64(this.cold + 1n);
        break;
      case 'pc':
        put(a, this.pc + next * 256n);
        break;
      case 'lds2': {
        const v = this.read(X(b), 2);
        if (v === undefined) return 'fault';
        put(a, BigInt.asIntN(16, v));
        break;
      }
      case 'ldal8': {
        const v = X(b) % 8n === 0n ? this.read(X(b), 8) : undefined;
        if (v === undefined) return 'fault';
        put(a, v);
        break;
      }
      case 'ldal4': {
        const v = X(b) % 4n === 0n ? this.read(X(b), 16) : undefined;
        if (v === undefined) return 'fault';
        put(a, M64(v) + (v / 2n ** 64n) * 3n);
        break;
      }
      case 'ldpost': {
        const at = X(b);
        const v = this.read(at, 8);
        if (v === undefined) return 'fault';
        put(b, at + imm);
        put(a, v);
        break;
      }
      case 'stpost': {
        const at = X(b);
        if (!this.write(at, 8, X(a))) return 'fault';
        put(b, at + imm);
        break;
      }
      case 'ldp': {
        const v = this.read(X(b), 16);
        if (v === undefined) return 'fault';
        put(a, v);
        put(c, v / 2n ** 64n);
        break;
      }
      case 'stp':
        if (!this.write(X(b), 16, X(a) + X(c) * 2n ** 64n)) return 'fault';
        break;
      case 'st4x4': {
        const lane = (v: bigint, i: bigint): bigint => BigInt.asUintN(32, v) * 2n ** (32n * i);
        if (!this.write(X(b), 16, lane(X(a), 0n) + lane(1n, 1n) + lane(X(c), 2n) + lane(2n, 3n)))
          return 'fault';
        break;
      }
      case 'ldother': {
        const v = this.read(X(b), 8);
        if (v === undefined) return 'fault';
        put(a, v);
        break;
      }
      case 'elem': {
        const [d, s] = [this.v[a], this.v[b]].map((u) => new DataView((u ?? new Uint8Array(16)).buffer));
        d?.setUint32(8, s?.getUint32(4, true) ?? 0, true);
        d?.setBigUint64(0, M64((s?.getBigUint64(8, true) ?? 0n) + 7n), true);
        break;
      }
      case 'tov':
        new DataView((this.v[a] ?? new Uint8Array(16)).buffer).setBigUint64(4, X(b), true);
        break;
      case 'abs':
        put(a, S64(X(b)) < 0n ? -X(b) : X(b));
        break;
      case 'b':
        to = M64(this.pc + off);
        break;
      case 'bl':
        put(15, next);
        to = M64(this.pc + off);
        break;
      case 'bz':
        if (X(a) === 0n) to = M64(this.pc + off);
        break;
      case 'bnz':
        if (X(a) !== 0n) to = M64(this.pc + off);
        break;
      case 'br':
        to = X(a);
        break;
      case 'nop':
        break;
      default:
        throw new Error(`the model does not know ${name}`);
    }
    this.pc = to;
    return 'ok';
  }
  /** As {@link Machine.state} prints it. */
  state(): string {
    const parts = [`pc=${this.pc.toString(16)}`, ...this.x.map((v) => v.toString(16))];
    for (const v of this.v) {
      const d = new DataView(v.buffer);
      parts.push(d.getBigUint64(0, true).toString(16), d.getBigUint64(8, true).toString(16));
    }
    return [...parts, ...[this.last, this.carry, this.cold].map((v) => v.toString(16))].join(' ');
  }
  memory(): number {
    let h = 0x811c9dc5;
    for (const p of this.pages.values()) for (const b of p.bytes) h = Math.imul(h ^ b, 0x01000193);
    return h >>> 0;
  }
}
