/**
 * `npm run bench [-- [--json] [--quick] [--arch arm64|x86] [--plugin file] [group …]]`: groups are speed, cold, exits,
 * snapshots. Every figure is the median of at least five; figures that are compared with QEMU are measured in turns with
 * it. `--plugin` (with `--arch`): a module whose plugins are installed, idle, beside the speed guest; what they cost.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type AnyPlugin, isPlugin } from '@faultyard/core';
import { arm64Subject } from './arm64.ts';
import { BLOCKS_PER_FUNCTION, FUNCTIONS } from './cold.ts';
import { exitRates } from './exits.ts';
import { cpuClock, median, processClock } from './measure.ts';
import { memoryRows } from './memory.ts';
import { qemuVersion, runQemu } from './qemu.ts';
import { ok, type Row, table } from './report.ts';
import { checksum, speedGuest, speedImage } from './speed.ts';
import type { Subject } from './subject.ts';
import { x86Subject } from './x86.ts';

const { values: flags, positionals: wanted } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    arch: { type: 'string' },
    plugin: { type: 'string' },
  },
  allowPositionals: true,
});
const GROUPS = ['speed', 'cold', 'exits', 'snapshots'] as const;
for (const g of wanted)
  if (!(GROUPS as readonly string[]).includes(g)) {
    console.error(`no group "${g}"; there are ${GROUPS.join(', ')}`);
    process.exit(2);
  }
const subjects = [arm64Subject, x86Subject].filter((s) => flags.arch === undefined || s.tag === flags.arch);
if (subjects.length === 0) {
  console.error(`no architecture "${flags.arch}"; there are arm64, x86`);
  process.exit(2);
}
if (flags.plugin !== undefined && subjects.length !== 1) {
  console.error('--plugin wants --arch: a plugin is made for one');
  process.exit(2);
}
const ROUNDS = 5;
const clock = cpuClock();
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
/** QEMU for a subject: its version, and milliseconds of an image with the start-up taken off; `undefined` if absent. */
function qemuOf(s: Subject): { version: string; ms(path: string): number; text(): string } | undefined {
  const version = qemuVersion(s);
  if (version === undefined) return undefined;
  const off = image(`off-${s.tag}.bin`, s.off());
  let text = '';
  const ms = (path: string): number => {
    const r = runQemu(s, path);
    text = r.text;
    return r.ms - runQemu(s, off).ms;
  };
  return { version, ms, text: () => text };
}

function speed(s: Subject): void {
  const qemu = qemuOf(s);
  const scale = flags.quick ? 1 : 10;
  const images = speedGuest(s, directory);
  const guest = speedImage(s, images, scale);
  const ours: number[] = [];
  const theirs: number[] = [];
  const warm = s.run(speedImage(s, images, 1).bytes, clock);
  const right = checksum(s.run(guest.bytes, clock).text);
  for (let i = 0; i < ROUNDS; i++) {
    say(`${s.name} speed ${i + 1}/${ROUNDS}`);
    const r = s.run(guest.bytes, clock);
    if (checksum(r.text) !== right) throw new Error(`checksum ${checksum(r.text)}, then ${right}`);
    ours.push(r.instructions / r.ms / 1000);
    if (!qemu) continue;
    theirs.push(r.instructions / qemu.ms(guest.path) / 1000);
    const sum = checksum(qemu.text());
    if (sum !== right) throw new Error(`QEMU's checksum is ${sum}, ours ${right}`);
  }
  const group = `${s.name} speed`;
  const row = (name: string, value: number, unit: string, more: Partial<Row> = {}): void => {
    rows.push({ group, name, value, unit, ...more });
  };
  row('guest, once warm', median(ours), 'MIPS', { note: images.origin });
  row('guest, first 0.2 G instructions of the process', warm.instructions / warm.ms / 1000, 'MIPS');
  if (!qemu) return;
  row('QEMU TCG, start-up taken off', median(theirs), 'MIPS', { note: `QEMU ${qemu.version}` });
  const ratio = median(ours.map((m, i) => m / (theirs[i] ?? Number.NaN)));
  const { note } = s.wanted;
  row('of QEMU TCG', ratio, '', { wanted: { least: s.wanted.ratio }, ...(note ? { note } : {}) });
}

