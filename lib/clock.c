// SPDX-License-Identifier: GPL-2.0-only
/* One clock for both kernels.  See lib/clock.h. */
#include "lib/clock.h"

#include <stdatomic.h>
#include <time.h>
#include <x86intrin.h>

static _Atomic uint32_t tsc_khz;

void kho_clock_set_tsc_khz(uint32_t khz)
{
	atomic_store(&tsc_khz, khz);
}

uint64_t kho_clock_us(void)
{
	uint32_t khz = atomic_load_explicit(&tsc_khz, memory_order_relaxed);
	struct timespec ts;

	/* 128 bits: a TSC of 2^63 times 1000 must not wrap */
	if (khz)
		return (uint64_t)((unsigned __int128)__rdtsc() * 1000 / khz);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
