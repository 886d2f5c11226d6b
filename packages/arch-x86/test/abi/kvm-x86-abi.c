/*
 * What <linux/kvm.h> says of the x86 structures, numbers and bytes that this package encodes, one "name value" a line.
 * What the installed header may be too old for is declared here, as newer headers have it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <linux/kvm.h>

static void number(const char *name, unsigned long long v) { printf("%s %llu\n", name, v); }
#define SIZE(t) number("sizeof." #t, sizeof(struct t))
#define NR(n) number(#n, (unsigned int)(n))

static void bytes(const char *name, const void *p, size_t n) {
  const unsigned char *b = p;
  printf("%s ", name);
  for (size_t i = 0; i < n; i++) printf("%02x", b[i]);
  printf("\n");
}

/* n-th distinct value, none of whose bytes is 0. */
static uint64_t value(unsigned n) { return 0x0102030405060708ULL + 0x1010101010101010ULL * (n % 8) + n; }

static struct kvm_segment segment(unsigned n) {
  struct kvm_segment s = { .base = value(n), .limit = 0xfff00 + n, .selector = 0x100 + n, .type = n % 16,
                           .present = 1, .dpl = n % 4, .db = n % 2, .s = 1, .l = (n + 1) % 2, .g = 1,
                           .avl = n % 2, .unusable = n == 7 };
  return s;
}
#define COMMON(r)                                                                                      \
  do {                                                                                                 \
    r.cs = segment(0), r.ds = segment(1), r.es = segment(2), r.fs = segment(3);                        \
    r.gs = segment(4), r.ss = segment(5), r.tr = segment(6), r.ldt = segment(7);                       \
    r.gdt.base = value(8), r.gdt.limit = 0x1234, r.idt.base = value(9), r.idt.limit = 0x5678;          \
    r.cr0 = value(10), r.cr2 = value(11), r.cr3 = value(12), r.cr4 = value(13), r.cr8 = value(14);     \
    r.efer = value(15), r.apic_base = value(16);                                                       \
  } while (0)

static void structures(void) {
  struct kvm_regs regs;
  uint64_t *r = (uint64_t *)&regs;
  for (unsigned i = 0; i < sizeof regs / 8; i++) r[i] = value(i);
  bytes("op.set-regs", &regs, sizeof regs);

  struct kvm_sregs sregs = { 0 };
  COMMON(sregs);
  for (unsigned i = 0; i < 4; i++) sregs.interrupt_bitmap[i] = value(17 + i);
  bytes("op.set-sregs", &sregs, sizeof sregs);

  struct kvm_sregs2 sregs2 = { 0 };
  COMMON(sregs2);
  sregs2.flags = 1;
  for (unsigned i = 0; i < 4; i++) sregs2.pdptrs[i] = value(17 + i);
  bytes("op.set-sregs2", &sregs2, sizeof sregs2);

  struct { struct kvm_msrs head; struct kvm_msr_entry e[2]; } msrs = { 0 };
  msrs.head.nmsrs = 2;
  msrs.e[0].index = 0xc0000080, msrs.e[0].data = value(1);
  msrs.e[1].index = 0x10, msrs.e[1].data = value(2);
  bytes("op.set-msrs", &msrs, sizeof msrs);

  struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[2]; } cpuid = { 0 };
  cpuid.head.nent = 2;
  for (unsigned i = 0; i < 2; i++) {
    struct kvm_cpuid_entry2 *e = &cpuid.e[i];
    e->function = 0x80000001 + i, e->index = i, e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    e->eax = 0x11 + i, e->ebx = 0x22 + i, e->ecx = 0x33 + i, e->edx = 0x44 + i;
  }
  bytes("op.set-cpuid2", &cpuid, sizeof cpuid);

  struct kvm_fpu fpu = { 0 };
  for (unsigned i = 0; i < 128; i++) ((uint8_t *)fpu.fpr)[i] = i + 1;
  for (unsigned i = 0; i < 256; i++) ((uint8_t *)fpu.xmm)[i] = i ^ 0x5a;
  fpu.fcw = 0x37f, fpu.fsw = 0x3800, fpu.ftwx = 0x81, fpu.last_opcode = 0x321;
  fpu.last_ip = value(3), fpu.last_dp = value(4);
  bytes("op.set-fpu", &fpu, sizeof fpu);

  struct kvm_xcrs xcrs = { 0 };
  xcrs.nr_xcrs = 1, xcrs.xcrs[0].xcr = 0, xcrs.xcrs[0].value = 0x203;
  bytes("op.set-xcrs", &xcrs, sizeof xcrs);

  struct kvm_debugregs debug = { 0 };
  for (unsigned i = 0; i < 4; i++) debug.db[i] = value(i);
  debug.dr6 = value(5), debug.dr7 = value(6), debug.flags = value(7);
  bytes("op.set-debugregs", &debug, sizeof debug);

  struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_HALTED };
  bytes("op.set-mp-state", &mp, sizeof mp);

  struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
  filter.ranges[1].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
  filter.ranges[1].nmsrs = 65, filter.ranges[1].base = 0xc0000080;
  bytes("op.x86-set-msr-filter", &filter, sizeof filter);

  struct kvm_translation t = { .linear_address = value(1), .physical_address = value(2), .valid = 1, .writeable = 1 };
  bytes("op.translate", &t, sizeof t);

  static struct kvm_run run;
  run.exit_reason = KVM_EXIT_X86_WRMSR;
  run.msr.reason = KVM_MSR_EXIT_REASON_UNKNOWN, run.msr.index = 0x12345, run.msr.data = value(7);
  bytes("exit.x86-wrmsr", (char *)&run + 8, 56);
}

