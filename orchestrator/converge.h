/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Converging gate (bpf/gates.def): how long the blackout would be if it began now, by what workloads have written since the last
 * round of precopy; and when there is a limit (--max-blackout), waiting for a moment that keeps it.
 */
#ifndef KHO_CONVERGE_H
#define KHO_CONVERGE_H

#include "lib/err.h"

struct kho_plan;
struct kho_upgrade;

#define KHO_CONVERGE_WAIT_US	 60000000ull  /* max-blackout-wait, unless it is configured */
#define KHO_CONVERGE_WAIT_MAX_US 600000000ull /* precopy's deadline is 900 s */

/*
 * Of a plan whose prediction is made: can the limit be kept at all? Adds to the report: no, when the blackout is too long even if nothing is written, or not
 * known (and unknown is not allowed). Without a limit nothing is added.
 */
int kho_converge_check(struct kho_plan *p, struct kho_err *err) __must_check;

/*
 * The rounds of precopy are made. Measures, tells (event and journal record "converging"), and returns 0 when it may be frozen now. With a limit that is not
 * kept: again and again for max-blackout-wait, calling round (which copies once more, and is to leave all ready for the freeze) while that
 * helps. -EOPNOTSUPP names what was predicted and what to do; an error of round's, or why the step shall stop.
 */
int kho_converge(struct kho_upgrade *u, int (*round)(void *arg, struct kho_err *err), void *arg, struct kho_err *err) __must_check;

#endif
