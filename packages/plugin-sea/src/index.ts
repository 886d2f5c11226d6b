/** Guest synchronous external aborts as KVM on arm64 routes them: KVM_EXIT_ARM_SEA, SErrors, claims. */
export { armSeaCodec, SEA_FLAG_GPA_VALID } from './exit.ts';
export type { HostLoad } from './host.ts';
export { SEA_KNOBS, type SeaKnobs } from './knobs.ts';
export { type SeaApi, sea } from './plugin.ts';
export { hostOwns, sanitise } from './route.ts';
