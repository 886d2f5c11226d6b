import { defineConfig, type ViteUserConfig } from 'vitest/config';

const conditions: string[] = ['@faultyard/source'];

/** What every package's tests share: workspace sources instead of built output. */
const base: ViteUserConfig = defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    pool: 'threads',
  },
});

export default base;
