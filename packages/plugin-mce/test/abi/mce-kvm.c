/*
 * Machine checks on a real KVM: performs a script from standard input and says what came of each line. The guest is in
 * 64-bit mode, 64 KiB large, at 1020h; WRMSR and RDMSR are at 1000h and 1010h, HLTs behind them and at 1020h. Its handlers
 * count #GP at 4000h and #MC at 4008h and note at 4010h the RIP that #MC pushed. Numbers are hexadecimal. KVM_SET_REGS
 * drops a pending exception, so only wr and rd set registers.
 *   mem ADDRESS BYTES   memory of every guest to come
 *   vm CPUID            a new guest: AMD, AMD+SMCA or Intel in its CPUID
 *   supported | check N | listed MSR | cap N VALUE
 *   setup CAP | mce BANK STATUS ADDR MISC MCG_STATUS
 *   hset MSR VALUE | hget MSR | several MSR COUNT
 *   wr MSR VALUE | rd MSR | halt
 *   answer N            to the last exit of an MSR: 0 done, 1 refused; runs on
 *   cr4 0-or-1 | event NR PENDING INJECTED HAS_CODE | events
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>

#define SIZE 0x10000
typedef unsigned long long u64l;
static int kvm, vm = -1, vcpu = -1;
static uint8_t image[SIZE], *ram;
static struct kvm_run *run;

static int try(int fd, unsigned long nr, void *arg) {
  int r = ioctl(fd, nr, arg);
  return r < 0 ? -errno : r;
}
static int must(int fd, unsigned long nr, void *arg, const char *what) {
  int r = ioctl(fd, nr, arg);
  if (r < 0) {
    perror(what);
    exit(1);
  }
  return r;
}
static void wake(int sig) { (void)sig; }
static u64l mail(unsigned at) {
  uint64_t v;
  memcpy(&v, ram + 0x4000 + at, 8);
  return v;
}

static void cpuid(const char *who) {
  static struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[256]; } c;
  c.h.nent = 256;
  must(kvm, KVM_GET_SUPPORTED_CPUID, &c, "KVM_GET_SUPPORTED_CPUID");
  const char *id = !strncmp(who, "AMD", 3) ? "AuthcAMDenti" : "GenuntelineI";
  for (unsigned n = 0; n < c.h.nent; n++) {
    if (c.e[n].function == 0) {
      memcpy(&c.e[n].ebx, id, 4);
      memcpy(&c.e[n].ecx, id + 4, 4);
      memcpy(&c.e[n].edx, id + 8, 4);
    }
    if (c.e[n].function == 0x80000007 && strstr(who, "SMCA")) c.e[n].ebx |= 8;
  }
  must(vcpu, KVM_SET_CPUID2, &c, "KVM_SET_CPUID2");
}

static void registers(uint64_t rip, uint64_t msr, uint64_t value);
static void begin(const char *who) {
  if (vm >= 0) {
    close(vcpu);
    close(vm);
    munmap(ram, SIZE);
  }
  vm = must(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  ram = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(ram, image, SIZE);
  struct kvm_userspace_memory_region m = {.memory_size = SIZE, .userspace_addr = (uintptr_t)ram};
  must(vm, KVM_SET_USER_MEMORY_REGION, &m, "KVM_SET_USER_MEMORY_REGION");
  vcpu = must(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
  int n = must(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
  run = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  cpuid(who);
  struct kvm_sregs s;
  must(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
  s.cr3 = 0xd000;
  s.cr4 = 0x660;
  s.cr0 = 0x80050033;
  s.efer = 0xd00;
  s.gdt.base = 0x700;
  s.gdt.limit = 0x7f;
  s.idt.base = 0x3000;
  s.idt.limit = 0x1ff;
  struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
  struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
  struct kvm_segment tss = {.base = 0x6000, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1};
  s.cs = code;
  s.ds = s.es = s.ss = s.fs = s.gs = data;
  s.tr = tss;
  must(vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
  registers(0x1020, 0, 0);
}

/* Where KVM_RUN ended. */
static void once(void) {
  alarm(3);
  int r = try(vcpu, KVM_RUN, 0);
  alarm(0);
  printf("exit %d %u", r, r ? 0 : run->exit_reason);
  if (!r && (run->exit_reason == KVM_EXIT_X86_RDMSR || run->exit_reason == KVM_EXIT_X86_WRMSR)) {
    printf(" reason %u msr %x", run->msr.reason, run->msr.index);
    if (run->exit_reason == KVM_EXIT_X86_WRMSR) printf(" data %llx", (u64l)run->msr.data);
  }
}
static void registers(uint64_t rip, uint64_t msr, uint64_t value) {
  struct kvm_regs r = {.rip = rip, .rsp = 0x8000, .rflags = 2, .rcx = msr, .rax = (uint32_t)value, .rdx = value >> 32};
  must(vcpu, KVM_SET_REGS, &r, "KVM_SET_REGS");
}
static void go(int read) {
  u64l gp = mail(0), mc = mail(8);
  once();
  struct kvm_regs g;
  must(vcpu, KVM_GET_REGS, &g, "KVM_GET_REGS");
  int halted = run->exit_reason == KVM_EXIT_HLT;
  if (halted) printf(" gp %llu mc %llu", mail(0) - gp, mail(8) - mc);
  if (halted && mail(8) != mc) printf(" rip %llx", mail(0x10));
  if (halted && read && mail(0) == gp) printf(" value %llx", (u64l)(g.rdx << 32 | (uint32_t)g.rax));
}

