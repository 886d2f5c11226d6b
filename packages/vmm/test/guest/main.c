/* What the multiboot kernel does in long mode: says over COM1 what it was given; its result goes to the exit port. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

struct module {
  u32 start, end, text, reserved;
};
struct information {
  u32 flags, mem_lower, mem_upper, boot_device, command_line, modules_count, modules, symbols[4];
  u32 map_length, map;
};
struct range {
  u32 size;
  u64 base, length;
  u32 type;
} __attribute__((packed));

enum { COM1 = 0x3f8, LSR = COM1 + 5, EMPTY = 0x20 };

static u8 in(unsigned short port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static void out(unsigned short port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void put(char c) {
  while (!(in(LSR) & EMPTY)) {
  }
  out(COM1, (u8)c);
}
static void say(const char *text) {
  while (*text) put(*text++);
}
static void number(u64 n) {
  for (int shift = 60; shift >= 0; shift -= 4)
    if (n >> shift || shift == 0) put("0123456789abcdef"[(n >> shift) & 15]);
}
static void *at(u32 address) { return (void *)(u64)address; }

int main(u32 magic, const struct information *info) {
  say("magic ");
  number(magic);
  say(", lower ");
  number(info->mem_lower);
  say(", upper ");
  number(info->mem_upper);
  say("\ncommand line: ");
  say(at(info->command_line));
  const struct module *modules = at(info->modules);
  for (u32 i = 0; i < info->modules_count; i++) {
    say("\nmodule ");
    say(at(modules[i].text));
    say(": ");
    for (const char *c = at(modules[i].start); c < (char *)at(modules[i].end); c++) put(*c);
  }
  for (u32 offset = 0; offset < info->map_length;) {
    const struct range *r = at(info->map + offset);
    say("\nmemory ");
    number(r->base);
    say("+");
    number(r->length);
    say(r->type == 1 ? " ram" : " reserved");
    offset += r->size + 4;
  }
  say("\n");
  u64 efer_lma;
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080));
  efer_lma = low >> 10 & 1;
  return magic == 0x2badb002 && efer_lma ? 0x10 : 0x11;
}
