/*
 * A script on KVM: makes VMs in 64-bit mode, fills memory and registers, performs ioctls on events, runs, and says what
 * came of it, a line for each. Lines of the script:
 *   vm                       a new VM: 1 MiB of memory, tables where the script puts them
 *   base gdt idt tss pages   addresses of the tables (hex)
 *   mem ADDRESS BYTES        hex
 *   set REGISTER VALUE       rip rsp rflags rax rbx rcx rdx dr0 dr1 dr2 dr3 dr7 (hex)
 *   cap NUMBER VALUE         KVM_ENABLE_CAP
 *   nmi | irq N | events BYTES | get | debug CONTROL DR0 DR1 DR2 DR3 DR7 | window 0 or 1 | run
 *   dump ADDRESS LENGTH      prints memory
 *   say TEXT
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>

#define SIZE (1 << 20)
static int kvm, vm = -1, vcpu = -1;
static uint8_t *ram;
static struct kvm_run *run;
static uint64_t gdt, idt, tss, pages;
static struct kvm_debugregs dr;

static void die(const char *what) { perror(what); exit(1); }
static int try(int fd, unsigned long nr, void *arg) {
  int r = ioctl(fd, nr, arg);
  return r < 0 ? -errno : r;
}
static int must(int fd, unsigned long nr, void *arg, const char *what) {
  int r = ioctl(fd, nr, arg);
  if (r < 0) die(what);
  return r;
}
static void wake(int sig) { (void)sig; }

static void begin(void) {
  if (vm >= 0) {
    close(vcpu);
    close(vm);
    munmap(ram, SIZE);
  }
  vm = must(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  ram = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct kvm_userspace_memory_region m = {.memory_size = SIZE, .userspace_addr = (uintptr_t)ram};
  must(vm, KVM_SET_USER_MEMORY_REGION, &m, "KVM_SET_USER_MEMORY_REGION");
  vcpu = must(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
  int n = must(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "mmap size");
  run = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  static struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[256]; } c;
  c.h.nent = 256;
  must(kvm, KVM_GET_SUPPORTED_CPUID, &c, "KVM_GET_SUPPORTED_CPUID");
  must(vcpu, KVM_SET_CPUID2, &c, "KVM_SET_CPUID2");
  must(vcpu, KVM_GET_DEBUGREGS, &dr, "KVM_GET_DEBUGREGS");
}

static void base(void) {
  struct kvm_sregs s;
  must(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
  s.cr3 = pages;
  s.cr4 = 0x6a0;
  s.cr0 = 0x80050033;
  s.efer = 0x500;
  s.gdt.base = gdt;
  s.gdt.limit = 0x37;
  s.idt.base = idt;
  s.idt.limit = 0xfff;
  struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
  struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
  s.cs = code;
  s.ds = s.es = s.ss = s.fs = s.gs = data;
  struct kvm_segment t = {.base = tss, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1};
  s.tr = t;
  must(vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
}

static void bytes(const void *p, size_t n) {
  const unsigned char *b = p;
  for (size_t i = 0; i < n; i++) printf("%02x", b[i]);
}
static size_t unhex(const char *s, uint8_t *out) {
  size_t n = 0;
  unsigned v;
  for (; sscanf(s, "%2x", &v) == 1 && s[0] != '\n'; s += 2) out[n++] = v;
  return n;
}

static void set(const char *name, uint64_t v) {
  struct kvm_regs r;
  must(vcpu, KVM_GET_REGS, &r, "KVM_GET_REGS");
  const struct { const char *name; void *at; } all[] = {
      {"rip", &r.rip}, {"rsp", &r.rsp}, {"rflags", &r.rflags}, {"rax", &r.rax}, {"rbx", &r.rbx},
      {"rcx", &r.rcx}, {"rdx", &r.rdx}, {"rsi", &r.rsi}, {"rdi", &r.rdi},
      {"dr0", &dr.db[0]}, {"dr1", &dr.db[1]}, {"dr2", &dr.db[2]}, {"dr3", &dr.db[3]}, {"dr7", &dr.dr7}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!strcmp(name, all[i].name)) *(uint64_t *)all[i].at = v;
  must(vcpu, KVM_SET_REGS, &r, "KVM_SET_REGS");
  if (name[0] == 'd') must(vcpu, KVM_SET_DEBUGREGS, &dr, "KVM_SET_DEBUGREGS");
}

static void once(void) {
  alarm(3);
  int r = try(vcpu, KVM_RUN, 0);
  alarm(0);
  struct kvm_regs g;
  struct kvm_sregs s;
  must(vcpu, KVM_GET_REGS, &g, "KVM_GET_REGS");
  must(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
  printf("run %d %u", r, r ? 0 : run->exit_reason);
  if (!r && run->exit_reason == KVM_EXIT_DEBUG)
    printf(" [%u %llx %llx %llx]", run->debug.arch.exception, run->debug.arch.pc, run->debug.arch.dr6,
           run->debug.arch.dr7);
  if (!r && run->exit_reason == KVM_EXIT_INTERNAL_ERROR) printf(" [%u]", run->internal.suberror);
  // after a triple fault the registers are nobody's (AMD does INIT)
  if (!r && run->exit_reason == KVM_EXIT_SHUTDOWN) printf("\n");
  else
    printf(" rip %llx rsp %llx flags %llx cr2 %llx ready %u if %u\n", g.rip, g.rsp, g.rflags, s.cr2,
           run->ready_for_interrupt_injection, run->if_flag);
}

int main(void) {
  kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) die("/dev/kvm");
  struct sigaction a = {.sa_handler = wake};
  sigaction(SIGALRM, &a, 0);
  static char line[1 << 20];
  static uint8_t buf[1 << 19];
  while (fgets(line, sizeof line, stdin)) {
    char word[32], name[32];
    int at = 0;
    unsigned long long x, y, z, u, v, w;
    if (sscanf(line, "%31s %n", word, &at) != 1) continue;
    const char *rest = line + at;
    if (!strcmp(word, "vm")) begin();
    else if (!strcmp(word, "base") && sscanf(rest, "%llx %llx %llx %llx", &x, &y, &z, &u) == 4) {
      gdt = x, idt = y, tss = z, pages = u;
      base();
    } else if (!strcmp(word, "mem") && sscanf(rest, "%llx %n", &x, &at) == 1) {
      size_t n = unhex(rest + at, buf);
      memcpy(ram + x, buf, n);
    } else if (!strcmp(word, "set") && sscanf(rest, "%31s %llx", name, &x) == 2) set(name, x);
    else if (!strcmp(word, "cap") && sscanf(rest, "%llx %llx", &x, &y) == 2) {
      struct kvm_enable_cap c = {.cap = x, .args = {y}};
      printf("cap %d\n", try(vm, KVM_ENABLE_CAP, &c));
    } else if (!strcmp(word, "nmi")) printf("nmi %d\n", try(vcpu, KVM_NMI, 0));
    else if (!strcmp(word, "irq") && sscanf(rest, "%llx", &x) == 1) {
      struct kvm_interrupt i = {.irq = x};
      printf("irq %d\n", try(vcpu, KVM_INTERRUPT, &i));
    } else if (!strcmp(word, "events")) {
      struct kvm_vcpu_events e;
      unhex(rest, (uint8_t *)&e);
      printf("events %d\n", try(vcpu, KVM_SET_VCPU_EVENTS, &e));
    } else if (!strcmp(word, "get")) {
      struct kvm_vcpu_events e;
      memset(&e, 0, sizeof e);
      must(vcpu, KVM_GET_VCPU_EVENTS, &e, "KVM_GET_VCPU_EVENTS");
      printf("get ");
      bytes(&e, sizeof e);
      printf("\n");
    } else if (!strcmp(word, "debug") && sscanf(rest, "%llx %llx %llx %llx %llx %llx", &x, &y, &z, &u, &v, &w) == 6) {
      struct kvm_guest_debug d = {.control = x, .arch.debugreg = {y, z, u, v, 0, 0, 0, w}};
      printf("debug %d\n", try(vcpu, KVM_SET_GUEST_DEBUG, &d));
    } else if (!strcmp(word, "window") && sscanf(rest, "%llx", &x) == 1) run->request_interrupt_window = x;
    else if (!strcmp(word, "run")) once();
    else if (!strcmp(word, "dump") && sscanf(rest, "%llx %llx", &x, &y) == 2) {
      printf("dump ");
      bytes(ram + x, y);
      printf("\n");
    } else if (!strcmp(word, "say")) printf("%s", rest);
  }
  return 0;
}