static void list(unsigned msr) {
  static struct { uint32_t n, index[4096]; } l;
  l.n = 4096;
  must(kvm, KVM_GET_MSR_INDEX_LIST, &l, "KVM_GET_MSR_INDEX_LIST");
  int there = 0;
  for (unsigned i = 0; i < l.n; i++) there |= l.index[i] == msr;
  printf("%d", there);
}

int main(void) {
  kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) return 2;
  struct sigaction a = {.sa_handler = wake};
  sigaction(SIGALRM, &a, 0);
  static char line[4 * SIZE], text[3 * SIZE];
  while (fgets(line, sizeof line, stdin)) {
    char word[16];
    int at = 0;
    u64l x[5] = {0};
    if (sscanf(line, "%15s %n", word, &at) != 1) continue;
    const char *rest = line + at;
    sscanf(rest, "%llx %llx %llx %llx %llx", &x[0], &x[1], &x[2], &x[3], &x[4]);
    struct { struct kvm_msrs h; struct kvm_msr_entry e[256]; } m;
    memset(&m, 0, sizeof m);
    m.h.nmsrs = 1;
    m.e[0].index = x[0];
    m.e[0].data = x[1];
    if (!strcmp(word, "mem")) {
      sscanf(rest, "%llx %s", &x[0], text);
      unsigned v;
      for (size_t i = 0; sscanf(text + 2 * i, "%2x", &v) == 1; i++) image[x[0] + i] = v;
      continue;
    }
    line[strcspn(line, "\n")] = 0;
    printf("%s: ", line);
    if (!strcmp(word, "vm")) begin(rest);
    else if (!strcmp(word, "supported")) {
      uint64_t cap = 0;
      int r = try(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap);
      printf("%d %llx", r, (u64l)cap);
    } else if (!strcmp(word, "check")) printf("%d", try(kvm, KVM_CHECK_EXTENSION, (void *)x[0]));
    else if (!strcmp(word, "listed")) list(x[0]);
    else if (!strcmp(word, "cap")) {
      struct kvm_enable_cap c = {.cap = x[0], .args = {x[1]}};
      printf("%d", try(vm, KVM_ENABLE_CAP, &c));
    } else if (!strcmp(word, "setup")) {
      uint64_t cap = x[0];
      printf("%d", try(vcpu, KVM_X86_SETUP_MCE, &cap));
    } else if (!strcmp(word, "mce")) {
      struct kvm_x86_mce e = {.bank = x[0], .status = x[1], .addr = x[2], .misc = x[3], .mcg_status = x[4]};
      printf("%d", try(vcpu, KVM_X86_SET_MCE, &e));
    } else if (!strcmp(word, "hset")) printf("%d", try(vcpu, KVM_SET_MSRS, &m));
    else if (!strcmp(word, "hget")) {
      m.e[0].data = 0;
      int r = try(vcpu, KVM_GET_MSRS, &m);
      printf("%d %llx", r, r == 1 ? (u64l)m.e[0].data : 0);
    } else if (!strcmp(word, "several")) {
      m.h.nmsrs = x[1];
      for (unsigned i = 0; i < x[1]; i++) m.e[i].index = x[0] + i;
      printf("%d", try(vcpu, KVM_GET_MSRS, &m));
    } else if (!strcmp(word, "wr")) {
      registers(0x1000, x[0], x[1]);
      go(0);
    } else if (!strcmp(word, "rd")) {
      registers(0x1010, x[0], 0);
      go(1);
    } else if (!strcmp(word, "halt")) go(0);
    else if (!strcmp(word, "answer")) {
      u64l gp = mail(0);
      run->msr.error = x[0];
      run->msr.data = x[1];
      once();
      printf(" gp %llu", mail(0) - gp);
    } else if (!strcmp(word, "cr4")) {
      struct kvm_sregs s;
      must(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
      s.cr4 = x[0] ? s.cr4 | 0x40 : s.cr4 & ~0x40ull;
      printf("%d", try(vcpu, KVM_SET_SREGS, &s));
    } else if (!strcmp(word, "event") || !strcmp(word, "events")) {
      struct kvm_vcpu_events e;
      must(vcpu, KVM_GET_VCPU_EVENTS, &e, "KVM_GET_VCPU_EVENTS");
      if (!strcmp(word, "event")) {
        e.exception.nr = x[0];
        e.exception.pending = x[1];
        e.exception.injected = x[2];
        e.exception.has_error_code = x[3];
        e.exception.error_code = 0;
        e.flags = x[1] ? KVM_VCPUEVENT_VALID_PAYLOAD : 0;
        printf("%d", try(vcpu, KVM_SET_VCPU_EVENTS, &e));
      } else
        printf("nr %u injected %u pending %u code %u triple %u", e.exception.nr, e.exception.injected,
               e.exception.pending, e.exception.has_error_code, e.triple_fault.pending);
    } else printf("?");
    puts("");
  }
  return 0;
}
