/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that run on one CPU, and the clock that all measurements here are taken by.
 */
#ifndef KHO_BPF_PINNED_H
#define KHO_BPF_PINNED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, nanoseconds; and such a moment as clock_nanosleep() wants it. */
uint64_t kho_now_ns(void);
struct timespec kho_at_ns(uint64_t ns);

/* A thread on this CPU alone; 0 or negative errno. */
int kho_pinned_start(pthread_t *out, int cpu, void *(*run)(void *), void *arg);
/* Wait for it until then; false: it has not ended, and is left to itself. */
bool kho_pinned_join(pthread_t t, uint64_t until_ns);

#endif
