/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CRIU sets hardware breakpoints, which are perf events of tasks: with the first one the kernel patches its scheduler (perf_sched_events,
 * kernel/events/core.c) and interrupts all CPUs several times for each place, a second after the last one back again. An event that
 * is held keeps both out of the blackout.
 *
 * It matters more in an emulator: QEMU's TCG, with more CPUs than the host has, now and then goes on with the int3 that stood there
 * while it was patched ("Oops: int3", RIP finish_task_switch).
 */
#ifndef KHO_SCHED_EVENTS_H
#define KHO_SCHED_EVENTS_H

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Descriptor of an event that counts nothing; -1: there are none on this kernel, and nothing is lost. Ends with the descriptor. */
static inline int kho_sched_events_hold(void)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_DUMMY,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

#endif
