/*
 * KVM_SET_MSRS and KVM_GET_MSRS on a real vCPU, each case on its own: reads "index value" in hexadecimal from standard
 * input, and prints what setting returned, what getting returned, and the value. CPUID is what KVM supports here, with
 * the bits of leaf 80000001h ECX that begin the line "cpuid".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

struct one {
  struct kvm_msrs head;
  struct kvm_msr_entry e;
};

int main(void) {
  int kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) {
    puts("none");
    return 0;
  }
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + 256 * sizeof(struct kvm_cpuid_entry2));
  cpuid->nent = 256;
  if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)) return 1;
  unsigned index;
  unsigned long long value;
  while (scanf("%x %llx", &index, &value) == 2) {
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0 || ioctl(vcpu, KVM_SET_CPUID2, cpuid)) return 1;
    struct one set = { .head.nmsrs = 1, .e = { .index = index, .data = value } };
    struct one get = { .head.nmsrs = 1, .e = { .index = index } };
    int s = ioctl(vcpu, KVM_SET_MSRS, &set);
    int g = ioctl(vcpu, KVM_GET_MSRS, &get);
    printf("%x %llx %d %d %llx\n", index, value, s, g, (unsigned long long)get.e.data);
    close(vcpu);
    close(vm);
  }
  return 0;
}
