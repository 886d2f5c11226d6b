/** The recorded cases: one line each, with only what differs from its seed's registers and from the start. */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { startState, type UserCase, type UserEnd, type UserResult, type UserState } from './user-world.ts';

const file = new URL('../data/user-vectors.txt.gz', import.meta.url);

/** A case with its recorded result. */
export interface UserVector {
  readonly case: UserCase;
  readonly result: UserResult;
}

const hex = (n: bigint | number): string => n.toString(16);
const vector = (v: Uint8Array, n: number): string =>
  Buffer.from(v.subarray(n * 16, n * 16 + 16)).toString('hex');

/** Writes vectors: `form` lines where the form changes, then `words seed given end changes` lines. */
export function writeVectors(all: readonly UserVector[]): number {
  const lines: string[] = [];
  let form = '';
  for (const { case: c, result } of all) {
    if (c.form !== form) lines.push(`= ${c.form}`);
    form = c.form;
    const given = [...c.given].map(([n, value]) => `${n}=${hex(value)}`).join(',');
    const head = [c.words.map(hex).join(','), hex(c.seed), given, result.end];
    lines.push([...head, ...changes(startState(c), result)].join(' '));
  }
  const packed = gzipSync(Buffer.from(`${lines.join('\n')}\n`, 'latin1'), { level: 9 });
  writeFileSync(file, packed);
  return packed.length;
}

function changes(from: UserState, { state: to, window }: UserResult): string[] {
  const out: string[] = [];
  for (let n = 0; n < 31; n++) if (from.x[n] !== to.x[n]) out.push(`x${n}=${hex(to.x[n] ?? 0n)}`);
  if (from.sp !== to.sp) out.push(`sp=${hex(to.sp)}`);
  out.push(`pc=${hex(to.pc - from.pc)}`);
  if (from.nzcv !== to.nzcv) out.push(`f=${hex(to.nzcv >>> 28)}`);
  for (let n = 0; n < 32; n++)
    if (vector(from.v, n) !== vector(to.v, n)) out.push(`v${n}=${vector(to.v, n)}`);
  let run = '';
  let start = -1;
  for (const [at, byte] of [...window].sort((a, b) => a[0] - b[0])) {
    if (start < 0 || at !== start + run.length / 2) {
      if (start >= 0) out.push(`m${hex(start)}=${run}`);
      start = at;
      run = '';
    }
    run += hex(byte).padStart(2, '0');
  }
  if (start >= 0) out.push(`m${hex(start)}=${run}`);
  return out;
}

/** The recorded vectors. */
export function readVectors(): UserVector[] {
  const out: UserVector[] = [];
  let form = '';
  for (const line of gunzipSync(readFileSync(file)).toString('latin1').trimEnd().split('\n')) {
    if (line.startsWith('= ')) form = line.slice(2);
    else out.push(parseLine(form, line));
  }
  return out;
}

function parseLine(form: string, line: string): UserVector {
  const [words = '', seed = '', given = '', end = '', ...rest] = line.split(' ');
  const c: UserCase = {
    form,
    words: words.split(',').map((w) => Number.parseInt(w, 16)),
    seed: Number.parseInt(seed, 16),
    given: new Map(
      given
        .split(',')
        .filter((g) => g)
        .map((g): [number, bigint] => {
          const [n = '', value = ''] = g.split('=');
          return [Number(n), BigInt(`0x${value}`)];
        }),
    ),
  };
  const state = startState(c);
  const window = new Map<number, number>();
  for (const change of rest) {
    const [name = '', value = ''] = change.split('=');
    const n = Number.parseInt(name.slice(1), name[0] === 'm' ? 16 : 10);
    if (name === 'sp') state.sp = BigInt(`0x${value}`);
    else if (name === 'pc')
      state.pc += value[0] === '-' ? -BigInt(`0x${value.slice(1)}`) : BigInt(`0x${value}`);
    else if (name === 'f') state.nzcv = (Number.parseInt(value, 16) << 28) >>> 0;
    else if (name[0] === 'x') state.x[n] = BigInt(`0x${value}`);
    else if (name[0] === 'v') state.v.set(Buffer.from(value, 'hex'), n * 16);
    else for (const [i, byte] of Buffer.from(value, 'hex').entries()) window.set(n + i, byte);
  }
  return { case: c, result: { end: end as UserEnd, state, window } };
}
