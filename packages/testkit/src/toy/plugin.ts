/** The toy as a plugin: an architecture to test core, engine and plugins with. */
import { type AnyPlugin, definePlugin, type HostMemory } from '@faultyard/core';
import { createEngine, type Engine } from '@faultyard/engine';
import { toyIsa } from './isa.ts';
import { type ToyFaultPolicy, ToyVcpu } from './vcpu.ts';

/** One engine for all toy VMs of a host: they share predecoded code. */
const engines: WeakMap<HostMemory, Engine> = new WeakMap();

function engineOf(host: HostMemory): Engine {
  let e = engines.get(host);
  if (!e) {
    const made = createEngine(host, toyIsa);
    host.onCodeLost((pfn) => made.invalidateFrame(pfn * 4096));
    engines.set(host, made);
    e = made;
  }
  return e;
}

/** The toy architecture, with x86's rules of memslots and faults. */
export function toy(): AnyPlugin {
  return definePlugin({
    name: 'toy',
    core: '^1.0.0',
    summary: 'five instructions of one to seven bytes, for tests',
    knobs: {
      faultPolicy: {
        values: ['legacy', 'exit'],
        default: 'legacy',
        meaning: 'whether KVM annotates a page the host cannot resolve (KVM_EXIT_MEMORY_FAULT) or only fails',
        source: 'virt/kvm/kvm_main.c, kvm_mmu_prepare_memory_fault_exit',
      },
    },
    arch: {
      name: 'toy',
      memslots: {
        ids: 32764,
        addressSpaces: 1,
        gpaLimit: 2 ** 40,
        beyondLimit: 'EINVAL',
        refusesDirtyPfnmap: false,
      },
      stage2: { invalidSlot: 'retry', vmaFirst: false, execDevice: 'allow' },
      taskSize: 2 ** 47,
      createVcpu: (vm, vcpu) =>
        new ToyVcpu(vm, vcpu, engineOf(vm.host), vm.knobs['toy.faultPolicy'] as ToyFaultPolicy),
    },
    setup: () => ({}),
  });
}
