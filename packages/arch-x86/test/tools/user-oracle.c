/*
 * Runs instructions and short sequences from standard input on the host's CPU and writes the machine state after each to standard
 * output: the oracle behind the instruction vectors. Linux on x86-64.
 *
 * The instruction stands amid INT3s, so that every way out of it ends in SIGTRAP. Register state goes in and out through
 * the signal frame, whose CS and SS also choose 64-, 32- or 16-bit code (segments of a local descriptor table). The
 * handler runs on its own stack and touches neither thread-local storage nor the C library: FS is the case's.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x20000000ul
#define CODE_SIZE 0x1000000ul
#define WINDOW 0x10001000ul
#define WINDOW_SIZE 0x3000ul
#define READ_ONLY 0x2000ul
#define FLAGS_KEPT 0xcd5u
/* of an instruction, and of a sequence */
#define LONGEST 128
#define ENVIRONMENTS 4

struct environment {
  uint16_t es, cs, ss, ds, fs, gs;
  uint32_t code_base;
  uint64_t fs_base, gs_base;
};

/* What follows: `pokes` pokes of struct poke. */
struct request {
  uint8_t environment, xmm, length, pokes;
  uint32_t rip;
  uint8_t bytes[LONGEST];
  uint64_t gpr[16];
  uint64_t flags;
  uint8_t v[256];
};

struct poke {
  uint16_t at, size;
  uint8_t bytes[32];
};

/* What follows: `changed` words, offset in the window << 8 | byte. */
struct reply {
  uint32_t trap, error;
  uint64_t address, rip, flags;
  uint64_t gpr[16];
  uint32_t xmm, changed;
  uint8_t v[256];
};

static struct environment environments[ENVIRONMENTS];
static struct request request;
static uint8_t pattern[WINDOW_SIZE], shadow[WINDOW_SIZE];
/* Second, writable views of the code region and the window. */
static uint8_t *code, *window;
static int first = 1;
static int current = -1;

static uint8_t in[1 << 16], out[1 << 16];
static size_t in_at, in_end, out_end;

static long call(long n, long a, long b, long c) {
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return r;
}

static void flush(void) {
  size_t at = 0;
  while (at < out_end) {
    long n = call(SYS_write, 1, (long)(out + at), (long)(out_end - at));
    if (n <= 0) call(SYS_exit_group, 3, 0, 0);
    at += (size_t)n;
  }
  out_end = 0;
}

static void put(const void *from, size_t n) {
  if (out_end + n > sizeof out) flush();
  __builtin_memcpy(out + out_end, from, n);
  out_end += n;
}

/* Whether `n` bytes were there. A partner that waits for replies gets them before we wait for requests. */
static int get(void *to, size_t n) {
  uint8_t *p = to;
  while (n > 0) {
    if (in_at == in_end) {
      flush();
      long got = call(SYS_read, 0, (long)in, sizeof in);
      if (got <= 0) return 0;
      in_at = 0;
      in_end = (size_t)got;
    }
    size_t part = in_end - in_at < n ? in_end - in_at : n;
    __builtin_memcpy(p, in + in_at, part);
    in_at += part;
    p += part;
    n -= part;
  }
  return 1;
}

/* The XMM registers in the frame; the extended part says which of them are not in their initial state. */
static struct _libc_fpstate *vectors(ucontext_t *uc) {
  return uc->uc_mcontext.fpregs;
}
static uint64_t *in_use(ucontext_t *uc) {
  return (uint64_t *)((uint8_t *)vectors(uc) + 512);
}

static void emit(ucontext_t *uc) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  static struct reply r;
  const greg_t *g = uc->uc_mcontext.gregs;
  r.trap = (uint32_t)g[REG_TRAPNO];
  r.error = (uint32_t)g[REG_ERR];
  r.address = (uint64_t)g[REG_CR2];
  r.rip = (uint64_t)g[REG_RIP];
  r.flags = (uint64_t)g[REG_EFL] & FLAGS_KEPT;
  for (int i = 0; i < 16; i++) r.gpr[i] = (uint64_t)g[order[i]];
  r.xmm = request.xmm;
  if (*in_use(uc) & 2) __builtin_memcpy(r.v, vectors(uc)->_xmm, 256);
  else __builtin_memset(r.v, 0, 256);
  r.changed = 0;
  for (uint32_t i = 0; i < WINDOW_SIZE; i++) r.changed += window[i] != shadow[i];
  put(&r, sizeof r - (request.xmm ? 0 : sizeof r.v));
  for (uint32_t i = 0; r.changed > 0 && i < WINDOW_SIZE; i++) {
    if (window[i] == shadow[i]) continue;
    uint32_t item = i << 8 | window[i];
    put(&item, 4);
  }
  __builtin_memset(code + request.rip + environments[request.environment].code_base - CODE_BASE, 0xcc, LONGEST);
}

