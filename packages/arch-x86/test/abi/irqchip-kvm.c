/*
 * What KVM's interrupt controllers are after KVM_CREATE_IRQCHIP, and what its ioctls answer, one "name value" a line.
 * Two vCPUs, which never run. Exit status 2: there is no KVM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static void hex(const char *name, const void *p, size_t n)
{
	const unsigned char *b = p;
	printf("%s ", name);
	for (size_t i = 0; i < n; i++)
		printf("%02x", b[i]);
	printf("\n");
}
static void answer(const char *name, int r) { printf("%s %d\n", name, r < 0 ? -errno : r); }

static int vm;

static int status(unsigned irq, unsigned level)
{
	struct kvm_irq_level l = { .irq = irq, .level = level };
	if (ioctl(vm, KVM_IRQ_LINE_STATUS, &l) < 0)
		return -1000 - errno;
	return (int)l.status;
}
static void lines(const char *name, unsigned irq)
{
	printf("%s %d", name, status(irq, 1));
	printf(",%d", status(irq, 1));
	printf(",%d", status(irq, 0));
	printf(",%d\n", status(irq, 1));
}
static int msi(unsigned address, unsigned data)
{
	struct kvm_msi m = { .address_lo = address, .data = data };
	return ioctl(vm, KVM_SIGNAL_MSI, &m);
}
static int routing(unsigned chip, unsigned pin, unsigned flags, unsigned again)
{
	struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry e[2]; } r;
	memset(&r, 0, sizeof r);
	r.head.nr = 1 + again;
	r.head.flags = flags;
	for (int i = 0; i < 2; i++) {
		r.e[i].gsi = 3, r.e[i].type = KVM_IRQ_ROUTING_IRQCHIP;
		r.e[i].u.irqchip.irqchip = chip, r.e[i].u.irqchip.pin = pin;
	}
	return ioctl(vm, KVM_SET_GSI_ROUTING, &r);
}
static void entry(unsigned pin, unsigned long long bits)
{
	struct kvm_irqchip c = { .chip_id = 2 };
	ioctl(vm, KVM_GET_IRQCHIP, &c);
	c.chip.ioapic.redirtbl[pin].bits = bits;
	ioctl(vm, KVM_SET_IRQCHIP, &c);
}

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0 || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
		return 2;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_pit_state2 p;
	struct kvm_irqchip c = { .chip_id = 0 };
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	answer("none.get-irqchip", ioctl(vm, KVM_GET_IRQCHIP, &c));
	answer("none.create-pit2", ioctl(vm, KVM_CREATE_PIT2, &pit));
	answer("none.irq-line", status(4, 1));
	answer("none.signal-msi", msi(0xfee00000, 0x41));
	answer("none.set-gsi-routing", routing(2, 3, 0, 0));
	answer("create-irqchip", ioctl(vm, KVM_CREATE_IRQCHIP, 0));
	answer("create-irqchip.again", ioctl(vm, KVM_CREATE_IRQCHIP, 0));
	answer("get-pit2.none", ioctl(vm, KVM_GET_PIT2, &p));
	answer("create-pit2", ioctl(vm, KVM_CREATE_PIT2, &pit));
	answer("create-pit2.again", ioctl(vm, KVM_CREATE_PIT2, &pit));
	int vcpus[2];
	for (int n = 0; n < 2; n++) {
		char name[32];
		struct kvm_lapic_state l;
		struct kvm_mp_state m;
		vcpus[n] = ioctl(vm, KVM_CREATE_VCPU, n);
		ioctl(vcpus[n], KVM_GET_LAPIC, &l);
		sprintf(name, "lapic.%d", n);
		hex(name, &l, sizeof l);
		ioctl(vcpus[n], KVM_GET_MP_STATE, &m);
		sprintf(name, "mp-state.%d", n);
		answer(name, m.mp_state);
	}
	for (unsigned n = 0; n < 3; n++) {
		char name[32];
		memset(&c, 0, sizeof c);
		c.chip_id = n;
		ioctl(vm, KVM_GET_IRQCHIP, &c);
		sprintf(name, "irqchip.%u", n);
		hex(name, &c.chip, n < 2 ? sizeof c.chip.pic : sizeof c.chip.ioapic);
	}
	c.chip_id = 3;
	answer("get-irqchip.3", ioctl(vm, KVM_GET_IRQCHIP, &c));
	ioctl(vm, KVM_GET_PIT2, &p);
	for (int n = 0; n < 3; n++)
		p.channels[n].count_load_time = 0;
	hex("pit2", &p, sizeof p);
	/* KVM looks for ids in a map that lacks the vCPU made last until an APIC is written */
	for (int n = 0; n < 2; n++) {
		struct kvm_lapic_state l;
		ioctl(vcpus[n], KVM_GET_LAPIC, &l);
		ioctl(vcpus[n], KVM_SET_LAPIC, &l);
	}
	answer("msi.nobody", msi(0xfee09000, 0x41));
	answer("msi.disabled", msi(0xfee00000, 0x41));
	answer("msi.broadcast", msi(0xfeeff000, 0x41));
	answer("msi.nmi", msi(0xfee01000, 0x400));
	answer("routing.pin 24", routing(2, 24, 0, 0));
	answer("routing.pin 8", routing(0, 8, 0, 0));
	answer("routing.chip 3", routing(3, 0, 0, 0));
	answer("routing.flags", routing(2, 3, 1, 0));
	answer("routing.twice", routing(2, 3, 0, 1));
	lines("line.4", 4);
	lines("line.16", 16);
	lines("line.30", 30);
	struct kvm_lapic_state l;
	ioctl(vcpus[0], KVM_GET_LAPIC, &l);
	*(unsigned *)(l.regs + 0xf0) = 0x1ff;
	ioctl(vcpus[0], KVM_SET_LAPIC, &l);
	answer("msi.enabled", msi(0xfee00000, 0x41));
	entry(17, 0x42);
	lines("line.17 edge", 17);
	entry(18, 0x8043);
	lines("line.18 level", 18);
	entry(19, 0x0900000000008044);
	lines("line.19 level, for nobody", 19);
	memset(&c, 0, sizeof c);
	c.chip_id = 2;
	ioctl(vm, KVM_GET_IRQCHIP, &c);
	hex("irqchip.2 after", &c.chip, sizeof c.chip.ioapic);
	ioctl(vcpus[0], KVM_GET_LAPIC, &l);
	hex("lapic.0 after", &l, sizeof l);
	return 0;
}
