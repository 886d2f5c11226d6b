/*
 * What <linux/kvm.h> of x86 says of the structures and numbers that events use, one "name value" a line; structures are
 * filled member by member and printed as bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <linux/kvm.h>

#define NR(n) printf(#n " %llu\n", (unsigned long long)(n))
#define SIZE(t) printf("sizeof." #t " %llu\n", (unsigned long long)sizeof(struct t))
#define AT(f) printf("offset.kvm_run." #f " %llu\n", (unsigned long long)offsetof(struct kvm_run, f))

static void bytes(const char *name, const void *p, size_t n) {
  const unsigned char *b = p;
  printf("%s ", name);
  for (size_t i = 0; i < n; i++) printf("%02x", b[i]);
  printf("\n");
}

int main(void) {
  struct kvm_vcpu_events e;
  memset(&e, 0, sizeof e);
  e.exception.injected = 1;
  e.exception.nr = 14;
  e.exception.has_error_code = 1;
  e.exception.error_code = 0x01020304;
  e.interrupt.nr = 0x81;
  e.interrupt.soft = 1;
  e.interrupt.shadow = 2;
  e.nmi.pending = 2;
  e.nmi.masked = 1;
  e.sipi_vector = 0x11223344;
  e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_PAYLOAD;
  e.smi.pending = 1;
  e.smi.smm_inside_nmi = 1;
  e.triple_fault.pending = 1;
  e.exception_has_payload = 1;
  e.exception_payload = 0x1122334455667788ULL;
  bytes("events.1", &e, sizeof e);
  memset(&e, 0, sizeof e);
  e.exception.pending = 1;
  e.exception.nr = 1;
  e.interrupt.injected = 1;
  e.nmi.injected = 1;
  e.smi.smm = 1;
  e.smi.latched_init = 1;
  e.flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
  bytes("events.2", &e, sizeof e);

  struct kvm_guest_debug d;
  memset(&d, 0, sizeof d);
  d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP |
              KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_BLOCKIRQ;
  for (int i = 0; i < 8; i++) d.arch.debugreg[i] = 0x1111000000000000ULL * (i + 1) + i;
  bytes("debug", &d, sizeof d);

  static struct kvm_run run;
  run.debug.arch.exception = 3;
  run.debug.arch.pc = 0x0123456789abcdefULL;
  run.debug.arch.dr6 = 0xffff4ff0;
  run.debug.arch.dr7 = 0x402;
  bytes("exit.debug", (char *)&run + 32, 32);

  struct kvm_interrupt i = {.irq = 0x12};
  bytes("interrupt", &i, sizeof i);

  SIZE(kvm_vcpu_events);
  SIZE(kvm_guest_debug);
  SIZE(kvm_interrupt);
  AT(request_interrupt_window);
  AT(ready_for_interrupt_injection);
  AT(if_flag);
  AT(flags);
  AT(cr8);
  AT(apic_base);
  NR(KVM_GET_VCPU_EVENTS);
  NR(KVM_SET_VCPU_EVENTS);
  NR(KVM_INTERRUPT);
  NR(KVM_NMI);
  NR(KVM_SMI);
  NR(KVM_SET_GUEST_DEBUG);
  NR(KVM_CAP_USER_NMI);
  NR(KVM_CAP_SET_GUEST_DEBUG);
  NR(KVM_CAP_SET_GUEST_DEBUG2);
  NR(KVM_CAP_X86_SMM);
  NR(KVM_CAP_EXCEPTION_PAYLOAD);
  NR(KVM_CAP_X86_TRIPLE_FAULT_EVENT);
  NR(KVM_EXIT_IRQ_WINDOW_OPEN);
  NR(KVM_EXIT_DEBUG);
  NR(KVM_RUN_X86_SMM);
  return 0;
}
