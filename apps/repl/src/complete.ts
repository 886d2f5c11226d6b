/** Completion where node:repl cannot know: names inside `help('…')`, and scenarios, events, groups in calls that take them. */
import type { Vm } from '@faultyard/core';
import type { HelpDesk } from './help/desk.ts';

/** Completions of the text left of the cursor, and the part of it they replace. */
export type Completer = (line: string) => readonly [readonly string[], string] | undefined;

/** A completer for text in quotes; what stands outside of them is node:repl's. */
export function completer(
  vm: () => Vm | undefined,
  desk: HelpDesk,
  events: () => readonly string[],
): Completer {
  return (text) => {
    const [, call, quote, partial] = /(\w+)\(\s*(['"`])([^'"`]*)$/.exec(text) ?? [];
    if (call === undefined || quote === undefined || partial === undefined) return undefined;
    const words = call === 'inject' ? events() : wordsFor(call, vm(), desk);
    if (!words) return undefined;
    const hits = [...new Set(words)].filter((w) => w.startsWith(partial)).sort();
    return [hits, partial];
  };
}

function wordsFor(call: string, vm: Vm | undefined, desk: HelpDesk): readonly string[] | undefined {
  switch (call) {
    case 'help':
      return desk.names(vm);
    case 'run':
    case 'matrix':
    case 'list':
      return desk.names(undefined).filter((n) => n.includes('/'));
    case 'regs':
    case 'get':
    case 'set': {
      const registers = vm?.vcpus[0]?.arch.registers ?? [];
      return [...new Set([...registers.map((r) => r.group), ...registers.map((r) => r.name)])];
    }
    case 'enableCap':
    case 'checkExtension':
      return vm?.plugins.flatMap((p) => (p.def.caps ?? []).map((c) => c.name));
    default:
      return undefined;
  }
}
