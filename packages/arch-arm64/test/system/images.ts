/** Every image of the comparison with QEMU: a name, the CPU, and what it does. */
import type { CpuName } from '../support/bare-metal.ts';
import { exceptionImages } from './exceptions.ts';
import { machineImages } from './machine.ts';
import { registerImages } from './registers.ts';
import { walkImages } from './walks.ts';

/** One image. */
export interface SystemImage {
  /** Name of its recording. */
  readonly name: string;
  readonly cpu: CpuName;
  /** One sentence: stimulus and what is observed. */
  readonly what: string;
  /** Assembly behind `main:`. */
  readonly body: () => string;
  readonly vcpus?: number;
}

/** All of them. */
export const SYSTEM_IMAGES: readonly SystemImage[] = [
  ...exceptionImages,
  ...registerImages,
  ...walkImages,
  ...machineImages,
];
