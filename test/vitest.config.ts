import type { ViteUserConfig } from 'vitest/config';
import base from '../vitest.base.ts';

const config: ViteUserConfig = {
  ...base,
  test: {
    ...base.test,
    include: ['*.test.ts'],
    globalSetup: ['build.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
};

export default config;
