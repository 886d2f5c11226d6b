/*
 * Runs an image of many cases (support/bare-image.ts) on real KVM: kvm-system IMAGE OUT
 * Memory is 32 MiB at 0; the image lies at 1 MiB and starts at the entry of its multiboot header, in flat 32-bit protected
 * mode. CPUID is what KVM supports. Port 3FDh ends the run: all cases are through, and the records go to OUT.
 * With a third argument, an address, the image is a plain one, and OUT gets what lies there (a length, then that many bytes)
 * when it asks port 3FDh or writes to port F4h; standard output tells how it ended.
 * Otherwise, behind the multiboot header the image says where it goes on after a case without an exception (EAX: FFh shutdown, FEh
 * KVM cannot emulate an instruction), where its IRETD into a case is, and where its records are. KVM's emulator has no IRETD
 * outside of real mode, so that one is carried out here.
 * Exit status 2: there is no KVM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define MEMORY (32u << 20)
#define IMAGE 0x100000u

static void die(const char *what, int status)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(status);
}

static void flat(struct kvm_segment *s, int selector, int type)
{
	memset(s, 0, sizeof *s);
	s->selector = selector;
	s->limit = 0xffffffff;
	s->type = type;
	s->present = s->s = s->db = s->g = 1;
}

static void cpuid(int kvm, int vcpu, int print)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} c;
	memset(&c, 0, sizeof c);
	c.head.nent = 256;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c) < 0)
		die("KVM_GET_SUPPORTED_CPUID", 1);
	if (print)
		for (unsigned n = 0; n < c.head.nent; n++)
			printf("%08x %x: %08x %08x %08x %08x\n", c.entries[n].function, c.entries[n].index,
				c.entries[n].eax, c.entries[n].ebx, c.entries[n].ecx, c.entries[n].edx);
	if (ioctl(vcpu, KVM_SET_CPUID2, &c) < 0)
		die("KVM_SET_CPUID2", 1);
}

static unsigned char *memory;

static unsigned word(unsigned at)
{
	unsigned v;
	memcpy(&v, memory + at, 4);
	return v;
}

/* Puts the vCPU into flat protected mode. */
static void restart(int vcpu, unsigned rip, unsigned eax)
{
	struct kvm_sregs s;
	struct kvm_regs regs = { .rip = rip, .rflags = 2, .rax = eax };
	struct kvm_vcpu_events events;
	struct kvm_mp_state state = { KVM_MP_STATE_RUNNABLE };
	memset(&events, 0, sizeof events);
	ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events);
	ioctl(vcpu, KVM_SET_MP_STATE, &state);
	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		die("KVM_GET_SREGS", 1);
	flat(&s.cs, 8, 11);
	flat(&s.ds, 16, 3);
	s.es = s.fs = s.gs = s.ss = s.ds;
	s.cr0 = 0x11;
	s.cr3 = s.cr4 = s.efer = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0)
		die("KVM_SET_SREGS", 1);
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		die("KVM_SET_REGS", 1);
}

static void load(struct kvm_segment *s, unsigned selector, int v86)
{
	memset(s, 0, sizeof *s);
	s->selector = selector;
	if (v86) {
		s->base = selector << 4;
		s->limit = 0xffff;
		s->type = 3;
		s->s = s->present = 1;
		s->dpl = 3;
		return;
	}
	unsigned lo = word(0x1000 + (selector & ~7u)), hi = word(0x1004 + (selector & ~7u));
	s->base = (lo >> 16) | (hi & 0xff) << 16 | (hi & 0xff000000);
	s->limit = (lo & 0xffff) | (hi & 0xf0000);
	s->g = hi >> 23 & 1;
	if (s->g)
		s->limit = s->limit << 12 | 0xfff;
	s->type = (hi >> 8 & 15) | 1;
	s->s = hi >> 12 & 1;
	s->dpl = hi >> 13 & 3;
	s->present = hi >> 15 & 1;
	s->avl = hi >> 20 & 1;
	s->l = hi >> 21 & 1;
	s->db = hi >> 22 & 1;
}

