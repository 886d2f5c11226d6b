/** The tables that READMEs and docs hold, made from the data of the packages. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as arm64Package from '@faultyard/arch-arm64';
import * as x86Package from '@faultyard/arch-x86';
import {
  type AnyPlugin,
  CORE_EXIT_CODECS,
  createVm,
  ERROR_TABLE,
  type ExitCodec,
  type Vm,
} from '@faultyard/core';
import { mce } from '@faultyard/plugin-mce';
import { scenarios as mceScenarios } from '@faultyard/plugin-mce/scenarios';
import { sea } from '@faultyard/plugin-sea';
import { scenarios } from '@faultyard/plugin-sea/scenarios';
import type { ScenarioInfo } from '@faultyard/testkit';
import { members } from './members.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const source = (path: string): string => join(root, 'packages', path);

const { arm64 } = arm64Package;
const { x86 } = x86Package;
const made: Record<string, Vm> = {};
/** A VM of an architecture with everything in it. */
function vm(arch: 'arm64' | 'x86' = 'arm64'): Vm {
  made[arch] ??= (arch === 'arm64'
    ? createVm({ arch: arm64(), plugins: [sea()], memslots: [] })
    : createVm({ arch: x86(), plugins: [mce()], memslots: [] })) as unknown as Vm;
  return made[arch];
}

/** Sources below a folder of `packages/`. */
const below = (path: string): readonly string[] =>
  readdirSync(source(path), { recursive: true, encoding: 'utf8' })
    .filter((p) => p.endsWith('.ts'))
    .sort()
    .map((p) => `${path}/${p}`);

const code = (text: string): string => `\`${text}\``;
/** A doc comment without KVM's name and number in front, which have columns of their own. */
const ownWords = (doc: string): string => doc.replace(/^KVM_[A-Z0-9_]+(?: \(\d+\))?[:;,]? /, '');
const cell = (text: string): string => text.replaceAll('|', '\\|').replace(/\s+/g, ' ');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

function exits(codecs: Readonly<Record<string, ExitCodec | undefined>>, path: string): string {
  const rows = members(source(path), 'ExitMap').map(({ name, doc, fields }) => {
    const codec = codecs[name];
    const number = codec ? String(codec.number(vm().knobs)) : '';
    return [code(name), codec?.name ?? 'none', number, fields.map(code).join(' ') || 'none', ownWords(doc)];
  });
  return table(['exit', "KVM's name", 'number', 'payload', 'meaning'], rows);
}

/** Operations by name; the first file of `paths` that documents one counts. */
function ops(names: (name: string) => boolean, paths: readonly string[], of: Vm = vm()): string {
  const found = paths.flatMap((path) => members(source(path), 'OpMap').map((m) => [m.name, m.doc] as const));
  const docs = new Map(found.reverse());
  const rows = of.ops.all
    .filter((op) => names(op.name))
    .map((op) => [
      code(op.name),
      op.kvm,
      `0x${op.ioctl.toString(16)}`,
      op.on,
      ownWords(docs.get(op.name) ?? ''),
    ]);
  return table(['operation', 'ioctl', 'number', 'on', 'meaning'], rows);
}

function caps({ def }: AnyPlugin): string {
  const rows = (def.caps ?? []).map((c) => {
    const number = typeof c.number === 'number' ? c.number : c.number(vm().knobs);
    return [code(c.name), c.kvm, String(number), c.enable ?? 'always on', c.meaning];
  });
  return table(['capability', "KVM's name", 'number', 'enabled per', 'meaning'], rows);
}

function knobs({ def }: AnyPlugin): string {
  const rows = Object.entries(def.knobs ?? {}).map(([name, k]) => {
    const values = (k.values ?? []).map((v) => (v === k.default ? `**${v}**` : String(v)));
    return [code(name), values.join(', '), k.meaning, k.source];
  });
  return table(['knob', 'values, **default**', 'what it chooses', 'source'], rows);
}

/** What the cells hold, for a reader of a snapshot. */
const HOLDS: Readonly<Record<string, string>> = {
  'arm64.registers': 'x0 to x30, v0 to v31, pc, PSTATE and the system registers',
  'arm64.exclusive': 'the local exclusive monitor: address, size and value of the last load-exclusive',
  'arm64.control':
    'power state, WFI, interrupt lines, pending SErrors and events, completion of a device access, the fault KVM saved',
  'arm64.tlb': 'the architectural TLB, stale entries included',
  'arm64.presented': 'an abort that a lab presented and that was not taken yet',
  'arm64.stage2-tables': 'stage 2 table pages that are bad',
  'x86.registers':
    'general and segment registers with their hidden parts, RIP, RFLAGS, CPL, XMM, control, debug and system-call registers',
  'x86.x87': 'x87 and MMX registers, MXCSR',
  'x86.cpuid': 'CPUID entries as KVM_SET_CPUID2 left them',
  'x86.control':
    'HLT and MP state, TSC frequency, microcode revision, intercepts and guard bits of plugins, an open MSR exit',
  'x86.tlb': 'the architectural TLB, stale entries included',
  'x86.events': 'pending and injected events, interrupt shadow, NMI blocking, SMM, a pending triple fault',
  'x86.msrs': 'MSRs that are not among the registers, by name',
  'x86.ports': 'a port access that userspace has not answered, elements of INS read ahead',
  'x86.emulator': 'device accesses of the instruction that KVM emulates',
  'x86.msr-filter': 'KVM_X86_SET_MSR_FILTER',
  'x86.apic': 'the local APIC with its timer; null without interrupt controllers in the kernel',
  'x86.irqchip': 'I/O APIC, 8259, 8254; null without them in the kernel',
  'mce.banks': 'machine-check banks, MCG_* registers, HWCR and FEAT_CTL',
  'sea.claims': 'what host firmware did about errors so far',
};