/** The speed guest with plugins installed that nothing uses, in turns with it alone. */
async function idle(s: Subject, path: string): Promise<void> {
  const found = (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>;
  const plugins = Object.values(found).filter(isPlugin);
  if (plugins.length === 0) throw new Error(`${path} exports no plugin`);
  const guest = speedImage(s, speedGuest(s, directory), 1);
  const mips = (with_: readonly AnyPlugin[]): number => {
    const r = s.run(guest.bytes, clock, with_);
    return r.instructions / r.ms / 1000;
  };
  mips(plugins);
  mips([]);
  const ratios = Array.from({ length: 2 * ROUNDS + 1 }, (_, i) => {
    say(`${s.name} idle plugins ${i + 1}/${2 * ROUNDS + 1}`);
    return i % 2 ? 1 / (mips([]) / mips(plugins)) : mips(plugins) / mips([]);
  });
  const name = `guest with ${plugins.map((p) => p.def.name).join(', ')} installed and idle, of it alone`;
  rows.push({ group: `${s.name} speed`, name, value: median(ratios), unit: '', wanted: { least: 0.98 } });
}

function cold(s: Subject): void {
  const qemu = qemuOf(s);
  const bytes = s.cold();
  const path = image(`cold-${s.tag}.bin`, bytes);
  const per = 100_000 / (FUNCTIONS * BLOCKS_PER_FUNCTION);
  const ours: number[] = [];
  const theirs: number[] = [];
  s.run(bytes, clock);
  for (let i = 0; i < ROUNDS; i++) {
    say(`${s.name} cold ${i + 1}/${ROUNDS}`);
    ours.push(s.run(bytes, clock).ms * per);
    if (qemu) theirs.push(qemu.ms(path) * per);
  }
  const group = `${s.name} cold code`;
  rows.push({ group, name: '100,000 blocks, each run once or twice', value: median(ours), unit: 'ms' });
  if (!qemu) return;
  rows.push({ group, name: 'QEMU TCG, start-up taken off', value: median(theirs), unit: 'ms' });
  const ratio = median(ours.map((t, i) => (theirs[i] ?? Number.NaN) / t));
  rows.push({ group, name: 'times as fast as QEMU TCG', value: ratio, unit: '', wanted: { least: 1 } });
}

function exits(s: Subject): void {
  const group = `${s.name} exits`;
  say(group);
  const rates = exitRates(s, clock, ROUNDS, flags.quick ? 200_000 : 1_000_000);
  for (const r of rates) {
    const limit = r.wanted === undefined ? {} : { wanted: { least: r.wanted } };
    rows.push({ group, name: r.name, value: r.perSecond, unit: r.unit, ...limit });
  }
  const qemu = qemuOf(s);
  if (!qemu) return;
  const count = flags.quick ? 2_000_000 : 20_000_000;
  for (const access of s.accesses) {
    const { image: bytes, name } = s.theirDevice(access, count);
    const path = image(`device-${s.tag}.bin`, bytes);
    const each = Array.from({ length: ROUNDS }, (_, i) => {
      say(`${s.name} QEMU, ${access.name} ${i + 1}/${ROUNDS}`);
      return count / qemu.ms(path) / 1000;
    });
    const theirs = median(each);
    const ours = rates.find((r) => r.access === access)?.perSecond ?? Number.NaN;
    const what = `QEMU TCG, ${name}, ${access.name}, start-up taken off`;
    rows.push({ group, name: what, value: theirs, unit: 'M/s' });
    rows.push({ group, name: `in-kernel, ${access.name}, of QEMU TCG's`, value: ours / theirs, unit: '' });
  }
}

function snapshots(): void {
  say('snapshots');
  rows.push(...memoryRows(processClock, ROUNDS));
}

const chosen = { speed, cold, exits };
const asked = (g: string): boolean => wanted.length === 0 || wanted.includes(g);
try {
  for (const s of subjects) for (const g of GROUPS) if (g !== 'snapshots' && asked(g)) chosen[g](s);
  if (flags.plugin !== undefined) await idle(subjects[0] as Subject, flags.plugin);
  if (asked('snapshots')) snapshots();
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
  for (const s of subjects)
    if (qemuVersion(s) === undefined && (asked('speed') || asked('cold')))
      console.log(`\nNo ratios for ${s.name}: ${s.qemu.binary} is not installed.`);
}
