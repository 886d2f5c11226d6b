import { defineConfig, type ViteUserConfig } from 'vitest/config';

const conditions: string[] = ['@faultyard/source'];

/**
 * What every package's tests share: workspace sources instead of built output, and, when turbo runs them, a report
 * that `scripts/turbo.mjs` sums up.
 */
const base: ViteUserConfig = defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    pool: 'threads',
    passWithNoTests: true,
    // only against hangs: slow machines must not fail a test
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: process.env.TURBO_HASH
      ? ['default', ['json', { outputFile: '.turbo/vitest.json' }]]
      : ['default'],
  },
});

export default base;