int main(void) {
  SIZE(kvm_regs);
  SIZE(kvm_sregs);
  SIZE(kvm_sregs2);
  SIZE(kvm_fpu);
  SIZE(kvm_xsave);
  SIZE(kvm_xcrs);
  SIZE(kvm_debugregs);
  SIZE(kvm_mp_state);
  SIZE(kvm_translation);
  SIZE(kvm_msrs);
  SIZE(kvm_msr_list);
  SIZE(kvm_msr_filter);
  SIZE(kvm_cpuid2);
  NR(KVM_EXIT_X86_RDMSR);
  NR(KVM_EXIT_X86_WRMSR);
  NR(KVM_MSR_EXIT_REASON_INVAL);
  NR(KVM_MSR_EXIT_REASON_UNKNOWN);
  NR(KVM_MSR_EXIT_REASON_FILTER);
  NR(KVM_GET_REGS);
  NR(KVM_SET_REGS);
  NR(KVM_GET_SREGS);
  NR(KVM_SET_SREGS);
  NR(KVM_GET_SREGS2);
  NR(KVM_SET_SREGS2);
  NR(KVM_GET_MSRS);
  NR(KVM_SET_MSRS);
  NR(KVM_GET_MSR_INDEX_LIST);
  NR(KVM_X86_SET_MSR_FILTER);
  NR(KVM_GET_SUPPORTED_CPUID);
  NR(KVM_SET_CPUID2);
  NR(KVM_GET_CPUID2);
  NR(KVM_GET_FPU);
  NR(KVM_SET_FPU);
  NR(KVM_GET_XSAVE);
  NR(KVM_SET_XSAVE);
  NR(KVM_GET_XCRS);
  NR(KVM_SET_XCRS);
  NR(KVM_GET_DEBUGREGS);
  NR(KVM_SET_DEBUGREGS);
  NR(KVM_GET_MP_STATE);
  NR(KVM_SET_MP_STATE);
  NR(KVM_GET_TSC_KHZ);
  NR(KVM_SET_TSC_KHZ);
  NR(KVM_TRANSLATE);
  NR(KVM_CAP_EXT_CPUID);
  NR(KVM_CAP_MP_STATE);
  NR(KVM_CAP_VCPU_EVENTS);
  NR(KVM_CAP_DEBUGREGS);
  NR(KVM_CAP_XSAVE);
  NR(KVM_CAP_XCRS);
  NR(KVM_CAP_TSC_CONTROL);
  NR(KVM_CAP_GET_TSC_KHZ);
  NR(KVM_CAP_X86_USER_SPACE_MSR);
  NR(KVM_CAP_X86_MSR_FILTER);
  NR(KVM_CAP_SREGS2);
  NR(KVM_MP_STATE_RUNNABLE);
  NR(KVM_MP_STATE_UNINITIALIZED);
  NR(KVM_MP_STATE_INIT_RECEIVED);
  NR(KVM_MP_STATE_HALTED);
  NR(KVM_MP_STATE_SIPI_RECEIVED);
  NR(KVM_MP_STATE_AP_RESET_HOLD);
  structures();
  return 0;
}
