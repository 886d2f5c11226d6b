/**
 * Oracles: implementations that are not ours — the C compiler with the kernel's headers, QEMU, binutils — run where they
 * are installed, their answers replayed from committed recordings elsewhere. Node only.
 */
export * from './programs.ts';
export * from './qemu.ts';
export * from './tools.ts';
