/*
 * What <linux/kvm.h> says of the structures, numbers and bytes that core encodes, one "name value" a line.
 * What the installed header is too old for is declared here, as newer headers have it; such names are listed in
 * lines "own name".
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <linux/kvm.h>

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#define OWN_MEMORY_FAULT
struct memory_fault { uint64_t flags, gpa, size; };
#endif
#ifndef KVM_SET_USER_MEMORY_REGION2
#define OWN_REGION2
#define KVM_MEM_GUEST_MEMFD (1UL << 2)
struct kvm_userspace_memory_region2 {
  uint32_t slot, flags;
  uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
  uint32_t guest_memfd, pad1;
  uint64_t pad2[14];
};
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#endif
#ifndef KVM_CREATE_GUEST_MEMFD
#define OWN_GUEST_MEMFD
struct kvm_create_guest_memfd { uint64_t size, flags, reserved[6]; };
#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif

static void number(const char *name, unsigned long long v) { printf("%s %llu\n", name, v); }
#define SIZE(t) number("sizeof." #t, sizeof(struct t))
#define AT(t, f) number("offset." #t "." #f, offsetof(struct t, f))
#define NR(n) number(#n, n)

static void bytes(const char *name, const void *p, size_t n) {
  const unsigned char *b = p;
  printf("%s ", name);
  for (size_t i = 0; i < n; i++) printf("%02x", b[i]);
  printf("\n");
}

static struct kvm_run run;
/* exit_reason and the exit union of a page that held ones before: what is not written stays. */
static void begin(uint32_t reason) {
  memset(&run, 0xff, sizeof run);
  run.exit_reason = reason;
}
static void end(const char *name) { bytes(name, (char *)&run + 8, 288 - 8); }

static void exits(void) {
  begin(KVM_EXIT_MMIO);
  run.mmio.phys_addr = 0x0123456789abcdefULL;
  memcpy(run.mmio.data, "\x88\x77\x66\x55", 4);
  run.mmio.len = 4;
  run.mmio.is_write = 1;
  end("exit.mmio.store");
  begin(KVM_EXIT_MMIO);
  run.mmio.phys_addr = 0x9000000;
  run.mmio.len = 8;
  run.mmio.is_write = 0;
  end("exit.mmio.load");
  begin(KVM_EXIT_IO);
  run.io.direction = KVM_EXIT_IO_OUT;
  run.io.size = 2;
  run.io.port = 0x3f8;
  run.io.count = 1;
  run.io.data_offset = 4096;
  end("exit.io");
  begin(KVM_EXIT_SYSTEM_EVENT);
  run.system_event.type = 2;
  run.system_event.ndata = 2;
  run.system_event.data[0] = 1;
  run.system_event.data[1] = 0xfedcba9876543210ULL;
  end("exit.system-event");
  begin(KVM_EXIT_ARM_NISV);
  run.arm_nisv.esr_iss = 0x1a2b3c4dULL;
  run.arm_nisv.fault_ipa = 0xa000008ULL;
  end("exit.arm-nisv");
  begin(KVM_EXIT_MEMORY_FAULT);
#ifdef OWN_MEMORY_FAULT
  struct memory_fault *f = (void *)&run.mmio;
#else
  __typeof__(run.memory_fault) *f = &run.memory_fault;
#endif
  f->flags = 8;
  f->gpa = 0x40002000;
  f->size = 4096;
  end("exit.memory-fault");
  begin(KVM_EXIT_INTERNAL_ERROR);
  run.internal.suberror = 1;
  run.internal.ndata = 1;
  run.internal.data[0] = 0x55aa;
  end("exit.internal-error");
  begin(KVM_EXIT_HLT);
  end("exit.hlt");
  begin(KVM_EXIT_INTR);
  end("exit.intr");
  begin(KVM_EXIT_SHUTDOWN);
  end("exit.shutdown");
  begin(KVM_EXIT_UNKNOWN);
  end("exit.run-error");
  begin(KVM_EXIT_DEBUG);
  end("exit.debug");
}

