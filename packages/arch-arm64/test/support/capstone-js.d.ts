declare module '@alexaltea/capstone-js' {
  /** Loads the wasm build. */
  const MCapstone: () => Promise<unknown>;
  export = MCapstone;
}