/* IRETD from the image's own code, on flat or 16-bit stacks. Under paging low memory is where it always is. */
static void iretd(int vcpu)
{
	struct kvm_sregs s;
	struct kvm_regs r;
	ioctl(vcpu, KVM_GET_SREGS, &s);
	ioctl(vcpu, KVM_GET_REGS, &r);
	unsigned at = s.ss.base + (s.ss.db ? r.rsp : r.rsp & 0xffff);
	unsigned cs = word(at + 4) & 0xffff;
	r.rip = word(at);
	r.rflags = word(at + 8);
	int v86 = r.rflags >> 17 & 1;
	load(&s.cs, cs, v86);
	if (v86 || (cs & 3)) {
		unsigned esp = word(at + 12);
		load(&s.ss, word(at + 16) & 0xffff, v86);
		r.rsp = s.ss.db || v86 ? esp : (r.rsp & ~0xffffull) | (esp & 0xffff);
	} else
		r.rsp += 12;
	if (v86) {
		load(&s.es, word(at + 20) & 0xffff, 1);
		load(&s.ds, word(at + 24) & 0xffff, 1);
		load(&s.fs, word(at + 28) & 0xffff, 1);
		load(&s.gs, word(at + 32) & 0xffff, 1);
	}
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0)
		die("KVM_SET_SREGS of a case", 1);
}

static void woken(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "kvm-system IMAGE OUT\n");
		return 1;
	}
	struct sigaction wake = { .sa_handler = woken };
	sigaction(SIGALRM, &wake, 0);
	int kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		die("/dev/kvm", 2);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM", 2);
	memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap", 1);
	FILE *f = fopen(argv[1], "rb");
	if (!f)
		die(argv[1], 1);
	if (fread(memory + IMAGE, 1, MEMORY - IMAGE, f) < 48)
		die("an image this short", 1);
	fclose(f);
	unsigned start = word(IMAGE + 28), failed = word(IMAGE + 32), enter = word(IMAGE + 36), results = word(IMAGE + 44);
	int plain = argc > 3;
	if (plain)
		results = strtoul(argv[3], 0, 0);
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	struct kvm_userspace_memory_region region = {
		.slot = 0, .guest_phys_addr = 0, .memory_size = MEMORY, .userspace_addr = (unsigned long)memory,
	};
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		die("KVM_SET_USER_MEMORY_REGION", 1);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		die("KVM_CREATE_VCPU", 1);
	cpuid(kvm, vcpu, getenv("KVM_SYSTEM_CPUID") != 0);
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		die("mmap of the vCPU", 1);
	restart(vcpu, start, 0);

	const struct itimerval soon = { .it_value = { 2, 0 } };
	unsigned last = 0, still = 0;
	for (;;) {
		struct kvm_regs regs;
		setitimer(ITIMER_REAL, &soon, 0);
		int rc = ioctl(vcpu, KVM_RUN, 0);
		if (rc < 0 && errno == EINTR) {
			/* a case that never ends */
			restart(vcpu, failed, 0xfe);
			continue;
		}
		if (rc < 0 && getenv("KVM_SYSTEM_TALK"))
			fprintf(stderr, "KVM_RUN: %s\n", strerror(errno));
		unsigned reason = rc < 0 ? KVM_EXIT_INTERNAL_ERROR : run->exit_reason;
		if (reason == KVM_EXIT_IO) {
			unsigned char *data = (unsigned char *)run + run->io.data_offset;
			if (run->io.direction == KVM_EXIT_IO_IN)
				memset(data, 0xff, run->io.size * run->io.count);
			if (run->io.port == 0x3fd && run->io.direction == KVM_EXIT_IO_IN)
				break;
			if (plain && run->io.port == 0xf4)
				break;
			continue;
		}
		if (reason == KVM_EXIT_MMIO) {
			memset(run->mmio.data, 0xff, 8);
			continue;
		}
		if (reason == KVM_EXIT_SET_TPR)
			continue;
		ioctl(vcpu, KVM_GET_REGS, &regs);
		if (getenv("KVM_SYSTEM_TALK"))
			fprintf(stderr, "case %u: reason %u rip %llx\n", word(0x7ff00c), reason, regs.rip);
		if (reason == KVM_EXIT_INTERNAL_ERROR && regs.rip == enter) {
			iretd(vcpu);
			continue;
		}
		if (plain) {
			printf("reason %u at %llx\n", reason, regs.rip);
			break;
		}
		/* the image's own code fails: give up */
		still = word(0x7ff00c) == last ? still + 1 : 0;
		last = word(0x7ff00c);
		if (still > 3) {
			fprintf(stderr, "stuck in case %u, rip %llx, reason %u\n", last, regs.rip, reason);
			return 1;
		}
		restart(vcpu, failed, reason == KVM_EXIT_SHUTDOWN ? 0xff : 0xfe);
	}
	FILE *out = fopen(argv[2], "wb");
	if (!out)
		die(argv[2], 1);
	unsigned length = word(results);
	fwrite(memory + results, 1, length < MEMORY - results - 4 ? length + 4 : 4, out);
	fclose(out);
	return 0;
}
