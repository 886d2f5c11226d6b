/** What a userspace VMM owns: image loaders, boards and device models for Faultyard guests. */
export {};
