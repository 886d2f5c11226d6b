/** `help(x)`: finds what is meant, and prints what its documentation says. */
import { type AnyPlugin, isPlugin, type Vm } from '@faultyard/core';
import type { Architecture } from '../architectures/architecture.ts';
import type { Command } from '../commands/command.ts';
import { nearest, UserError } from '../errors.ts';
import type { Scenarios } from '../scenarios.ts';
import { isExit } from '../show/exits.ts';
import { PRINT, type PrintOptions } from '../show/text.ts';
import type { Doc } from './extract.ts';
import type { Library } from './library.ts';
import {
  capTopics,
  commandTopic,
  errorTopics,
  exitTopics,
  glossaryTopics,
  instructionTopics,
  knobTopics,
  opTopics,
  registerTopics,
  scenarioKnobTopics,
  scenarioTopic,
  type Topic,
} from './topics.ts';

/** Documentation, printed when it is a line's value. */
export class Help {
  readonly topics: readonly Topic[];

  constructor(topics: readonly Topic[]) {
    this.topics = topics;
  }

  /** The text without colours. */
  toString(): string {
    return this.render((text) => text);
  }

  private render(bold: (text: string) => string): string {
    return this.topics
      .map((t) =>
        [`${bold(t.title)}${t.tag ? `  (${t.tag})` : ''}`, ...t.lines.map((l) => (l ? `  ${l}` : ''))].join(
          '\n',
        ),
      )
      .join('\n\n');
  }

  [PRINT as never](_depth: number, options: PrintOptions): string {
    return this.render((text) => options.stylize(text, 'special'));
  }
}

/** What is asked about, and the machine at hand. */
export interface Question {
  readonly about: unknown;
  readonly vm: Vm | undefined;
}

/** Answers questions. */
export interface HelpDesk {
  /** @throws UserError when nothing is known under a name. */
  help(question: Question | undefined): Help;
  /** Every name that `help('…')` knows, for completion. */
  names(vm: Vm | undefined): readonly string[];
}

/** What the desk looks things up in. */
export interface DeskOptions {
  readonly library: Library;
  readonly commands: readonly Command[];
  readonly scenarios: Scenarios;
  readonly architectures: readonly Architecture[];
  /** Plugin values and factories of the loaded packages. */
  readonly plugins: () => readonly AnyPlugin[];
  /** The session's own functions and values, by name. */
  readonly globals: () => Readonly<Record<string, unknown>>;
}

const SESSION = 'SessionGlobals';

/** First sentence of a text, up to a colon or semicolon; what is in backticks or parentheses is kept whole. */
function firstSentence(text: string): string {
  const sentence = /^(?:`[^`]*`|\([^)]*\)|[^`(])*?[.:;](?=\s|$)/.exec(text)?.[0] ?? text;
  return sentence.replace(/\s+/g, ' ').replace(/[:;]$/, '.');
}

