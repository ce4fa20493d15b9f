// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's ioctls as typed calls.  One helper does the call and turns errno into a sentence;
 * what EPERM, EBUSY ... mean depends on the request, so each wrapper says what it tried.
 */
#include "handover/dev.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/cleanup.h"

/* What the module means by an errno, beyond strerror. */
static const char *reason(int code)
{
	switch (code) {
	case -EPERM:
		return "the ledger does not allow it";
	case -EACCES:
		return "needs root (CAP_SYS_BOOT and CAP_SYS_ADMIN)";
	case -E2BIG:
	case -ENOTTY:
		return "the loaded khoctl module is older than this program; reload it: modprobe "
		       "-r khoctl && modprobe khoctl";
	case -ETIMEDOUT:
		return "no answer in time";
	case -EBUSY:
		return "busy";
	default:
		return strerror(-code);
	}
}

static int call(int fd, unsigned long request, void *arg, struct kho_err *err, const char *what)
{
	int code;

	if (ioctl(fd, request, arg) >= 0)
		return 0;
	code = -errno;
	return kho_fail(err, code, "%s: %s", what, reason(code));
}

int kho_dev_open(struct kho_err *err)
{
	int fd = open("/dev/khoctl", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
		return kho_fail(err, -ENOENT,
				"/dev/khoctl: the khoctl module is not loaded; load it: modprobe "
				"khoctl (package khoctl-dkms)");
	if (errno == EACCES || errno == EPERM)
		return kho_fail(err, -errno,
				"/dev/khoctl: needs root (CAP_SYS_BOOT and CAP_SYS_ADMIN)");
	return kho_fail_errno(err, "/dev/khoctl");
}

int kho_dev_info(int fd, struct kho_ioc_info *out, struct kho_err *err)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	return call(fd, KHO_IOC_INFO, out, err, "facts of the khoctl module");
}

int kho_dev_cpus(int fd, struct kho_cpu_info **out, size_t *out_n, struct kho_err *err)
{
	struct kho_ioc_cpus arg = { .size = sizeof(arg), .count = 64 };

	for (;;) {
		_cleanup_free_ struct kho_cpu_info *cpus = calloc(arg.count, sizeof(*cpus));
		uint32_t room = arg.count;
		int ret;

		if (!cpus)
			return kho_fail(err, -ENOMEM, "list of CPUs: out of memory");
		arg.cpus = (uintptr_t)cpus;
		ret = call(fd, KHO_IOC_CPUS, &arg, err, "list of CPUs");
		if (ret < 0)
			return ret;
		if (arg.count <= room) {
			*out_n = arg.count;
			*out = steal_ptr(cpus);
			return 0;
		}
	}
}

int kho_dev_mem_take(int fd, uint64_t bytes, uint64_t align, uint64_t min, uint64_t max, int node,
		     uint64_t *out_base, struct kho_err *err)
{
	struct kho_ioc_mem_take arg = {
		.size = sizeof(arg),
		.node = node,
		.bytes = bytes,
		.align = align,
		.min = min,
		.max = max,
	};

	if (ioctl(fd, KHO_IOC_MEM_TAKE, &arg) < 0) {
		int code = -errno;

		if (code == -ENOMEM)
			return kho_fail(err, code, "no %llu MiB of contiguous memory can be freed",
					(unsigned long long)(bytes >> 20));
		return kho_fail(err, code, "take %llu MiB of memory: %s",
				(unsigned long long)(bytes >> 20), reason(code));
	}
	*out_base = arg.base;
	return 0;
}

static int mem_call(int fd, unsigned long request, const char *verb, uint64_t base, uint64_t bytes,
		    struct kho_err *err)
{
	struct kho_ioc_mem arg = { .size = sizeof(arg), .base = base, .bytes = bytes };
	char what[96];

	snprintf(what, sizeof(what), "%s memory [%#llx-%#llx)", verb, (unsigned long long)base,
		 (unsigned long long)(base + bytes));
	return call(fd, request, &arg, err, what);
}

int kho_dev_mem_release(int fd, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	return mem_call(fd, KHO_IOC_MEM_RELEASE, "release", base, bytes, err);
}

int kho_dev_mem_adopt(int fd, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	int ret = mem_call(fd, KHO_IOC_MEM_ADOPT, "adopt", base, bytes, err);

	return ret != -EBUSY ? ret : kho_fail(err, ret, "a CPU of the kernel before this one is not in the park, and may still run there");
}

int kho_dev_mem_disown(int fd, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	return mem_call(fd, KHO_IOC_MEM_DISOWN, "disown", base, bytes, err);
}

int kho_dev_mem_give(int fd, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	return mem_call(fd, KHO_IOC_MEM_GIVE, "give away", base, bytes, err);
}

int kho_dev_region_init(int fd, struct kho_ioc_region_init *arg, struct kho_err *err)
{
	arg->size = sizeof(*arg);
	return call(fd, KHO_IOC_REGION_INIT, arg, err, "prepare the region of the incoming kernel");
}

static int u32_call(int fd, unsigned long request, uint32_t value, struct kho_err *err,
		    const char *what)
{
	struct kho_ioc_u32 arg = { .size = sizeof(arg), .value = value };

	return call(fd, request, &arg, err, what);
}

int kho_dev_region_drop(int fd, struct kho_err *err)
{
	return u32_call(fd, KHO_IOC_REGION_DROP, 0, err, "drop the region of the incoming kernel");
}

static int cpu_call(int fd, unsigned long request, const char *verb, uint32_t apicid, uint32_t peer,
		    uint32_t flags, struct kho_err *err)
{
	struct kho_ioc_cpu arg = {
		.size = sizeof(arg), .apicid = apicid, .peer = peer, .flags = flags
	};
	char what[96];

	snprintf(what, sizeof(what), "%s CPU (APIC id %u)", verb, apicid);
	return call(fd, request, &arg, err, what);
}

