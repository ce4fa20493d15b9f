/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPUs have the least to do: what is measured there is the kernel's own speed, not that of who shares the CPU.
 */
#ifndef KHO_BPF_SPARE_H
#define KHO_BPF_SPARE_H

#include <sched.h>
#include <stdint.h>

#include "lib/err.h"

#define KHO_SPARE_US 500000 /* of looking: some fifty ticks */

struct kho_cpu_times {
	uint64_t busy[CPU_SETSIZE], all[CPU_SETSIZE]; /* since boot, ticks; all 0: not there */
};

/* The lines "cpuN ..." of /proc/stat. What is none of them counts nothing. */
void kho_cpu_times_parse(const char *text, struct kho_cpu_times *out);

/*
 * Of the CPUs in `may`, the n that were idle the most between two looks. *out_busy: how busy the busiest of them was, percent. -EINVAL: may has
 * not so many.
 */
int kho_spare_of(const struct kho_cpu_times *before, const struct kho_cpu_times *after, const cpu_set_t *may, unsigned n, cpu_set_t *out,
		 unsigned *out_busy, struct kho_err *err) __must_check;

/* The same of those that this process may use, now; takes KHO_SPARE_US. */
int kho_spare_cpus(unsigned n, cpu_set_t *out, unsigned *out_busy, struct kho_err *err) __must_check;

#endif
