/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A short load on each CPU that this process may use: one thread sleeps a millisecond, again and again, and wakes a thread on the
 * next CPU each time. That takes timers, their interrupts, interrupts between CPUs and the scheduler on all of them, and next to no time.
 */
#ifndef KHO_BPF_EXERCISE_H
#define KHO_BPF_EXERCISE_H

#include "bpf/hist.h"
#include "lib/err.h"

#define KHO_EXERCISE_ROUNDS 300u	/* of 1 ms each, for each CPU: the 99th percentile leaves three out */
#define KHO_EXERCISE_US	    2000000u	/* a CPU that is slow does fewer */
#define KHO_EXERCISE_LATE_US 10000000u	/* not back by then: it does not run threads any more. Emulated machines stall for seconds */

struct kho_exercise_cpu {
	int cpu;
	bool back; /* its threads have come back; else the rest means nothing */
	struct kho_hist late; /* how late the timer was and its thread ran, ns */
};

/* *out: malloc'd, one for each CPU. 0 also when a CPU has not come back; its threads are left behind then. */
int kho_exercise(struct kho_exercise_cpu **out, size_t *out_n, struct kho_err *err) __must_check;

#endif
