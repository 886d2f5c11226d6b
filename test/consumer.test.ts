import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type PackedProject, packedProject, root } from './packed-project.ts';

let project: PackedProject;

beforeAll(() => {
  project = packedProject();
  const imports = project.specifiers.map((specifier, n) => `import * as m${n} from '${specifier}';`);
  const names = project.specifiers.map((specifier, n) => `'${specifier}': Object.keys(m${n})`);
  project.write(
    'entries.ts',
    `${imports.join('\n')}
const all: Record<string, string[]> = { ${names.join(', ')} };
console.log(JSON.stringify(all));
`,
  );
  project.write(
    'version.ts',
    `import { CORE_VERSION, definePlugin } from '@faultyard/core';
declare module '@faultyard/core' {
  interface ExitMap {
    'consumer-exit': { code: number };
  }
}
export const plugin = definePlugin({ name: 'consumer', core: \`^\${CORE_VERSION}\`, setup: () => ({ answer: 42 }) });
// @ts-expect-error a plugin without a name is refused by its type
export const wrong = () => definePlugin({ core: '^1.0.0', setup: () => ({}) });
console.log(CORE_VERSION);
`,
  );
});

afterAll(() => project?.remove());

describe('packed packages in an empty project', () => {
  test.each(['nodenext', 'bundler'] as const)(
    'tsc, %s resolution -> compiles, declarations included',
    (resolution) => {
      expect(project.compile('tsc', resolution)).toBe('');
    },
  );

  test('the TypeScript with a JavaScript API, nodenext -> compiles', () => {
    expect(project.compile('tsc6', 'nodenext')).toBe('');
  });

  test('node, compiled program -> every entry point loads built output', () => {
    expect(project.compile('tsc', 'nodenext')).toBe('');
    const exported: Record<string, string[]> = JSON.parse(project.node('nodenext/entries.js'));
    expect(Object.keys(exported)).toEqual(project.specifiers);
    for (const [specifier, names] of Object.entries(exported)) expect(names, specifier).not.toEqual([]);
  });

  test("a program with a plugin of its own -> core tells it the package's version", () => {
    expect(project.compile('tsc', 'nodenext')).toBe('');
    const { version } = JSON.parse(readFileSync(join(root, 'packages/core/package.json'), 'utf8'));
    expect(project.node('nodenext/version.js')).toBe(`${version}\n`);
  });

  test('node_modules -> one copy of each package, with its licence and its sources', () => {
    for (const name of readdirSync(join(root, 'packages'))) {
      const installed = readdirSync(join(project.folder, 'node_modules', '@faultyard', name));
      expect(installed, name).toEqual(expect.arrayContaining(['LICENSE', 'dist', 'package.json', 'src']));
      expect(installed, name).not.toContain('node_modules');
    }
  });
});