/** Opens the desk. */
export function openDesk(options: DeskOptions): HelpDesk {
  const { library, commands, scenarios } = options;

  const docTopic = (doc: Doc): Topic => {
    const short = doc.name.startsWith(`${SESSION}.`) ? doc.name.slice(SESSION.length + 1) : doc.name;
    const members = doc.kind === 'class' || doc.kind === 'interface' ? library.members(doc.name) : [];
    const width = Math.min(24, Math.max(0, ...members.map((m) => m.name.length - doc.name.length - 1)));
    const listed = members.map(
      (m) => `${m.name.slice(doc.name.length + 1).padEnd(width)}  ${firstSentence(m.text) || m.signature}`,
    );
    return {
      title: short,
      tag: doc.kind === 'member' ? '' : doc.kind,
      lines: [
        doc.signature,
        ...(doc.text ? ['', ...doc.text.split('\n')] : []),
        ...(listed.length > 0 ? ['', ...listed] : []),
      ],
    };
  };

  const overview = (): Topic => {
    const members = library.members(SESSION);
    return {
      title: 'Faultyard',
      tag: '',
      lines: [
        ...members.map((m) => `${m.name.slice(SESSION.length + 1).padEnd(10)} ${firstSentence(m.text)}`),
        '',
        'Commands, also with a dot in front of them in a session:',
        ...commands.map((c) => `${c.name.padEnd(10)} ${c.help}`),
        '',
        "help(x) explains any of these, an object, or a name: help('x0'), help('sea.walkRule'), help('arm-sea').",
      ],
    };
  };

  /** Plugins of the machine and of the packages, each once. */
  const pluginsFor = (vm: Vm | undefined): AnyPlugin[] => {
    const byName = new Map([...options.plugins(), ...(vm?.plugins ?? [])].map((p) => [p.def.name, p]));
    return [...byName.values()];
  };

  const pluginTopics = (plugin: AnyPlugin): Topic[] => {
    const { def } = plugin;
    const heading: Topic = { title: def.name, tag: 'plugin', lines: [def.summary ?? ''] };
    const kinds = Object.keys(def.exits ?? {});
    const operations = (def.ops ?? []).map((op) => op.name as string);
    return [
      heading,
      ...exitTopics([plugin], library).filter((t) => kinds.includes(t.title)),
      ...capTopics([plugin]),
      ...opTopics([plugin], library).filter((t) => operations.includes(t.title)),
      ...knobTopics([plugin]),
    ];
  };

  const byName = (name: string, vm: Vm | undefined): Topic[] => {
    const plugins = pluginsFor(vm);
    const plain = name.replace(/\(\)$/, '');
    const is = (t: Topic): boolean => t.title === plain || (t.names ?? []).includes(plain);
    const command = commands.find((c) => c.name === plain);
    const scenario = scenarios.find(plain);
    const plugin = plugins.find((p) => p.def.name === plain);
    const session = library.named(`${SESSION}.${plain}`);
    // what packages call the same is found by its owner's name
    const others = session.length > 0 ? [] : library.named(plain);
    return [
      ...session.map(docTopic),
      ...(command ? [commandTopic(command)] : []),
      ...(plugin ? pluginTopics(plugin) : []),
      ...(scenario ? [scenarioTopic(scenario, scenarios)] : []),
      ...registerTopics(vm).filter(is),
      ...instructionTopics(options.architectures, vm).filter(is),
      ...exitTopics(plugins, library).filter(is),
      ...capTopics(plugins).filter(is),
      ...opTopics(plugins, library).filter(is),
      ...knobTopics(plugins).filter(is),
      ...scenarioKnobTopics(scenarios, plugins).filter(is),
      ...errorTopics().filter(is),
      ...glossaryTopics(scenarios).filter(is),
      ...others.map(docTopic),
      ...memberOfMachine(plain).map(docTopic),
    ];
  };

  /** `vm.poison` and `cpu.run` mean the members of the classes behind them. */
  const memberOfMachine = (name: string): readonly Doc[] => {
    const [owner, member] = name.split('.');
    const type = { vm: 'Vm', cpu: 'Vcpu' }[owner ?? ''];
    return type && member
      ? [...library.named(`${type}.${member}`), ...library.named(`Arch${type}.${member}`)]
      : [];
  };

  const names = (vm: Vm | undefined): readonly string[] => {
    const plugins = pluginsFor(vm);
    const topics = [
      ...registerTopics(vm),
      ...instructionTopics(options.architectures, vm),
      ...exitTopics(plugins, library),
      ...capTopics(plugins),
      ...opTopics(plugins, library),
      ...knobTopics(plugins),
      ...scenarioKnobTopics(scenarios, plugins),
      ...errorTopics(),
    ];
    return [
      ...library.members(SESSION).map((m) => m.name.slice(SESSION.length + 1)),
      ...commands.map((c) => c.name),
      ...plugins.map((p) => p.def.name),
      ...scenarios.all.flatMap((s) => [s.id, ...s.aliases]),
      ...scenarios.glossary.map(([, word]) => word),
      ...topics.flatMap((t) => [t.title, ...(t.names ?? [])]),
      ...library.names().filter((n) => !n.startsWith(`${SESSION}.`)),
    ];
  };

  /** Whether a function is one of the session's own. */
  const isGlobal = (value: unknown): boolean =>
    Object.values(Object.getOwnPropertyDescriptors(options.globals())).some((d) => d.value === value);

  /** The name of a value that is not text: the global it is, its class, or its own name. */
  const nameOf = (value: object, vm: Vm | undefined): string[] => {
    const global = Object.entries(Object.getOwnPropertyDescriptors(options.globals())).find(
      ([, d]) => d.value === value,
    )?.[0];
    const member = [vm, vm?.vcpus[0]].flatMap((target) =>
      typeof value === 'function' && target ? memberName(target, value) : [],
    );
    const own = typeof value === 'function' ? [value.name] : classNames(value);
    return [...(global ? [global] : []), ...member, ...own].filter(Boolean);
  };

  return {
    names,
    help(question) {
      if (!question) return new Help([overview()]);
      const { about, vm } = question;
      if (typeof about === 'string') {
        const topics = byName(about, vm);
        if (topics.length > 0) return new Help(unique(topics));
        const near = nearest(about, names(vm));
        throw new UserError(
          `no help on ${JSON.stringify(about)}${near.length > 0 ? `; did you mean ${near.join(' or ')}?` : ''}\nhelp() lists what there is`,
        );
      }
      if (isExit(about)) return new Help(byName(about.kind, vm));
      if (isPlugin(about)) return new Help(pluginTopics(about));
      if ((typeof about !== 'object' && typeof about !== 'function') || about === null)
        throw new UserError(`help takes a function, an object or a name, not ${String(about)}`);
      const brought = typeof about === 'function' && !isGlobal(about) ? library.named(about.name) : [];
      if (brought.some((d) => d.kind === 'function')) return new Help(unique(brought.map(docTopic)));
      for (const name of nameOf(about, vm)) {
        const topics = byName(name, vm);
        if (topics.length > 0) return new Help(unique(topics));
      }
      throw new UserError(`no help on this ${typeof about}\nhelp() lists what there is`);
    },
  };
}

/** A topic shown once, even if two tables know it. */
function unique(topics: readonly Topic[]): Topic[] {
  return topics.filter(
    (t, i) => topics.findIndex((o) => o.title === t.title && o.lines.join() === t.lines.join()) === i,
  );
}

/** The constructors of an object, most derived first: `Memslots`. */
function classNames(value: object): string[] {
  const names: string[] = [];
  for (
    let p: unknown = Object.getPrototypeOf(value);
    p && p !== Object.prototype;
    p = Object.getPrototypeOf(p)
  ) {
    const name = (p as { constructor?: { name?: string } }).constructor?.name;
    if (name) names.push(name);
  }
  return [...new Set(names)];
}

/** `Vm.run` for the function that is the member `run` of a VM. */
function memberName(target: object, member: object): string[] {
  for (
    let p: object | null = target;
    p && p !== Object.prototype;
    p = Object.getPrototypeOf(p) as object | null
  )
    for (const [key, d] of Object.entries(Object.getOwnPropertyDescriptors(p)))
      if (d.value === member) return classNames(target).map((c) => `${c}.${key}`);
  return [];
}
