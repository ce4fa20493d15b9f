// SPDX-License-Identifier: GPL-2.0-only
/* One clock for both kernels.  See lib/clock.h. */
#include "lib/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#define SAMPLES 20

static _Atomic uint32_t tsc_khz;

void kho_clock_set_tsc_khz(uint32_t khz)
{
	atomic_store(&tsc_khz, khz);
}

uint32_t kho_clock_tsc_khz(void)
{
	return atomic_load_explicit(&tsc_khz, memory_order_relaxed);
}

/* One reading of both: the one that took least of some, because the CPU may be taken away in between. */
static void both(uint64_t *out_tsc, uint64_t *out_ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < SAMPLES; i++) {
		struct timespec ts;
		uint64_t a = __rdtsc(), b;

		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		b = __rdtsc();
		if (b - a >= best)
			continue;
		best = b - a;
		*out_tsc = a + (b - a) / 2;
		*out_ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	}
}

void kho_clock_measure_tsc(void)
{
	const struct timespec wait = { .tv_nsec = 30000000 };
	uint64_t tsc[2] = { 0 }, ns[2] = { 0 };

	if (kho_clock_tsc_khz())
		return;
	both(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	both(&tsc[1], &ns[1]);
	if (ns[1] > ns[0] && tsc[1] > tsc[0])
		kho_clock_set_tsc_khz((uint32_t)((tsc[1] - tsc[0]) * 1000000 / (ns[1] - ns[0])));
}

int kho_clock_drift(uint64_t us, int64_t *out_ppm)
{
	const struct timespec wait = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000 * 1000) };
	uint64_t tsc[2] = { 0 }, ns[2] = { 0 }, khz = kho_clock_tsc_khz();
	double want;

	if (!khz)
		return -ENOENT;
	both(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	both(&tsc[1], &ns[1]);
	if (ns[1] <= ns[0] || tsc[1] <= tsc[0])
		return -EIO;
	want = (double)(tsc[1] - tsc[0]) * 1e6 / (double)khz;
	*out_ppm = (int64_t)(((double)(ns[1] - ns[0]) / want - 1) * 1e6);
	return 0;
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

struct timespec kho_clock_in(uint64_t us)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += (time_t)(us / 1000000);
	ts.tv_nsec += (long)(us % 1000000 * 1000);
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	return ts;
}
