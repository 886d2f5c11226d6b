/**
 * KVM's operations on events, guest debugging and interrupt windows against KVM itself: the same scripts, line by line.
 * Where /dev/kvm cannot be opened its recorded answers are compared.
 */
import { accessSync, constants } from 'node:fs';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { QUEUE_CASES } from './support/event-cases.ts';
import { type EventCase, perform, scriptOf } from './support/event-script.ts';

/**
 * Cases that the recorded KVM (6.18, with a paravirtual backend in place of VMX, which emulates much of what CPL 0 does)
 * does otherwise than KVM on VMX or SVM. They are recorded, not compared.
 */
const BACKEND: Readonly<Record<string, string>> = {
  'events: three NMIs': 'it opens no NMI window behind the first handler',
  'events: NMI count set': 'it opens no NMI window behind the first handler',
  'events: NMI and interrupt': 'it opens no NMI window',
  'window: opened by sti': 'it opens no interrupt window',
  'window: open already': 'it opens no interrupt window',
  'window: popf': 'it opens no interrupt window',
  'window: mov ss behind popf': 'it opens no interrupt window',
  'debugger: step': 'it reports DR7 = 0',
  'debugger: step over cpuid and hlt': 'it reports DR7 = 0',
  'debugger: hardware breakpoint': 'it reports DR7 = 0',
  'debugger: watchpoint': 'it has no data breakpoints',
  'debugger: int3': 'it cannot emulate INT3 in 64-bit mode',
};

function missingKvm(): string | undefined {
  const compiler = missingFor('native');
  if (compiler !== undefined || process.arch !== 'x64') return compiler ?? 'this machine is not x86';
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/kvm cannot be opened';
  }
}

const unless = missingKvm();
const said = capture({
  record: new URL('recorded/events-kvm.txt', import.meta.url),
  unless,
  live: () =>
    runC({ source: new URL('abi/events-kvm.c', import.meta.url), stdin: QUEUE_CASES.map(scriptOf).join('') }),
});
/** What was said of a case: from its name to the next. */
function there(c: EventCase): string {
  const from = said.text.indexOf(`${c.name}\n`);
  const next = QUEUE_CASES[QUEUE_CASES.indexOf(c) + 1];
  return said.text.slice(from, next ? said.text.indexOf(`${next.name}\n`) : undefined);
}

const compared = QUEUE_CASES.filter((c) => !(c.name in BACKEND));
it.skipIf(unless !== undefined)(
  `KVM on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    const lines = (text = ''): string[] =>
      compared.map((c) => text.slice(text.indexOf(`${c.name}\n`)).split('\n')[1] ?? '');
    expect(lines(said.text)).toEqual(lines(said.recorded));
  },
);

describe(`against ${said.how === 'live' ? 'KVM' : `KVM's recorded answers (${said.why})`}`, () => {
  it.each(compared)('$name -> the same, line by line', (c) => {
    expect(perform(scriptOf(c))).toBe(there(c));
  });
});
