/* What <linux/kvm.h> says of interrupt controllers in the kernel, one "name value" a line. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <linux/kvm.h>

static void number(const char *name, unsigned long long v) { printf("%s %llu\n", name, v); }
#define SIZE(t) number("sizeof." #t, sizeof(struct t))
#define NR(n) number(#n, (unsigned int)(n))
#define AT(t, m) number("offset." #t "." #m, offsetof(struct t, m))

static void bytes(const char *name, const void *p, size_t n) {
  const unsigned char *b = p;
  printf("%s ", name);
  for (size_t i = 0; i < n; i++) printf("%02x", b[i]);
  printf("\n");
}

static void operations(void) {
  struct kvm_irqchip chip;
  memset(&chip, 0, sizeof chip);
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  struct kvm_ioapic_state *io = &chip.chip.ioapic;
  io->base_address = 0xfec00000, io->ioregsel = 0x12, io->id = 3, io->irr = 0x00810203;
  for (int i = 0; i < 24; i++) io->redirtbl[i].bits = 0x0100000000010030ULL + ((unsigned long long)i << 56) + i;
  bytes("op.set-irqchip", &chip, sizeof chip);
  memset(&chip, 0, sizeof chip);
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  struct kvm_pic_state pic = { 1, 2, 3, 4, 5, 0x70, 1, 0, 1, 0, 1, 0, 1, 1, 0x10, 0xde };
  chip.chip.pic = pic;
  bytes("op.set-irqchip.pic", &chip, sizeof chip);

  struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
  bytes("op.create-pit2", &config, sizeof config);

  struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry e[2]; } routing;
  memset(&routing, 0, sizeof routing);
  routing.head.nr = 2;
  routing.e[0].gsi = 0, routing.e[0].type = KVM_IRQ_ROUTING_IRQCHIP;
  routing.e[0].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC, routing.e[0].u.irqchip.pin = 2;
  routing.e[1].gsi = 24, routing.e[1].type = KVM_IRQ_ROUTING_MSI;
  routing.e[1].u.msi.address_lo = 0xfee01000, routing.e[1].u.msi.address_hi = 1, routing.e[1].u.msi.data = 0x4051;
  bytes("op.set-gsi-routing", &routing, sizeof routing);
}

int main(void) {
  SIZE(kvm_irqchip);
  SIZE(kvm_pic_state);
  SIZE(kvm_ioapic_state);
  SIZE(kvm_lapic_state);
  SIZE(kvm_pit_state2);
  SIZE(kvm_pit_channel_state);
  SIZE(kvm_pit_config);
  SIZE(kvm_irq_routing);
  SIZE(kvm_irq_routing_entry);
  AT(kvm_pit_channel_state, latched_count);
  AT(kvm_pit_channel_state, count_latched);
  AT(kvm_pit_channel_state, rw_mode);
  AT(kvm_pit_channel_state, mode);
  AT(kvm_pit_channel_state, gate);
  AT(kvm_pit_channel_state, count_load_time);
  AT(kvm_pit_state2, flags);
  AT(kvm_pic_state, imr);
  AT(kvm_pic_state, irq_base);
  AT(kvm_pic_state, elcr_mask);
  AT(kvm_ioapic_state, redirtbl);
  NR(KVM_CREATE_IRQCHIP);
  NR(KVM_CREATE_PIT2);
  NR(KVM_GET_IRQCHIP);
  NR(KVM_SET_IRQCHIP);
  NR(KVM_GET_PIT2);
  NR(KVM_SET_PIT2);
  NR(KVM_SET_GSI_ROUTING);
  NR(KVM_GET_LAPIC);
  NR(KVM_SET_LAPIC);
  NR(KVM_CAP_IRQCHIP);
  NR(KVM_CAP_IRQ_ROUTING);
  NR(KVM_CAP_IRQ_INJECT_STATUS);
  NR(KVM_CAP_PIT2);
  NR(KVM_CAP_PIT_STATE2);
  NR(KVM_CAP_TSC_DEADLINE_TIMER);
  NR(KVM_CAP_SIGNAL_MSI);
  operations();
  return 0;
}
