/*
 * Runs single instructions (or short sequences) from standard input and prints the machine state after each:
 * the oracle behind the instruction vectors. Linux on AArch64, or qemu-aarch64.
 *
 * The code slot is in the middle of a region filled with BRK instructions, so that every way out of the sequence ends
 * in SIGTRAP. Register state goes in and out through the signal frame; the handler runs on its own stack.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x20000000ul
#define CODE_SIZE 0x240000ul
#define CODE_SLOT 0x20120000ul
#define WINDOW 0x10001000ul
#define WINDOW_SIZE 0x1000ul
#define MAX_WORDS 8

struct state {
  uint64_t x[31], sp, pc, nzcv;
  uint64_t v[64];
};

struct request {
  uint32_t count;
  uint32_t words[MAX_WORDS];
  uint32_t pad;
  struct state state;
};

struct reply {
  uint32_t signal;
  uint32_t code;
  uint64_t address;
  struct state state;
};

static struct request request;
static uint8_t pattern[WINDOW_SIZE];
static int first = 1;

static void fail(const char *what) {
  perror(what);
  _exit(2);
}

static int read_all(void *to, size_t n) {
  return fread(to, 1, n, stdin) == n;
}

/* BRK with an immediate that varies by place, so that literal loads see varied data. */
static uint32_t filler(uint64_t at) {
  uint32_t n = (uint32_t)(at >> 2);
  return 0xd4200000u | (((n * 2654435761u) >> 16) << 5 & 0x1fffe0u);
}

static struct fpsimd_context *simd(ucontext_t *uc) {
  struct _aarch64_ctx *h = (struct _aarch64_ctx *)uc->uc_mcontext.__reserved;
  while (h->magic != 0 && h->magic != FPSIMD_MAGIC) h = (struct _aarch64_ctx *)((char *)h + h->size);
  if (h->magic == 0) fail("no FP state in the signal frame");
  return (struct fpsimd_context *)h;
}

static void emit(int signal, siginfo_t *info, ucontext_t *uc) {
  struct reply r;
  memset(&r, 0, sizeof r);
  r.signal = (uint32_t)signal;
  r.code = (uint32_t)info->si_code;
  r.address = (uint64_t)info->si_addr;
  memcpy(r.state.x, uc->uc_mcontext.regs, sizeof r.state.x);
  r.state.sp = uc->uc_mcontext.sp;
  r.state.pc = uc->uc_mcontext.pc;
  r.state.nzcv = uc->uc_mcontext.pstate & 0xf0000000u;
  memcpy(r.state.v, simd(uc)->vregs, sizeof r.state.v);
  fwrite(&r, sizeof r, 1, stdout);
  uint8_t *w = (uint8_t *)WINDOW;
  uint32_t changed = 0;
  for (uint32_t i = 0; i < WINDOW_SIZE; i++) changed += w[i] != pattern[i];
  fwrite(&changed, 4, 1, stdout);
  for (uint32_t i = 0; i < WINDOW_SIZE; i++) {
    if (w[i] == pattern[i]) continue;
    uint32_t item = i << 8 | w[i];
    fwrite(&item, 4, 1, stdout);
    w[i] = pattern[i];
  }
}

/* The region is read-only for the cases; only the slot is ever written, here. */
static void slot_writable(int on) {
  if (mprotect((void *)(CODE_SLOT & ~0xffful), 0x1000, PROT_READ | (on ? PROT_WRITE : PROT_EXEC)) != 0) fail("mprotect");
}

static void handler(int signal, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  if (!first) {
    emit(signal, info, uc);
    slot_writable(1);
    for (uint32_t i = 0; i < MAX_WORDS; i++) {
      uint64_t at = CODE_SLOT + 4 * i;
      *(uint32_t *)at = filler(at);
    }
  }
  first = 0;
  slot_writable(1);
  if (!read_all(&request, sizeof request)) {
    fflush(stdout);
    _exit(0);
  }
  for (uint32_t i = 0; i < request.count; i++) ((uint32_t *)CODE_SLOT)[i] = request.words[i];
  slot_writable(0);
  __builtin___clear_cache((char *)CODE_SLOT, (char *)CODE_SLOT + 4 * MAX_WORDS);
  memcpy(uc->uc_mcontext.regs, request.state.x, sizeof request.state.x);
  uc->uc_mcontext.sp = request.state.sp;
  uc->uc_mcontext.pc = CODE_SLOT;
  uc->uc_mcontext.pstate = (uc->uc_mcontext.pstate & ~0xf0000000ul) | request.state.nzcv;
  memcpy(simd(uc)->vregs, request.state.v, sizeof request.state.v);
}

int main(void) {
  uint8_t *code = mmap((void *)CODE_BASE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (code != (uint8_t *)CODE_BASE) fail("mmap code");
  for (uint64_t at = CODE_BASE; at < CODE_BASE + CODE_SIZE; at += 4) *(uint32_t *)at = filler(at);
  if (mprotect(code, CODE_SIZE, PROT_READ | PROT_EXEC) != 0) fail("mprotect code");
  uint8_t *w = mmap((void *)(WINDOW - 0x1000), WINDOW_SIZE + 0x2000, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (w != (uint8_t *)(WINDOW - 0x1000)) fail("mmap window");
  if (mprotect((void *)WINDOW, WINDOW_SIZE, PROT_READ | PROT_WRITE) != 0) fail("mprotect");
  for (uint32_t i = 0; i < WINDOW_SIZE; i++) pattern[i] = (uint8_t)((i * 2654435761u) >> 24) ^ (uint8_t)i;
  memcpy((void *)WINDOW, pattern, WINDOW_SIZE);
  static uint8_t stack[1 << 16];
  stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
  if (sigaltstack(&ss, NULL) != 0) fail("sigaltstack");
  struct sigaction sa;
  memset(&sa, 0, sizeof sa);
  sa.sa_sigaction = handler;
  sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &sa, NULL);
  __asm__ volatile("brk #0");
  return 1;
}