static void enter(int n) {
  const struct environment *e = &environments[n];
  if (n == current) return;
  current = n;
  __asm__ volatile("mov %0, %%es" : : "r"((uint32_t)e->es));
  __asm__ volatile("mov %0, %%ds" : : "r"((uint32_t)e->ds));
  __asm__ volatile("mov %0, %%fs" : : "r"((uint32_t)e->fs));
  __asm__ volatile("mov %0, %%gs" : : "r"((uint32_t)e->gs));
  if (n != 0) return;
  call(SYS_arch_prctl, ARCH_SET_FS, (long)e->fs_base, 0);
  call(SYS_arch_prctl, ARCH_SET_GS, (long)e->gs_base, 0);
}

static void handler(int signal, siginfo_t *info, void *context) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  (void)signal;
  (void)info;
  ucontext_t *uc = context;
  greg_t *g = uc->uc_mcontext.gregs;
  if (!first) emit(uc);
  first = 0;
  /* NT and ID are not in the frame: what a POPF set would stay */
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~0x204000ull);
  if (!get(&request, sizeof request - sizeof request.v) || (request.xmm && !get(request.v, sizeof request.v))) {
    flush();
    call(SYS_exit_group, 0, 0, 0);
  }
  __builtin_memcpy(window, pattern, WINDOW_SIZE);
  __builtin_memcpy(shadow, pattern, WINDOW_SIZE);
  for (int i = 0; i < request.pokes; i++) {
    struct poke p;
    if (!get(&p, sizeof p)) call(SYS_exit_group, 4, 0, 0);
    __builtin_memcpy(window + p.at, p.bytes, p.size);
    __builtin_memcpy(shadow + p.at, p.bytes, p.size);
  }
  const struct environment *e = &environments[request.environment];
  __builtin_memcpy(code + request.rip + e->code_base - CODE_BASE, request.bytes, request.length);
  enter(request.environment);
  for (int i = 0; i < 16; i++) g[order[i]] = (greg_t)request.gpr[i];
  g[REG_RIP] = (greg_t)request.rip;
  g[REG_EFL] = (greg_t)(0x202 | (request.flags & FLAGS_KEPT));
  g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000) | e->cs | (greg_t)((uint64_t)e->ss << 48);
  uc->uc_flags |= 6; /* restore SS as the frame says */
  if (!request.xmm) return;
  __builtin_memcpy(vectors(uc)->_xmm, request.v, sizeof request.v);
  *in_use(uc) |= 2;
}

static void fail(const char *what) {
  perror(what);
  _exit(2);
}

/* Maps `size` bytes at `at`, with a second view of them that stays writable. */
static uint8_t *twice(unsigned long at, size_t size, int protection) {
  int fd = memfd_create("world", 0);
  if (fd < 0 || ftruncate(fd, (off_t)size) != 0) fail("memfd");
  if (mmap((void *)at, size, protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) != (void *)at) fail("mmap");
  uint8_t *view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (view == MAP_FAILED) fail("mmap view");
  return view;
}

/* Segments and environments stand before the first request. */
static void segments(void) {
  uint32_t count;
  if (!get(&count, sizeof count)) fail("no segments");
  for (uint32_t i = 0; i < count; i++) {
    struct user_desc d;
    if (!get(&d, sizeof d)) fail("no segment");
    if (syscall(SYS_modify_ldt, 1, &d, sizeof d) != 0) fail("modify_ldt");
  }
  if (!get(environments, sizeof environments)) fail("no environments");
}

int main(void) {
  code = twice(CODE_BASE, CODE_SIZE, PROT_READ | PROT_EXEC);
  window = twice(WINDOW, WINDOW_SIZE, PROT_READ | PROT_WRITE);
  if (mprotect((void *)(WINDOW + READ_ONLY), WINDOW_SIZE - READ_ONLY, PROT_READ) != 0) fail("mprotect");
  /* a page that is not there yet would tell so in error codes */
  for (unsigned long at = WINDOW; at < WINDOW + WINDOW_SIZE; at += 0x1000) (void)*(volatile uint8_t *)at;
  memset(code, 0xcc, CODE_SIZE);
  for (uint32_t i = 0; i < WINDOW_SIZE; i++) pattern[i] = (uint8_t)((i * 2654435761u) >> 24) ^ (uint8_t)i;
  segments();
  static uint8_t stack[1 << 18];
  stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
  if (sigaltstack(&ss, NULL) != 0) fail("sigaltstack");
  struct sigaction sa;
  memset(&sa, 0, sizeof sa);
  sa.sa_sigaction = handler;
  sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &sa, NULL);
  __asm__ volatile("int3");
  return 1;
}
