/** Names of what a hypervisor may intercept of system instructions (AMD64 APM volume 2, 15.9 and appendix C). */

/** An interceptable action. CR and DR accesses carry the register's number in the name. */
export type Intercept =
  | `cr${0 | 2 | 3 | 4 | 8}-${'read' | 'write'}`
  | `dr${0 | 1 | 2 | 3 | 6 | 7}-${'read' | 'write'}`
  | 'cr0-selective-write'
  | 'idtr-read'
  | 'gdtr-read'
  | 'ldtr-read'
  | 'tr-read'
  | 'idtr-write'
  | 'gdtr-write'
  | 'ldtr-write'
  | 'tr-write'
  | 'rdtsc'
  | 'rdtscp'
  | 'rdpmc'
  | 'pushf'
  | 'popf'
  | 'cpuid'
  | 'rsm'
  | 'iret'
  | 'int-n'
  | 'icebp'
  | 'invd'
  | 'wbinvd'
  | 'pause'
  | 'hlt'
  | 'invlpg'
  | 'invpcid'
  | 'io'
  | 'msr'
  | 'task-switch'
  | 'vmmcall'
  | 'monitor'
  | 'mwait'
  | 'xsetbv';
