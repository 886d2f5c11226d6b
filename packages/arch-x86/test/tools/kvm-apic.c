/*
 * Runs the guest of support/apic-image.ts on real KVM with its interrupt controllers and timer:
 * kvm-apic IMAGE OUT CPUS. Memory is 32 MiB at 0; the image lies at 1 MiB and starts at the entry of its multiboot header,
 * in flat 32-bit protected mode. When it asks port 3FDh, its results (a length, then that many bytes) go to OUT.
 * Exit status 2: there is no KVM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY (32u << 20)
#define IMAGE 0x100000u
#define RESULTS 0x800000u

static unsigned char *memory;
static const char *out;
static int kvm, runsize, cpus;

static void die(const char *what, int status)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(status);
}

static unsigned word(unsigned at)
{
	unsigned v;
	memcpy(&v, memory + at, 4);
	return v;
}

static void flat(struct kvm_segment *s, int selector, int type)
{
	memset(s, 0, sizeof *s);
	s->selector = selector;
	s->limit = 0xffffffff;
	s->type = type;
	s->present = s->s = s->db = s->g = 1;
}

static void cpuid(int vcpu, unsigned id)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} c;
	memset(&c, 0, sizeof c);
	c.head.nent = 256;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c) < 0)
		die("KVM_GET_SUPPORTED_CPUID", 1);
	for (unsigned n = 0; n < c.head.nent; n++)
		if (c.entries[n].function == 1) {
			c.entries[n].ebx = (c.entries[n].ebx & 0xffff) | (unsigned)cpus << 16 | id << 24;
			/* x2APIC and TSC deadline */
			c.entries[n].ecx |= 1u << 21 | 1u << 24;
		}
	if (ioctl(vcpu, KVM_SET_CPUID2, &c) < 0)
		die("KVM_SET_CPUID2", 1);
}

static void finish(void)
{
	FILE *f = fopen(out, "wb");
	if (!f || fwrite(memory + RESULTS, 1, word(RESULTS) + 4, f) == 0 || fclose(f))
		die("writing", 1);
	exit(0);
}

static void *run(void *arg)
{
	int vcpu = (int)(long)arg;
	struct kvm_run *r = mmap(NULL, runsize, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (r == MAP_FAILED)
		die("mmap of kvm_run", 1);
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			if (errno == EAGAIN || errno == EINTR)
				continue;
			die("KVM_RUN", 1);
		}
		if (r->exit_reason == KVM_EXIT_IO && r->io.port == 0x3fd)
			finish();
		if (r->exit_reason == KVM_EXIT_IO)
			continue;
		struct kvm_regs regs;
		ioctl(vcpu, KVM_GET_REGS, &regs);
		fprintf(stderr, "exit %u at %llx\n", r->exit_reason, (unsigned long long)regs.rip);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 1;
	out = argv[2];
	cpus = atoi(argv[3]);
	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		die("/dev/kvm", 2);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM", 2);
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
		die("KVM_CREATE_IRQCHIP", 2);
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	if (ioctl(vm, KVM_CREATE_PIT2, &pit) < 0)
		die("KVM_CREATE_PIT2", 2);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = MEMORY, .userspace_addr = (unsigned long)memory };
	if (memory == MAP_FAILED || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		die("memory", 1);
	FILE *f = fopen(argv[1], "rb");
	if (!f || fread(memory + IMAGE, 1, MEMORY - IMAGE, f) == 0)
		die(argv[1], 1);
	runsize = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	pthread_t threads[8];
	for (long n = 0; n < cpus && n < 8; n++) {
		int vcpu = ioctl(vm, KVM_CREATE_VCPU, n);
		if (vcpu < 0)
			die("KVM_CREATE_VCPU", 1);
		cpuid(vcpu, n);
		if (n == 0) {
			struct kvm_sregs s;
			struct kvm_regs regs = { .rip = word(IMAGE + 28), .rflags = 2 };
			if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
				die("KVM_GET_SREGS", 1);
			flat(&s.cs, 8, 11);
			flat(&s.ds, 16, 3);
			s.es = s.fs = s.gs = s.ss = s.ds;
			s.cr0 = 0x11;
			s.cr3 = s.cr4 = s.efer = 0;
			if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
				die("KVM_SET_SREGS", 1);
		}
		if (pthread_create(&threads[n], NULL, run, (void *)(long)vcpu))
			die("pthread_create", 1);
	}
	for (int n = 0; n < cpus && n < 8; n++)
		pthread_join(threads[n], NULL);
	return 1;
}
