// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent's hands on a machine that is its kernel's alone: nothing is taken from or given to anybody, a PCI function is there when its driver
 * has bound.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "handover/incoming/agent.h"
#include "handover/incoming/drivers.h"
#include "lib/clock.h"
#include "lib/io.h"

#define DRIVER_US 10000000

static int pci(void *arg, struct kho_pci_addr a, bool take, struct kho_err *err)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	uint64_t end = kho_clock_us() + DRIVER_US;
	char path[96], dir[64];

	(void)arg;
	snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%04x:%02x:%02x.%x", a.segment, a.bus, a.devfn >> 3, a.devfn & 7);
	snprintf(path, sizeof(path), "%s/driver", dir);
	if (take)
		kho_drivers_load(dir);
	while (take && !kho_exists(path)) {
		if (kho_clock_us() > end)
			return kho_fail(err, -ENODEV, "%04x:%02x:%02x.%x has no driver in this kernel (is it in the initramfs?)", a.segment, a.bus,
					a.devfn >> 3, a.devfn & 7);
		nanosleep(&ms, NULL);
	}
	return 0;
}

static int state(void *arg, enum kho_instance_state s, struct kho_err *err)
{
	(void)arg;
	(void)s;
	(void)err;
	return 0;
}

/* Nothing is ever in it. */
static const void *map_bulk(void *arg, uint64_t bytes, struct kho_err *err)
{
	void *p;

	(void)arg;
	p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED)
		return p;
	kho_fail_errno(err, "map %llu bytes", (unsigned long long)bytes);
	return NULL;
}

void kho_machine_whole(struct kho_machine *m)
{
	*m = (struct kho_machine){
		.pci = pci,
		.state = state,
		.map_bulk = map_bulk,
		.pids = kho_machine_pids,
	};
}
