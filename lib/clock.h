/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One clock for both kernels of a machine: the TSC in microseconds.
 */
#ifndef KHO_LIB_CLOCK_H
#define KHO_LIB_CLOCK_H

#include <stdint.h>

/*
 * TSC frequency to use, from KHO_IOC_INFO (outgoing) or the ledger (incoming); before it is called
 * kho_clock_us() is CLOCK_MONOTONIC.
 */
void kho_clock_set_tsc_khz(uint32_t khz);

/* Microseconds since the TSC was zero (or CLOCK_MONOTONIC, see above). Monotonic on one kernel. */
uint64_t kho_clock_us(void);

#endif
