// SPDX-License-Identifier: GPL-2.0-only
/* Two recordings, compared.  See bpf/regress.h. */
#include "bpf/regress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/format.h"
#include "lib/json.h"

#define RATIO_MAX 1e7  /* of what can be said in a gate's value */
#define RATE_MAX  1e18 /* what no slice of a second can have, and an integer can */

/* --- rates: a value for each slice --- */

static uint64_t sum_of(const struct kho_recording *r, uint64_t (*of)(const struct kho_slice *s))
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += of(&r->slices[i]);
	return n;
}

static uint64_t replies_of(const struct kho_slice *s)
{
	return s->replies;
}

static uint64_t us_of(const struct kho_slice *s)
{
	return s->us;
}

static double a_second(const struct kho_recording *r)
{
	uint64_t us = sum_of(r, us_of);

	return us ? (double)sum_of(r, replies_of) * 1e6 / (double)us : 0;
}

/* What was counted, of what, and how many of these the value is for. */
static double rate(enum kho_metric m, const struct kho_slice *s, bool of_replies)
{
	double n = (double)(m == KHO_METRIC_CPU ? s->cpu_ns : m == KHO_METRIC_SWITCHES ? s->switches : m == KHO_METRIC_FAULTS ? s->faults : s->retrans);

	if (m == KHO_METRIC_RETRANS)
		return s->segments ? n * 1e6 / (double)s->segments : -1;
	if (of_replies)
		return s->replies ? n * (m == KHO_METRIC_CPU ? 1 : 1e6) / (double)s->replies : -1;
	return s->us ? n * (m == KHO_METRIC_CPU ? 1e3 : 1e9) / (double)s->us : -1;
}

static void fill_rates(enum kho_metric m, const struct kho_recording *r, bool of_replies, struct kho_hist *h)
{
	for (size_t i = 0; i < r->n; i++) {
		double v = rate(m, &r->slices[i], of_replies);

		if (v >= 0)
			kho_hist_add(h, (uint64_t)(fmin(v, RATE_MAX) + 0.5));
	}
}

/* --- one metric --- */

static double ratio(const struct kho_hist *a, const struct kho_hist *b, double q, uint64_t floor)
{
	return ((double)kho_hist_quantile(b, q) + (double)floor) / ((double)kho_hist_quantile(a, q) + (double)floor);
}

static const char *why_unknown(const struct kho_recording *a, const struct kho_recording *b, enum kho_record_part p)
{
	return *a->why[p] ? a->why[p] : *b->why[p] ? b->why[p] : NULL;
}

static void judge(struct kho_regress *g, enum kho_metric m, const struct kho_gate_policy *p)
{
	enum kho_gate_id gate = kho_metrics[m].gate;
	struct kho_regress_row *row = &g->row[m];
	struct kho_difference_limits limits = KHO_DIFFERENCE_LIMITS;
	double worst = fmax(row->d.median_ratio, row->d.p99_ratio);
	char ma[KHO_REGRESS_TEXT], mb[KHO_REGRESS_TEXT], pa[KHO_REGRESS_TEXT], pb[KHO_REGRESS_TEXT];
	int worse;

	if (kho_metrics[m].kind == KHO_METRIC_KIND_RATE)
		limits.least = KHO_REGRESS_SLICES;
	limits.ratio = (double)p->limit[gate] / 100;
	if (row->d.na < limits.least || row->d.nb < limits.least)
		if (row->d.na < KHO_REGRESS_OFTEN * limits.least && row->d.nb < KHO_REGRESS_OFTEN * limits.least)
			return;
	row->judged = true;
	worse = row->compared ? kho_hist_is_worse(&row->d, &limits) : -1;
	row->verdict = worse < 0 ? KHO_GATE_UNKNOWN : worse ? KHO_GATE_FAIL : KHO_GATE_PASS;
	if (worse < 0)
		kho_gate_unknown(&g->gates, p, gate, "%" PRIu64 " before and %" PRIu64 " after: too few of one to compare", row->d.na, row->d.nb);
	else
		kho_gate_judged(&g->gates, p, gate, (int64_t)(fmin(worst, RATIO_MAX) * 100 + 0.5), row->verdict,
				"median %s, then %s; 99th percentile %s, then %s; p %.2g, effect %+.2f, %.0f %% above the 99th percentile before",
				kho_regress_text(g, m, kho_hist_quantile(&row->a, 0.5), ma), kho_regress_text(g, m, kho_hist_quantile(&row->b, 0.5), mb),
				kho_regress_text(g, m, kho_hist_quantile(&row->a, 0.99), pa), kho_regress_text(g, m, kho_hist_quantile(&row->b, 0.99), pb),
				row->d.p, row->d.delta, row->d.tail * 100);
}

