/** How instructions are run fast: semantics emitted as WebAssembly, a software TLB, execution tiers. Knows no ISA. */
export {};
