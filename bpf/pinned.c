// SPDX-License-Identifier: GPL-2.0-only
/* Threads on one CPU.  See bpf/pinned.h. */
#include "bpf/pinned.h"

#include <sched.h>

#define STACK (256u << 10)

uint64_t kho_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

struct timespec kho_at_ns(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull) };
}

int kho_pinned_start(pthread_t *out, int cpu, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int rc;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	rc = pthread_create(out, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return -rc;
}

bool kho_pinned_join(pthread_t t, uint64_t until_ns)
{
	struct timespec ts = kho_at_ns(until_ns);

	if (!pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &ts))
		return true;
	pthread_detach(t);
	return false;
}
