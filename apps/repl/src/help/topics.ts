/** What plugins, registers, commands and scenarios say about themselves, as topics of `help`. */
import { type AnyPlugin, ERROR_TABLE, type KnobDef, type Vm } from '@faultyard/core';
import type { Architecture, Instruction } from '../architectures/architecture.ts';
import type { Command } from '../commands/command.ts';
import type { ScenarioInfo, Scenarios } from '../scenarios.ts';
import type { Library } from './library.ts';

/** One answer of `help`. */
export interface Topic {
  readonly title: string;
  /** What kind of thing it is. */
  readonly tag: string;
  readonly lines: readonly string[];
  /** Other names under which it is found. */
  readonly names?: readonly string[];
}

/** What a knob can be set to. */
function valuesOf(knob: KnobDef): string {
  return (
    knob.values?.join(' · ') ?? (knob.range ? `${knob.range[0]}..${knob.range[1]}` : typeof knob.default)
  );
}

function knobTopic(owner: string, name: string, knob: KnobDef, tag: string): Topic {
  return {
    title: `${owner}.${name}`,
    names: [name],
    tag,
    lines: [knob.meaning, `values: ${valuesOf(knob)}   default: ${knob.default}`, `source: ${knob.source}`],
  };
}

/** Knobs: what they choose, between what, and who says so. */
export function knobTopics(plugins: readonly AnyPlugin[]): Topic[] {
  return plugins.flatMap(({ def }) =>
    Object.entries(def.knobs ?? {}).map(([name, knob]) => knobTopic(def.name, name, knob, 'knob')),
  );
}

/** Knobs that only scenarios have: what their guest, host or VMM does. */
export function scenarioKnobTopics(scenarios: Scenarios, plugins: readonly AnyPlugin[]): Topic[] {
  const own = new Set(knobTopics(plugins).map((t) => t.title));
  return scenarios.paths
    .flatMap((path) =>
      Object.entries(scenarios.knobs(path)).map(([name, knob]) =>
        knobTopic(path, name, knob, `knob of the scenarios of ${path}`),
      ),
    )
    .filter((t) => !own.has(t.title));
}

/** KVM's name of a thing of core, with which its documentation begins. */
function kvmName(doc: { readonly text: string }): string | undefined {
  return /^KVM_[A-Z0-9_]+(?=[ :])/.exec(doc.text)?.[0];
}

/** Exits: core's and the plugins', with KVM's names. */
export function exitTopics(plugins: readonly AnyPlugin[], library: Library): Topic[] {
  const kvm = new Map(
    plugins.flatMap(({ def }) =>
      Object.values(def.exits ?? {}).map((c) => [c.kind as string, c.name as string]),
    ),
  );
  return library.members('ExitMap').map((doc): Topic => {
    const kind = doc.name.slice('ExitMap.'.length);
    const name = kvm.get(kind) ?? kvmName(doc);
    return {
      title: kind,
      ...(name ? { names: [name] } : {}),
      tag: 'exit',
      // documentation begins with KVM's name and number where there are any
      lines: [
        ...(name && !doc.text.startsWith(name) ? [name] : []),
        ...doc.text.split('\n'),
        doc.signature,
      ].filter(Boolean),
    };
  });
}

/** Instructions by mnemonic: every syntax, with the manual's section. */
export function instructionTopics(architectures: readonly Architecture[], vm: Vm | undefined): Topic[] {
  return architectures.flatMap((arch): Topic[] => {
    if (vm && vm.arch.name !== arch.name) return [];
    const byMnemonic = new Map<string, Instruction[]>();
    for (const i of arch.instructions?.(vm) ?? [])
      byMnemonic.set(i.mnemonic, [...(byMnemonic.get(i.mnemonic) ?? []), i]);
    return [...byMnemonic].map(([mnemonic, all]) => ({
      title: mnemonic,
      names: [mnemonic.replace(/[<>]/g, ''), mnemonic.toUpperCase(), ...all.flatMap((i) => i.also ?? [])],
      tag: `instruction of ${arch.name}`,
      lines: all.map((i) => `${i.syntax.padEnd(44)}  ${i.ref}`),
    }));
  });
}