int kho_dev_cpu_give(int fd, uint32_t apicid, uint32_t peer, struct kho_err *err)
{
	return cpu_call(fd, KHO_IOC_CPU_GIVE, "give away", apicid, peer, 0, err);
}

int kho_dev_cpu_take(int fd, uint32_t apicid, uint32_t peer, bool fence, struct kho_err *err)
{
	return cpu_call(fd, KHO_IOC_CPU_TAKE, fence ? "fence and take" : "take", apicid, peer,
			fence ? KHO_CPU_FENCE : 0, err);
}

int kho_dev_spawn(int fd, uint32_t apicid, uint64_t entry, uint64_t rsi, struct kho_err *err)
{
	struct kho_ioc_spawn arg = {
		.size = sizeof(arg), .apicid = apicid, .entry = entry, .rsi = rsi
	};
	char what[96];

	snprintf(what, sizeof(what), "send CPU (APIC id %u) into the incoming kernel", apicid);
	return call(fd, KHO_IOC_SPAWN, &arg, err, what);
}

int kho_dev_stop(int fd, struct kho_err *err)
{
	return u32_call(fd, KHO_IOC_STOP, 0, err, "stop the incoming kernel");
}

int kho_dev_fence(int fd, struct kho_err *err)
{
	return u32_call(fd, KHO_IOC_STOP, KHO_PEER_OUTGOING, err, "stop the outgoing kernel");
}

int kho_dev_retire(int fd, struct kho_err *err)
{
	return u32_call(fd, KHO_IOC_RETIRE, 0, err, "retire this kernel");
}

static int pci_call(int fd, unsigned long request, const char *verb, struct kho_pci_addr a,
		    uint32_t peer, uint32_t *out_us, struct kho_err *err)
{
	struct kho_ioc_pci arg = {
		.size = sizeof(arg),
		.segment = a.segment,
		.bus = a.bus,
		.devfn = a.devfn,
		.peer = peer,
	};
	char what[96];
	int ret;

	snprintf(what, sizeof(what), "%s PCI function %04x:%02x:%02x.%x", verb, a.segment, a.bus,
		 a.devfn >> 3, a.devfn & 7);
	ret = call(fd, request, &arg, err, what);
	if (!ret && out_us)
		*out_us = arg.duration_us;
	return ret;
}

int kho_dev_pci_quiesce(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err)
{
	return pci_call(fd, KHO_IOC_PCI_QUIESCE, "quiesce", a, 0, out_us, err);
}

int kho_dev_pci_unquiesce(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err)
{
	return pci_call(fd, KHO_IOC_PCI_UNQUIESCE, "wake", a, 0, out_us, err);
}

int kho_dev_pci_give(int fd, struct kho_pci_addr a, uint32_t peer, uint32_t *out_us,
		     struct kho_err *err)
{
	return pci_call(fd, KHO_IOC_PCI_GIVE, "give away", a, peer, out_us, err);
}

int kho_dev_pci_take(int fd, struct kho_pci_addr a, uint32_t peer, uint32_t *out_us,
		     struct kho_err *err)
{
	return pci_call(fd, KHO_IOC_PCI_TAKE, "take", a, peer, out_us, err);
}

int kho_dev_state(int fd, enum kho_instance_state state, struct kho_err *err)
{
	char what[64];

	snprintf(what, sizeof(what), "set own state to %s", kho_state_name(state));
	return u32_call(fd, KHO_IOC_STATE, state, err, what);
}

const char *kho_state_name(uint32_t state)
{
	static const char *const names[] = {
		[KHO_STATE_NONE] = "none",	   [KHO_STATE_LOADED] = "loaded",
		[KHO_STATE_BOOTING] = "booting",   [KHO_STATE_RUNNING] = "running",
		[KHO_STATE_READY] = "ready",	   [KHO_STATE_FROZEN] = "frozen",
		[KHO_STATE_DARK] = "dark",	   [KHO_STATE_COMMITTED] = "committed",
		[KHO_STATE_RETIRING] = "retiring", [KHO_STATE_RETIRED] = "retired",
		[KHO_STATE_HALTED] = "halted",	   [KHO_STATE_PANICKED] = "panicked",
		[KHO_STATE_FENCED] = "fenced",
	};

	return state < sizeof(names) / sizeof(*names) ? names[state] : "?";
}

int kho_dev_link_open(uint32_t peer, int flags, struct kho_err *err)
{
	_cleanup_close_ int fd = open("/dev/khoctl-link", O_RDWR | O_CLOEXEC | flags);
	int ret;

	if (fd < 0)
		return kho_fail_errno(err, "/dev/khoctl-link");
	ret = u32_call(fd, KHO_LINK_ATTACH, peer, err, "attach to the link");
	return ret < 0 ? ret : steal_fd(fd);
}

int kho_dev_ping(int link_fd, uint32_t mode, uint32_t count, struct kho_ioc_ping *out,
		 struct kho_err *err)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->mode = mode;
	out->count = count;
	return call(link_fd, KHO_IOC_PING, out, err, "measure the link");
}

void *kho_dev_map(int fd, uint64_t phys, size_t bytes, bool write, struct kho_err *err)
{
	void *p = mmap(NULL, bytes, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd,
		       (off_t)phys);

	if (p == MAP_FAILED) {
		kho_fail_errno(err, "map physical memory [%#llx-%#llx)", (unsigned long long)phys,
			       (unsigned long long)(phys + bytes));
		return NULL;
	}
	return p;
}
