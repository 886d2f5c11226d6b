/** Says what becomes of the plugin on a core that it was not made for. */
import { arm64 } from '@faultyard/arch-arm64';
import { CORE_VERSION, createVm, FaultyardError, resolvePlugins } from '@faultyard/core';
import { acme } from './acme.ts';

const refusal = (f: () => unknown): FaultyardError | undefined => {
  try {
    f();
  } catch (e) {
    if (e instanceof FaultyardError) return e;
    throw e;
  }
  return undefined;
};
const acmeRefused = refusal(() => resolvePlugins([acme]))?.message;
const vmRefused = refusal(() => createVm({ arch: arm64(), plugins: [acme] }))?.code;
console.log(JSON.stringify({ core: CORE_VERSION, acme: acmeRefused, vm: vmRefused }));
