// SPDX-License-Identifier: GPL-2.0-only
/* Histograms, and whether two of them differ.  See bpf/hist.h. */
#include "bpf/hist.h"

#include <math.h>

uint64_t kho_hist_from(unsigned slot)
{
	unsigned e = slot / KHO_HIST_SUBS + 1;

	if (slot < KHO_HIST_SUBS)
		return slot;
	if (e > 63)
		return UINT64_MAX;
	return (uint64_t)(KHO_HIST_SUBS + slot % KHO_HIST_SUBS) << (e - KHO_HIST_SUB_BITS);
}

uint64_t kho_hist_to(unsigned slot)
{
	return kho_hist_from(slot + 1);
}

void kho_hist_add(struct kho_hist *h, uint64_t value)
{
	h->slot[kho_hist_slot(value)]++;
}

void kho_hist_merge(struct kho_hist *into, const struct kho_hist *h)
{
	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++)
		into->slot[i] += h->slot[i];
}

uint64_t kho_hist_count(const struct kho_hist *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++)
		n += h->slot[i];
	return n;
}

uint64_t kho_hist_quantile(const struct kho_hist *h, double q)
{
	double rank = ceil(q * (double)kho_hist_count(h)), below = 0;

	if (rank < 1)
		rank = 1;
	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++) {
		double in = (double)h->slot[i], width = (double)(kho_hist_to(i) - kho_hist_from(i));

		if (in > 0 && below + in >= rank)
			return kho_hist_from(i) + (uint64_t)(width * (rank - below - 0.5) / in);
		below += in;
	}
	return 0;
}

/* How likely a distance of at least lambda (corrected) is, if there is no difference: the alternating series converges in a few terms. */
static double likely(double lambda)
{
	double sum = 0, sign = 1;

	if (lambda < 0.2) /* 1 to ten digits, where the series converges slowly */
		return 1;
	for (int j = 1; j <= 100; j++) {
		double term = exp(-2 * lambda * lambda * j * j);

		sum += sign * term;
		if (term < 1e-12)
			break;
		sign = -sign;
	}
	sum *= 2;
	return sum < 0 ? 0 : sum > 1 ? 1 : sum;
}

static double ratio(const struct kho_hist *a, const struct kho_hist *b, double q)
{
	double va = (double)kho_hist_quantile(a, q), vb = (double)kho_hist_quantile(b, q);

	if (va <= 0)
		return vb <= 0 ? 1 : INFINITY;
	return vb / va;
}

bool kho_hist_compare(const struct kho_hist *a, const struct kho_hist *b, struct kho_difference *out)
{
	double na = (double)kho_hist_count(a), nb = (double)kho_hist_count(b), fa = 0, fb = 0, more = 0, root;

	*out = (struct kho_difference){ .na = kho_hist_count(a), .nb = kho_hist_count(b), .p = 1 };
	if (!out->na || !out->nb)
		return false;
	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++) {
		double pa = (double)a->slot[i] / na, pb = (double)b->slot[i] / nb;

		more += pb * fa - pa * fb; /* b in this slot, a below it; and the other way round */
		fa += pa;
		fb += pb;
		if (fabs(fa - fb) > out->distance)
			out->distance = fabs(fa - fb);
	}
	root = sqrt(na * nb / (na + nb));
	out->p = likely((root + 0.12 + 0.11 / root) * out->distance);
	out->delta = more;
	out->median_ratio = ratio(a, b, 0.5);
	out->p99_ratio = ratio(a, b, 0.99);
	for (unsigned i = kho_hist_slot(kho_hist_quantile(a, 0.99)) + 1; i < KHO_HIST_SLOTS; i++)
		out->tail += (double)b->slot[i] / nb;
	return true;
}

int kho_hist_is_worse(const struct kho_difference *d, const struct kho_difference_limits *l)
{
	if (d->na < l->least || d->nb < l->least)
		return -1;
	if (d->p > l->p)
		return 0;
	return (d->delta >= l->delta && d->median_ratio >= l->ratio) || (d->tail >= l->tail && d->p99_ratio >= l->ratio);
}
