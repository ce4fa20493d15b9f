/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Histograms of durations in nanoseconds (slots: hist_slot.h), and whether two of them differ. Pure arithmetic.
 */
#ifndef KHO_BPF_HIST_H
#define KHO_BPF_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/hist_slot.h"

/* The least value that counts in a slot, and the least that counts in the next one. */
uint64_t kho_hist_from(unsigned slot);
uint64_t kho_hist_to(unsigned slot);

void kho_hist_add(struct kho_hist *h, uint64_t value);
/* Count all of one in another, too. */
void kho_hist_merge(struct kho_hist *into, const struct kho_hist *h);
uint64_t kho_hist_count(const struct kho_hist *h);

/*
 * The value that the share q (0 to 1) of all is not above: the ceil(q * n)-th in order, taken to lie in its slot as if those in it
 * were spread evenly. 0 when it is empty.
 */
uint64_t kho_hist_quantile(const struct kho_hist *h, double q);

/* How b differs from a. */
struct kho_difference {
	uint64_t na, nb;
	/*
	 * Kolmogorov and Smirnov's two-sample test: the greatest distance of the two distribution functions, and how likely one at least so great is
	 * if there is no difference (asymptotic, with Stephens' correction for small samples: J. R. Stat. Soc. B 32 (1970) 115; Press et
	 * al., Numerical Recipes, 14.3). Values of one slot are ties, so p errs towards "no difference".
	 */
	double distance, p;
	/*
	 * Cliff's delta: P(b > a) - P(b < a), -1 to 1; 0.147 is called small, 0.33 medium, 0.474 large (Romano et al. 2006). Of
	 * p alone nothing follows: with a million samples the slightest difference is significant.
	 */
	double delta;
	double median_ratio, p99_ratio; /* b's by a's; 1 when both are 0 */
	double tail; /* share of b above the slot of a's 99th percentile, 0.01 or less of a are. A late tail moves delta by next to nothing */
};

/* Both must have counted something; false, and nothing is said, when one has not. */
bool kho_hist_compare(const struct kho_hist *a, const struct kho_hist *b, struct kho_difference *out);

/*
 * What counts as worse: p, and either delta with the ratio of the medians, or tail with that of the 99th percentiles. (Not delta with the latter: a
 * body that is later by a tenth, beside a tail of one in fifty, is what a kernel differs from itself by.)
 */
struct kho_difference_limits {
	uint64_t least;	   /* samples on each side; fewer: not known */
	double p;	   /* at most */
	double delta;	   /* at least */
	double ratio;	   /* at least, of the medians or of the 99th percentiles */
	double tail;	   /* at least */
};

/*
 * 100 samples: fewer than that have no 99th percentile. p 0.001: ten comparisons of a kernel with itself, ten metrics each, are
 * all passed nine times out of ten by p alone. delta 0.147: less is called negligible (above). 1.2: a slot is a quarter of a power of two, 19 to 25 %. tail 0.05:
 * five times as many as there were; twice as many come and go with what else happens on a machine.
 */
#define KHO_DIFFERENCE_LIMITS { .least = 100, .p = 0.001, .delta = 0.147, .ratio = 1.2, .tail = 0.05 }

/* 1: b is worse than a; 0: it is not; -1: too few samples. Durations: more is worse. */
int kho_hist_is_worse(const struct kho_difference *d, const struct kho_difference_limits *l);

#endif
