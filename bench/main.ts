/**
 * `npm run bench [-- [--json] [--quick] [group …]]`: groups are speed, cold, exits, snapshots. Every figure is the
 * median of at least five; figures that are compared with QEMU are measured in turns with it.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { coldImage, FUNCTIONS, offImage, runCold } from './cold.ts';
import { deviceImage, exitRates } from './exits.ts';
import { cpuClock, median, processClock } from './measure.ts';
import { memoryRows } from './memory.ts';
import { ok, type Row, table } from './report.ts';
import { checksum, qemuVersion, runGuest, runQemu, speedGuest, speedImage } from './speed.ts';

const { values: flags, positionals: wanted } = parseArgs({
  options: { json: { type: 'boolean', default: false }, quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const GROUPS = ['speed', 'cold', 'exits', 'snapshots'] as const;
for (const g of wanted)
  if (!(GROUPS as readonly string[]).includes(g)) {
    console.error(`no group "${g}"; there are ${GROUPS.join(', ')}`);
    process.exit(2);
  }
const ROUNDS = 5;
const clock = cpuClock();
const qemu = qemuVersion();
const directory = mkdtempSync(join(tmpdir(), 'faultyard-bench-'));
const rows: Row[] = [];
const say = (what: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`);
};

/** A file QEMU can load. */
function image(name: string, bytes: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
}
const off = image('off.bin', offImage());

function speed(): void {
  const scale = flags.quick ? 1 : 10;
  const images = speedGuest(directory);
  const guest = speedImage(images, scale);
  const ours: number[] = [];
  const theirs: number[] = [];
  const warm = runGuest(speedImage(images, 1).bytes, clock);
  const right = checksum(runGuest(guest.bytes, clock).text);
  for (let i = 0; i < ROUNDS; i++) {
    say(`speed ${i + 1}/${ROUNDS}`);
    const r = runGuest(guest.bytes, clock);
    if (checksum(r.text) !== right) throw new Error(`checksum ${checksum(r.text)}, then ${right}`);
    ours.push(r.instructions / r.ms / 1000);
    if (!qemu) continue;
    const q = runQemu(guest.path);
    if (checksum(q.text) !== right) throw new Error(`QEMU's checksum is ${checksum(q.text)}, ours ${right}`);
    theirs.push(r.instructions / (q.ms - runQemu(off).ms) / 1000);
  }
  const group = 'speed';
  rows.push({ group, name: 'guest, once warm', value: median(ours), unit: 'MIPS', note: images.origin });
  rows.push({
    group,
    name: 'guest, first 0.2 G instructions of the process',
    value: warm.instructions / warm.ms / 1000,
    unit: 'MIPS',
  });
  if (!qemu) return;
  rows.push({
    group,
    name: 'QEMU TCG, start-up taken off',
    value: median(theirs),
    unit: 'MIPS',
    note: `QEMU ${qemu}`,
  });
  const ratio = median(ours.map((m, i) => m / (theirs[i] ?? Number.NaN)));
  rows.push({
    group,
    name: 'of QEMU TCG',
    value: ratio,
    unit: '',
    wanted: { least: 0.27 },
    note: '0.30 aimed at',
  });
}

function cold(): void {
  const { bytes } = coldImage();
  const path = image('cold.bin', bytes);
  const per = 100_000 / (FUNCTIONS * 8);
  const ours: number[] = [];
  const theirs: number[] = [];
  runCold(bytes, clock);
  for (let i = 0; i < ROUNDS; i++) {
    say(`cold ${i + 1}/${ROUNDS}`);
    ours.push(runCold(bytes, clock).ms * per);
    if (qemu) theirs.push((runQemu(path).ms - runQemu(off).ms) * per);
  }
  const group = 'cold code';
  rows.push({ group, name: '100,000 blocks, each run once or twice', value: median(ours), unit: 'ms' });
  if (!qemu) return;
  rows.push({ group, name: 'QEMU TCG, start-up taken off', value: median(theirs), unit: 'ms' });
  const ratio = median(ours.map((t, i) => (theirs[i] ?? Number.NaN) / t));
  rows.push({ group, name: 'times as fast as QEMU TCG', value: ratio, unit: '', wanted: { least: 1 } });
}

function exits(): void {
  const group = 'exits';
  say(group);
  const rates = exitRates(clock, ROUNDS, flags.quick ? 200_000 : 1_000_000);
  for (const r of rates) {
    const limit = r.wanted === undefined ? {} : { wanted: { least: r.wanted } };
    rows.push({ group, name: r.name, value: r.perSecond, unit: r.unit, ...limit });
  }
  if (!qemu) return;
  const count = flags.quick ? 2_000_000 : 20_000_000;
  for (const [access, what] of [
    ['str', 'store'],
    ['ldr', 'load'],
  ] as const) {
    const path = image(`device-${access}.bin`, deviceImage(access, count));
    const theirs = median(
      Array.from({ length: ROUNDS }, (_, i) => {
        say(`QEMU, device ${what} ${i + 1}/${ROUNDS}`);
        return count / (runQemu(path).ms - runQemu(off).ms) / 1000;
      }),
    );
    const ours = rates.find((r) => r.name === `in-kernel device, ${what}, MMU off`)?.perSecond ?? Number.NaN;
    rows.push({
      group,
      name: `QEMU TCG, PL011 register ${what}, start-up taken off`,
      value: theirs,
      unit: 'M/s',
    });
    rows.push({ group, name: `in-kernel device ${what}, of QEMU TCG's`, value: ours / theirs, unit: '' });
  }
}

function snapshots(): void {
  say('snapshots');
  rows.push(...memoryRows(processClock, ROUNDS));
}

const chosen = { speed, cold, exits, snapshots };
try {
  for (const g of GROUPS) if (wanted.length === 0 || wanted.includes(g)) chosen[g]();
} finally {
  rmSync(directory, { recursive: true });
}
say('');
const machine = {
  node: process.version,
  cpu: cpus()[0]?.model ?? 'unknown',
  cpus: cpus().length,
  clock: clock.kind,
};
if (flags.json)
  console.log(JSON.stringify({ machine, rows: rows.map((r) => ({ ...r, ok: ok(r) })) }, undefined, 1));
else {
  console.log(
    `${machine.cpu} x ${machine.cpus}, Node ${machine.node}; medians of ${ROUNDS}, ${clock.kind} time (snapshots: of all threads)\n`,
  );
  console.log(table(rows));
  if (!qemu && (wanted.length === 0 || wanted.some((g) => g === 'speed' || g === 'cold')))
    console.log('\nNo ratios: qemu-system-aarch64 is not installed.');
}
