/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Regression gate: two recordings of the same workloads under the same load, metric by metric. Pure arithmetic and text.
 */
#ifndef KHO_BPF_REGRESS_H
#define KHO_BPF_REGRESS_H

#include <json-c/json.h>
#include <stdio.h>

#include "bpf/gate.h"
#include "bpf/recording.h"

#define KHO_REGRESS_SLICES 8u  /* a rate needs so many slices on each side: with as many apart from each other p is 0.0001 */
#define KHO_REGRESS_OFTEN  4u /* so many times the samples that are needed, on one side, and too few on the other: that is no chance */
#define KHO_REGRESS_REPLIES 100u /* from so many on in both recordings rates are of a reply; else of a second */

struct kho_regress_row {
	/*
	 * What was compared. Times: ns. Rates: the values of the slices: of a reply, times a million (CPU: ns), or where there are too few
	 * of these, of 1000 s (CPU: of a ms, in ns); of retransmissions: of a million segments.
	 */
	struct kho_hist a, b;
	bool compared; /* else d is nothing */
	bool judged;   /* it has a result among the gates; else it happens too rarely */
	struct kho_difference d; /* its ratios with the metric's floor on both sides */
	enum kho_gate_verdict verdict; /* if judged */
};

struct kho_regress {
	struct kho_regress_row row[KHO_NMETRICS];
	bool of_replies;
	double replies_a, replies_b; /* a second; for who reads it: how much there is to do is no metric */
	struct kho_gate_list gates;
};

/*
 * Compare b with a, by the policy's limits and KHO_DIFFERENCE_LIMITS. Too few samples on a side: no result, or unknown when the
 * other one has very many (KHO_REGRESS_OFTEN). With no result at all the list is empty but for restarts, which is unknown then.
 */
void kho_regress(const struct kho_recording *a, const struct kho_recording *b, const struct kho_gate_policy *p, struct kho_regress *out);

/* "12.3 us", "0.50 a reply", "1.2 a second", "0.10 %": a value of a metric's histograms. Gives out back. */
#define KHO_REGRESS_TEXT 40
const char *kho_regress_text(const struct kho_regress *g, enum kho_metric m, uint64_t value, char out[KHO_REGRESS_TEXT]);
/* "1.25", "more than 1000" */
const char *kho_regress_ratio(double ratio, char out[KHO_REGRESS_TEXT]);

/* [{"metric", "a": {"n", "median", "p99"}, "b", "median_ratio", "p99_ratio", "p", "delta", "tail", "verdict"}]; what was not compared is null. */
struct json_object *kho_regress_json(const struct kho_regress *g);

/* The distributions side by side, as one SVG picture that needs nothing else. Names are escaped. */
void kho_regress_draw(const struct kho_recording *a, const struct kho_recording *b, const struct kho_regress *g, FILE *f);

#endif