/** Capabilities, with KVM's names. */
export function capTopics(plugins: readonly AnyPlugin[]): Topic[] {
  return plugins.flatMap(({ def }) =>
    (def.caps ?? []).map((cap): Topic => {
      const defaults = Object.fromEntries(
        Object.entries(def.knobs ?? {}).map(([name, knob]) => [`${def.name}.${name}`, knob.default]),
      );
      const number = ` (${typeof cap.number === 'number' ? cap.number : cap.number(defaults)})`;
      const enabling = cap.enable ? `enabled per ${cap.enable}: vm.enableCap('${cap.name}')` : 'always on';
      return {
        title: cap.name,
        names: [cap.kvm],
        tag: 'capability',
        lines: [`${cap.kvm}${number}, ${enabling}`, cap.meaning],
      };
    }),
  );
}

/** Operations, with KVM's names and ioctl numbers. */
export function opTopics(plugins: readonly AnyPlugin[], library: Library): Topic[] {
  const kvm = new Map(plugins.flatMap(({ def }) => (def.ops ?? []).map((o) => [o.name as string, o])));
  return library.members('OpMap').map((doc): Topic => {
    const name = doc.name.slice('OpMap.'.length);
    const op = kvm.get(name);
    const called = op?.kvm ?? kvmName(doc);
    return {
      title: name,
      ...(called ? { names: [called] } : {}),
      tag: 'operation',
      lines: [
        ...(op ? [`${op.kvm} (0x${op.ioctl.toString(16)}), on a ${op.on}`] : []),
        ...doc.text.split('\n'),
        doc.signature,
      ].filter(Boolean),
    };
  });
}

/** Errors of the kernel: what they say and what to do. */
export function errorTopics(): Topic[] {
  return Object.entries(ERROR_TABLE).map(([code, { text, fix }]) => ({
    title: code,
    tag: 'error',
    lines: [text, `what to do: ${fix}`],
  }));
}

/** Registers of the machine at hand, with their fields. */
export function registerTopics(vm: Vm | undefined): Topic[] {
  return (vm?.vcpus[0]?.arch.registers ?? []).map((r): Topic => {
    const fields = (r.fields ?? []).map(
      ([name, high, low]) => `${name} ${high === low ? high : `${high}:${low}`}`,
    );
    return {
      title: r.name,
      tag: `${r.group} register, ${r.bits} bits${r.readOnly ? ', read-only' : ''}`,
      lines: [r.doc, ...(fields.length > 0 ? [`fields: ${fields.join(', ')}`] : [])],
    };
  });
}

/** An option and what it does, in columns. */
export function optionLine(name: string, about: string): string {
  return `  ${name.padEnd(26)} ${about}`;
}

/** A command with its options. */
export function commandTopic(command: Command): Topic {
  const about = Object.entries(command.about ?? {});
  const options = about.map(([name, text]) => optionLine(name, text));
  return { title: command.name, tag: 'command', lines: [command.usage, '', command.help, ...options] };
}

/** Columns and outcome codes of the decision tables. */
export function glossaryTopics(scenarios: Scenarios): Topic[] {
  return scenarios.glossary.map(([path, word, meaning]) => ({
    title: word,
    tag: `in the table of ${path}`,
    lines: [meaning],
  }));
}

/** A scenario with its story, and what it can be run with. */
export function scenarioTopic(s: ScenarioInfo, scenarios: Scenarios): Topic {
  const path = scenarios.paths.find((p) => s.id.startsWith(`${p}/`)) ?? '';
  const knobs = Object.entries(scenarios.knobs(path));
  return {
    title: s.id,
    tag: 'scenario',
    lines: [
      s.title,
      '',
      ...s.prose.split('\n'),
      '',
      `columns: ${s.columns.join(' ')}`,
      ...(s.entries.length > 1 ? [`rows: ${s.entries.join(' ')}`] : []),
      ...(s.aliases.length > 0 ? [`also: ${s.aliases.join(' ')}`] : []),
      ...(knobs.length > 0 ? ['', `knobs: run('${s.id}', { set: { <knob>: <value> } })`] : []),
      ...knobs.map(([name, knob]) => optionLine(name, `${valuesOf(knob)} (default ${knob.default})`)),
    ],
  };
}
