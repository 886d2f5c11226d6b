import { expect, test } from 'vitest';
import {
  CORE_VERSION,
  definePlugin,
  FaultyardError,
  isPlugin,
  type PluginDef,
  resolvePlugins,
  satisfies,
} from '../src/index.ts';

const plugin = (name: string, more: Partial<PluginDef<never, unknown>> = {}) =>
  definePlugin({ name, core: '^1.0.0', setup: () => ({}), ...more });

/** The code and message of what `f` throws. */
function refusal(f: () => unknown): { code: string; message: string } {
  try {
    f();
  } catch (e) {
    if (e instanceof FaultyardError) return { code: e.code, message: e.message };
    throw e;
  }
  return { code: 'nothing', message: '' };
}

test('a set with needs -> resolvePlugins: needs come first', () => {
  const arch = plugin('arch');
  const fault = plugin('fault', { needs: ['arch'] });
  expect(resolvePlugins([fault, arch]).map((p) => p.def.name)).toEqual(['arch', 'fault']);
});

test.each([
  ['a function that was not called', function sea() {}, /sea \(a function: call it, e\.g\. sea\(\)\)/],
  ['an object', { name: 'sea' }, /of type Object/],
  ['null', null, /of type null/],
  ['a word', 'sea', /"sea"/],
])('%s as plugin -> FY_PLUGIN_UNKNOWN that says what it is', (_, value, says) => {
  const r = refusal(() => resolvePlugins([value]));
  expect(r.code).toBe('FY_PLUGIN_UNKNOWN');
  expect(r.message).toMatch(says);
  expect(r.message).toContain('pass a plugin value made by definePlugin');
});

test('a missing need -> FY_PLUGIN_NEEDS that names plugin and need', () => {
  const r = refusal(() => resolvePlugins([plugin('sea', { needs: ['arm64'] })]));
  expect(r).toEqual({
    code: 'FY_PLUGIN_NEEDS',
    message: 'FY_PLUGIN_NEEDS: plugin sea needs arm64, which is not installed; add arm64 to arch or plugins',
  });
});

test.each(['^2.0.0', '>=1.99.0', '0.9.0'])(
  'core range %s -> FY_PLUGIN_VERSION with both versions',
  (core) => {
    const r = refusal(() => resolvePlugins([plugin('sea', { core })]));
    expect(r.code).toBe('FY_PLUGIN_VERSION');
    expect(r.message).toContain(core);
    expect(r.message).toContain(CORE_VERSION);
  },
);

test('the same plugin twice -> FY_PLUGIN_TWICE', () => {
  expect(refusal(() => resolvePlugins([plugin('sea'), plugin('sea')])).code).toBe('FY_PLUGIN_TWICE');
});

test.each([
  ['name', { name: 'Sea' }],
  ['range', { core: 'latest' }],
])('a definition with a bad %s -> FY_PLUGIN_INVALID', (_, more) => {
  expect(refusal(() => plugin('sea', more)).code).toBe('FY_PLUGIN_INVALID');
});

test.each([
  ['1.4.2', '^1.0.0', true],
  ['1.4.2', '^1.5.0', false],
  ['2.0.0', '^1.0.0', false],
  ['2.0.0', '>=1.0.0', true],
  ['1.0.0', '1.0.0', true],
  ['1.0.1', '1.0.0', false],
  ['1.0.0', 'x', false],
])('version %s in range %s -> %s', (version, range, answer) => {
  expect(satisfies(version, range)).toBe(answer);
});

test('a second copy of core that is used -> FY_TWO_CORES that names both; its plugins are still recognised', async () => {
  const mine = plugin('mine');
  const url = new URL('../src/two-cores.ts', import.meta.url).href;
  const copy = (await import(/* @vite-ignore */ `${url}?second`)) as typeof import('../src/two-cores.ts');
  let error: unknown;
  try {
    copy.claimCore();
  } catch (e) {
    error = e;
  }
  const { code, message } = error as FaultyardError;
  expect(code).toBe('FY_TWO_CORES');
  expect(message).toMatch(
    /two copies of @faultyard\/core are loaded: \S+two-cores\.ts\S* and \S+two-cores\.ts/,
  );
  expect(message).toContain('peer dependency');
  expect(isPlugin(mine)).toBe(true);
  expect(() => plugin('later')).not.toThrow();
});
