/** What a userspace VMM owns: image loaders, boards and device models for Faultyard guests. */
export * from './board.ts';
export * from './bus.ts';
export * from './debug-port.ts';
export * from './elf.ts';
export * from './load.ts';
export * from './pl011.ts';
export * from './policy.ts';