static void one(struct kho_regress *g, enum kho_metric m, const struct kho_recording *a, const struct kho_recording *b, const struct kho_gate_policy *p)
{
	const struct kho_metric_info *k = &kho_metrics[m];
	const char *why = why_unknown(a, b, k->part);
	struct kho_regress_row *row = &g->row[m];

	if (why) {
		row->judged = true;
		row->verdict = KHO_GATE_UNKNOWN;
		kho_gate_unknown(&g->gates, p, k->gate, "%s: %s", *a->why[k->part] ? "before" : "after", why);
		return;
	}
	if (k->kind == KHO_METRIC_KIND_RATE) {
		fill_rates(m, a, g->of_replies, &row->a);
		fill_rates(m, b, g->of_replies, &row->b);
	} else {
		row->a = a->times[m];
		row->b = b->times[m];
	}
	row->compared = kho_hist_compare(&row->a, &row->b, &row->d);
	if (row->compared) {
		row->d.median_ratio = ratio(&row->a, &row->b, 0.5, k->floor);
		row->d.p99_ratio = ratio(&row->a, &row->b, 0.99, k->floor);
	}
	judge(g, m, p);
}

void kho_regress(const struct kho_recording *a, const struct kho_recording *b, const struct kho_gate_policy *p, struct kho_regress *out)
{
	*out = (struct kho_regress){ .replies_a = a_second(a), .replies_b = a_second(b) };
	out->of_replies = sum_of(a, replies_of) >= KHO_REGRESS_REPLIES && sum_of(b, replies_of) >= KHO_REGRESS_REPLIES;
	for (int m = 0; m < KHO_NMETRICS; m++)
		one(out, (enum kho_metric)m, a, b, p);
	if (!out->gates.n)
		kho_gate_unknown(&out->gates, p, KHO_GATE_RESTARTS, "the workloads did too little to compare anything");
	else
		kho_gate_measured(&out->gates, p, KHO_GATE_RESTARTS, b->restarts > a->restarts ? (int64_t)(b->restarts - a->restarts) : 0,
				  "%" PRIu64 " before, %" PRIu64 " after", a->restarts, b->restarts);
}

/* --- as text --- */

const char *kho_regress_text(const struct kho_regress *g, enum kho_metric m, uint64_t value, char out[KHO_REGRESS_TEXT])
{
	bool rated = kho_metrics[m].kind == KHO_METRIC_KIND_RATE;
	const char *of = g->of_replies ? "a reply" : "a second";
	double v = (double)value;

	if (!rated || (m == KHO_METRIC_CPU && g->of_replies))
		snprintf(out, KHO_REGRESS_TEXT, "%.*f %s%s", v < 1e6 ? 1 : 2, v < 1e6 ? v / 1e3 : v / 1e6, v < 1e6 ? "us" : "ms", rated ? " a reply" : "");
	else if (m == KHO_METRIC_CPU)
		snprintf(out, KHO_REGRESS_TEXT, "%.2f %%", v / 1e4);
	else if (m == KHO_METRIC_RETRANS)
		snprintf(out, KHO_REGRESS_TEXT, "%.3f %%", v / 1e4);
	else
		snprintf(out, KHO_REGRESS_TEXT, "%.2f %s", v / (g->of_replies ? 1e6 : 1e3), of);
	return out;
}

const char *kho_regress_ratio(double r, char out[KHO_REGRESS_TEXT])
{
	snprintf(out, KHO_REGRESS_TEXT, r > 1000 ? "more than 1000" : "%.2f", r);
	return out;
}

static struct json_object *side(const struct kho_hist *h)
{
	struct json_object *o = json_object_new_object();

	kho_json_int(o, "n", (int64_t)kho_hist_count(h));
	kho_json_int(o, "median", (int64_t)kho_hist_quantile(h, 0.5));
	kho_json_int(o, "p99", (int64_t)kho_hist_quantile(h, 0.99));
	return o;
}

/* null: it was not compared */
static void add_ratio(struct json_object *o, const char *key, const struct kho_regress_row *row, double v)
{
	if (row->compared)
		kho_json_number(o, key, v);
	else
		json_object_object_add(o, key, NULL);
}

struct json_object *kho_regress_json(const struct kho_regress *g)
{
	struct json_object *a = json_object_new_array();

	for (int m = 0; m < KHO_NMETRICS; m++) {
		const struct kho_regress_row *row = &g->row[m];
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "metric", kho_metric_name((enum kho_metric)m));
		json_object_object_add(o, "a", side(&row->a));
		json_object_object_add(o, "b", side(&row->b));
		add_ratio(o, "median_ratio", row, row->d.median_ratio);
		add_ratio(o, "p99_ratio", row, row->d.p99_ratio);
		add_ratio(o, "p", row, row->d.p);
		add_ratio(o, "delta", row, row->d.delta);
		add_ratio(o, "tail", row, row->d.tail);
		kho_json_str(o, "verdict", row->judged ? kho_gate_verdict_name(row->verdict) : NULL);
		json_object_array_add(a, o);
	}
	return a;
}
