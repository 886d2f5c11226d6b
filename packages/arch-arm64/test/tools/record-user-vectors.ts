/**
 * Records what every case of `support/user-cases.ts` does on Linux for AArch64 under `qemu-aarch64`.
 * Run in this folder's package: `node --import tsx --conditions=@faultyard/source test/tools/record-user-vectors.ts`.
 */
import { writeFileSync } from 'node:fs';
import { runCBytes } from '@faultyard/testkit/oracle';
import { standardTable } from '../../src/isa/forms.ts';
import { userCases } from '../support/user-cases.ts';
import { type UserVector, writeVectors } from '../support/user-vectors.ts';
import { startState, type UserCase, type UserEnd, type UserResult } from '../support/user-world.ts';

/** Bytes of `struct request`, `struct reply` and `struct state` in user-oracle.c. */
const REQUEST = 40;
const REPLY = 16;
const STATE = 784;

const ENDS: Readonly<Record<number, UserEnd>> = { 4: 'ill', 5: 'done', 7: 'bus', 11: 'segv' };

function requests(cases: readonly UserCase[]): Buffer {
  const out = Buffer.alloc((REQUEST + STATE) * cases.length);
  for (const [i, c] of cases.entries()) {
    let at = i * (REQUEST + STATE);
    out.writeUInt32LE(c.words.length, at);
    for (const [k, w] of c.words.entries()) out.writeUInt32LE(w, at + 4 + 4 * k);
    at += REQUEST;
    const s = startState(c);
    for (const [n, value] of s.x.entries()) out.writeBigUInt64LE(value, at + 8 * n);
    out.writeBigUInt64LE(s.sp, at + 248);
    out.writeBigUInt64LE(s.pc, at + 256);
    out.writeBigUInt64LE(BigInt(s.nzcv), at + 264);
    out.set(s.v, at + 272);
  }
  return out;
}

function replies(out: Buffer, cases: readonly UserCase[]): UserVector[] {
  let at = 0;
  return cases.map((c) => {
    const end = ENDS[out.readUInt32LE(at)];
    if (!end) throw new Error(`${c.form}: unexpected signal ${out.readUInt32LE(at)}`);
    const s = at + REPLY;
    const state = {
      x: Array.from({ length: 31 }, (_, n) => out.readBigUInt64LE(s + 8 * n)),
      sp: out.readBigUInt64LE(s + 248),
      pc: out.readBigUInt64LE(s + 256),
      nzcv: out.readUInt32LE(s + 264),
      v: Uint8Array.from(out.subarray(s + 272, s + STATE)),
    };
    at = s + STATE;
    const window = new Map<number, number>();
    const changed = out.readUInt32LE(at);
    for (let k = 0; k < changed; k++) {
      const item = out.readUInt32LE(at + 4 + 4 * k);
      window.set(item >>> 8, item & 255);
    }
    at += 4 + 4 * changed;
    const result: UserResult = { end, state, window };
    return { case: c, result };
  });
}

const cases = userCases(standardTable());
// Neoverse N1: Armv8.2 with LSE and CRC32, 64-byte DC ZVA, neither SVE nor pointer authentication.
const said = runCBytes({
  source: new URL('./user-oracle.c', import.meta.url),
  target: 'aarch64',
  emulator: ['-cpu', 'neoverse-n1'],
  stdin: requests(cases),
  timeout: 300_000,
});
const vectors = replies(Buffer.from(said), cases);
const bytes = writeVectors(vectors);
const perForm = new Map<string, number>();
for (const c of cases) perForm.set(c.form, (perForm.get(c.form) ?? 0) + 1);
const report = [...perForm].map(([form, n]) => `${n}\t${form}`).join('\n');
writeFileSync(new URL('../data/user-vectors.report.tsv', import.meta.url), `instances\tform\n${report}\n`);
console.log(`${vectors.length} cases of ${perForm.size} forms, ${bytes} bytes`);