function cells(plugin: string, of: Vm = vm()): string {
  const rows = [...of.cells.values()]
    .filter((c) => c.name.startsWith(`${plugin}.`))
    .map((c) => {
      const [name = '', vcpu] = c.name.split('#');
      const holds = HOLDS[name];
      if (holds === undefined) throw new Error(`say in scripts/tables/tables.ts what cell ${name} holds`);
      return [code(name), vcpu === undefined ? 'VM' : 'vCPU', String(c.version), holds];
    });
  return table(['cell', 'one per', 'version', 'holds'], rows);
}

/** Events that some package emits. */
function events(): string {
  const packages = readdirSync(join(root, 'packages')).flatMap((name) =>
    readdirSync(source(`${name}/src`), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => readFileSync(source(`${name}/src/${path}`), 'utf8')),
  );
  const emitted = (name: string): boolean =>
    packages.some((text) => new RegExp(`\\.emit\\(\\{\\s*name: '${name}'`).test(text));
  const rows = members(source('core/src/trace.ts'), 'TraceMap')
    .filter((m) => emitted(m.name))
    .map((m) => [code(m.name), m.fields.map(code).join(' '), m.doc]);
  return table(['event', 'payload', 'meaning'], rows);
}

/** The doc comment above an exported constant, on one line; the files are looked through in order. */
function constantDoc(paths: readonly string[], name: string): string {
  const path = paths.find((p) => readFileSync(source(p), 'utf8').includes(`export const ${name}:`));
  if (path === undefined) throw new Error(`no file of ${paths.join(' ')} exports ${name}`);
  const text = readFileSync(source(path), 'utf8');
  const doc =
    new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*)\\*/\\s*export const ${name}\\b`).exec(text)?.[1] ?? '';
  return doc
    .replace(/^\s*\*/gm, '')
    .replace(/\{@link ([^}]+)\}/g, '`$1`')
    .replace(/\s+/g, ' ')
    .trim();
}

function points(exported: Readonly<Record<string, unknown>>, paths: readonly string[]): string {
  const sorted = Object.entries(exported).sort(([a], [b]) => (a < b ? -1 : 1));
  const rows = sorted.flatMap(([name, value]) => {
    const point = value as { readonly id?: unknown; readonly combine?: unknown } | null;
    return typeof point === 'object' && typeof point?.combine === 'function' && typeof point.id === 'string'
      ? [[code(point.id), code(name), constantDoc(paths, name)]]
      : [];
  });
  return table(['point', 'export', 'what it asks'], rows);
}

function errors(): string {
  const shown = (text: string): string => text.replace(/\{(\w+)\}/g, '*$1*');
  const rows = Object.entries(ERROR_TABLE).map(([id, { text, fix }]) => [code(id), shown(text), shown(fix)]);
  return table(['code', 'what it says', 'what to do'], rows);
}

function scenarioTable(all: readonly ScenarioInfo[]): string {
  const rows = all.map((s) => [code(s.id), s.aliases.map(code).join(' '), s.title]);
  return table(['scenario', 'also', 'what it shows'], rows);
}

/** Every table by its name. */
export const TABLES: Readonly<Record<string, () => string>> = {
  'core.exits': () => exits(CORE_EXIT_CODECS as never, 'core/src/exit.ts'),
  'core.ops': () => {
    const own = new Set(members(source('core/src/op.ts'), 'OpMap').map((m) => m.name));
    return ops((name) => own.has(name), ['core/src/op.ts']);
  },
  'core.errors': errors,
  'core.trace': events,
  'arm64.caps': () => caps(arm64()),
  'arm64.ops': () => {
    const own = new Set((arm64().def.ops ?? []).map((op) => op.name as string));
    return ops((name) => own.has(name), ['arch-arm64/src/events/events.ts']);
  },
  'arm64.points': () => points(arm64Package, below('arch-arm64/src')),
  'arm64.cells': () => cells('arm64'),
  'x86.exits': () => exits(x86().def.exits as never, 'arch-x86/src/msr/exits.ts'),
  'x86.caps': () => caps(x86()),
  'x86.ops': () => {
    const own = new Set((x86().def.ops ?? []).map((op) => op.name as string));
    return ops((name) => own.has(name), [...below('arch-x86/src'), 'core/src/op.ts'], vm('x86'));
  },
  'x86.points': () => points(x86Package, below('arch-x86/src')),
  'x86.cells': () => cells('x86', vm('x86')),
  'sea.exits': () => exits(sea().def.exits as never, 'plugin-sea/src/exit.ts'),
  'sea.caps': () => caps(sea()),
  'sea.knobs': () => knobs(sea()),
  'sea.cells': () => cells('sea'),
  'sea.scenarios': () => scenarioTable(scenarios.scenarios),
  'mce.caps': () => caps(mce()),
  'mce.ops': () => {
    const own = new Set((mce().def.ops ?? []).map((op) => op.name as string));
    return ops((name) => own.has(name), ['plugin-mce/src/ops.ts'], vm('x86'));
  },
  'mce.knobs': () => knobs(mce()),
  'mce.cells': () => cells('mce', vm('x86')),
  'mce.scenarios': () => scenarioTable(mceScenarios.scenarios),
};