static void ops(void) {
  struct kvm_enable_cap c = {.cap = 177, .flags = 3, .args = {1, 2, 3, 0x8000000000000004ULL}};
  bytes("op.enable-cap", &c, sizeof c);
  struct kvm_userspace_memory_region r = {
      .slot = 0x10007, .flags = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY, .guest_phys_addr = 0x40000000,
      .memory_size = 0x200000, .userspace_addr = 0x7f0000000000ULL};
  bytes("op.set-user-memory-region", &r, sizeof r);
  struct kvm_userspace_memory_region2 r2 = {
      .slot = 5, .flags = KVM_MEM_GUEST_MEMFD, .guest_phys_addr = 0x80000000, .memory_size = 0x1000,
      .userspace_addr = 0x7f0000001000ULL, .guest_memfd_offset = 0x3000, .guest_memfd = 16};
  bytes("op.set-user-memory-region2", &r2, sizeof r2);
  struct kvm_dirty_log d = {.slot = 0x10003};
  bytes("op.get-dirty-log", &d, sizeof d);
  struct kvm_clear_dirty_log cd = {.slot = 3, .num_pages = 128, .first_page = 64};
  bytes("op.clear-dirty-log", &cd, sizeof cd);
  struct kvm_one_reg g = {.id = 0x6030000000100040ULL};
  bytes("op.one-reg", &g, sizeof g);
  struct kvm_create_guest_memfd m = {.size = 0x10000, .flags = 1};
  bytes("op.create-guest-memfd", &m, sizeof m);
  struct kvm_irq_level l = {.irq = 0x11223344, .level = 1};
  bytes("op.irq-line", &l, sizeof l);
  struct kvm_msi i = {.address_lo = 0xfee01004, .address_hi = 0x100, .data = 0x4051};
  bytes("op.signal-msi", &i, sizeof i);
}

int main(void) {
  number("KVM_RUN_SIZE", sizeof run);
  AT(kvm_run, request_interrupt_window);
  AT(kvm_run, immediate_exit);
  AT(kvm_run, exit_reason);
  number("EXIT_UNION", offsetof(struct kvm_run, mmio));
  number("EXIT_UNION_SIZE", offsetof(struct kvm_run, kvm_valid_regs) - offsetof(struct kvm_run, mmio));
  AT(kvm_run, mmio.phys_addr);
  AT(kvm_run, mmio.data);
  AT(kvm_run, mmio.len);
  AT(kvm_run, mmio.is_write);
  AT(kvm_run, s);
  SIZE(kvm_enable_cap);
  SIZE(kvm_userspace_memory_region);
  SIZE(kvm_userspace_memory_region2);
  SIZE(kvm_dirty_log);
  SIZE(kvm_clear_dirty_log);
  SIZE(kvm_one_reg);
  SIZE(kvm_create_guest_memfd);
  SIZE(kvm_irq_level);
  SIZE(kvm_msi);
  NR(KVM_EXIT_UNKNOWN);
  NR(KVM_EXIT_IO);
  NR(KVM_EXIT_DEBUG);
  NR(KVM_EXIT_HLT);
  NR(KVM_EXIT_MMIO);
  NR(KVM_EXIT_SHUTDOWN);
  NR(KVM_EXIT_INTR);
  NR(KVM_EXIT_INTERNAL_ERROR);
  NR(KVM_EXIT_SYSTEM_EVENT);
  NR(KVM_EXIT_ARM_NISV);
  NR(KVM_EXIT_MEMORY_FAULT);
  NR(KVM_CHECK_EXTENSION);
  NR(KVM_GET_VCPU_MMAP_SIZE);
  NR(KVM_ENABLE_CAP);
  NR(KVM_SET_USER_MEMORY_REGION);
  NR(KVM_SET_USER_MEMORY_REGION2);
  NR(KVM_GET_DIRTY_LOG);
  NR(KVM_CLEAR_DIRTY_LOG);
  NR(KVM_CREATE_GUEST_MEMFD);
  NR(KVM_IRQ_LINE);
  NR(KVM_IRQ_LINE_STATUS);
  NR(KVM_SIGNAL_MSI);
  NR(KVM_SET_ONE_REG);
  NR(KVM_GET_ONE_REG);
  NR(KVM_RUN);
  NR(KVM_MEM_LOG_DIRTY_PAGES);
  NR(KVM_MEM_READONLY);
  NR(KVM_MEM_GUEST_MEMFD);
  NR(KVM_CAP_ARM_NISV_TO_USER);
  exits();
  ops();
#ifdef OWN_MEMORY_FAULT
  puts("own memory-fault");
#endif
#ifdef OWN_REGION2
  puts("own set-user-memory-region2");
#endif
#ifdef OWN_GUEST_MEMFD
  puts("own create-guest-memfd");
#endif
  return 0;
}
