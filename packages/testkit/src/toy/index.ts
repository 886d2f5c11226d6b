/** The toy architecture. */
export {
  TOY_LONGEST,
  TOY_REGISTERS,
  ToySlow,
  toyAddi,
  toyBz,
  toyHalt,
  toyIsa,
  toyLoad,
  toyStore,
} from './isa.ts';
export { toy } from './plugin.ts';
export { toySubject } from './subject.ts';
export { toyText } from './text.ts';
export { type ToyFaultPolicy, ToyTrap, ToyVcpu } from './vcpu.ts';
