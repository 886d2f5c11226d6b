/** What a userspace VMM owns: image loaders, boards and device models for Faultyard guests. */
export * from './board.ts';
export * from './boot-x86.ts';
export * from './bus.ts';
export * from './debug-port.ts';
export * from './elf.ts';
export * from './load.ts';
export * from './multiboot.ts';
export * from './page-tables.ts';
export * from './pc.ts';
export * from './pc-ports.ts';
export * from './pl011.ts';
export * from './policy.ts';
export * from './port-bus.ts';
export * from './uart16550.ts';
export * from './x86-entry.ts';
