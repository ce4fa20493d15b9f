/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One clock for both kernels of a machine: the TSC in microseconds.
 */
#ifndef KHO_LIB_CLOCK_H
#define KHO_LIB_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/*
 * TSC frequency to use, from KHO_IOC_INFO (outgoing) or the ledger (incoming); before it is called
 * kho_clock_us() is CLOCK_MONOTONIC.
 */
void kho_clock_set_tsc_khz(uint32_t khz);

/* The frequency in use; 0: none yet. */
uint32_t kho_clock_tsc_khz(void);

/*
 * Where no module can tell it: measure it against CLOCK_MONOTONIC_RAW, for 30 ms, and use it; nothing when there is one. Good to some 10^-5, which
 * is enough for a blackout; who shares the clock across a jump takes the number along, not a second measurement.
 */
void kho_clock_measure_tsc(void);

/*
 * How far this kernel's CLOCK_MONOTONIC_RAW is from the frequency in use, measured for so long, in millionths: 0 where both are the same. -ENOENT: there is
 * none in use; -EIO: a clock does not go on.
 */
int kho_clock_drift(uint64_t us, int64_t *out_ppm);

/* Microseconds since the TSC was zero (or CLOCK_MONOTONIC, see above). Monotonic on one kernel. */
uint64_t kho_clock_us(void);

/* So many microseconds from now by CLOCK_MONOTONIC, for a wait by that clock; kho_clock_us() may be another one. */
struct timespec kho_clock_in(uint64_t us);

/* Is a the earlier time of a file? */
static inline bool kho_is_earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

#endif
