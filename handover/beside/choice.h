/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPUs and how much memory an incoming kernel gets.  Pure functions of the machine's facts:
 * the same on a recorded tree as on the live machine.
 */
#ifndef KHO_BESIDE_CHOICE_H
#define KHO_BESIDE_CHOICE_H

#include <stddef.h>
#include <stdint.h>

#include "handover/beside/machine.h"
#include "lib/err.h"

struct kho_cpu_choice {
	uint32_t *before; /* APIC ids handed over before the freeze, boot CPU first; malloc'd */
	size_t nbefore;
	uint32_t *after; /* handed over at retirement; the last is the CPU this kernel ends on */
	size_t nafter;
};

/*
 * want = 0: half of the CPUs, whole cores.  CPU 0 cannot be unplugged and stays to the end; the
 * boot processor cannot be stopped by INIT and does not go before commit.
 */
int kho_choose_cpus(const struct kho_machine *m, unsigned want, struct kho_cpu_choice *out,
		    struct kho_err *err);
void kho_cpu_choice_done(struct kho_cpu_choice *c);

struct kho_memory_need {
	uint64_t init_size; /* of the image */
	uint64_t initrd_packed, initrd_unpacked;
	uint64_t workloads_rss;
	uint64_t region_override; /* bytes, or 0 */
};

struct kho_memory_choice {
	uint64_t region_bytes, bulk_bytes;
	uint64_t extra_bytes; /* in blocks, for the workloads */
};

/* -ENOMEM with what is needed and free when the machine has not enough. */
int kho_choose_memory(const struct kho_machine *m, const struct kho_memory_need *need,
		      struct kho_memory_choice *out, struct kho_err *err);

#endif
