// SPDX-License-Identifier: GPL-2.0-only
/* What came of the requests that a canary's shadow was sent, and what it means.  See orchestrator/canary.h. Pure arithmetic. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/format.h"
#include "lib/json.h"
#include "orchestrator/canary.h"

static void __attribute__((format(printf, 3, 4))) say(struct kho_replay_trial *t, enum kho_gate_verdict v, const char *fmt, ...)
{
	va_list ap;

	t->verdict = v;
	va_start(ap, fmt);
	vsnprintf(t->msg, sizeof(t->msg), fmt, ap);
	va_end(ap);
}

/* Nothing was recorded that could be sent. */
static void judge_nothing(struct kho_replay_trial *t)
{
	char us[KHO_FORMAT_MAX];

	if (t->here.tls)
		say(t, KHO_GATE_UNKNOWN, "what its clients send looks like TLS (%u connections), which cannot be sent to another", t->here.tls);
	else if (t->here.cut)
		say(t, KHO_GATE_UNKNOWN, "packets were missed: of %u connections nothing whole was recorded", t->here.cut);
	else
		say(t, KHO_GATE_UNKNOWN, "nobody asked it for anything over TCP in %s", kho_format_us(t->here.us, us));
}

static double ratio(const struct kho_replay_trial *t, double q)
{
	const double least = (double)KHO_REPLAY_FLOOR_NS;

	return ((double)kho_hist_quantile(&t->there.ns, q) + least) / ((double)kho_hist_quantile(&t->here.ns, q) + least);
}

static void judge_times(struct kho_replay_trial *t, const struct kho_difference_limits *l)
{
	const struct kho_replay_result *r = &t->there;
	int worse;

	if (kho_hist_compare(&t->here.ns, &r->ns, &t->d)) {
		t->d.median_ratio = ratio(t, 0.5);
		t->d.p99_ratio = ratio(t, 0.99);
	}
	worse = r->timed ? kho_canary_is_worse(&t->d, l) : -1;
	if (worse > 0)
		say(t, KHO_GATE_FAIL, "its copy replies later: median %.2f times, 99th percentile %.2f times (delta %.2f)", t->d.median_ratio, t->d.p99_ratio, t->d.delta);
	else if (!r->timed)
		say(t, KHO_GATE_UNKNOWN, "how long replies take there could not be measured: %s", r->what);
	else if (r->late)
		say(t, KHO_GATE_UNKNOWN, "the time was over before %" PRIu64 " of %u requests", r->late, t->here.requests);
	else if (worse < 0)
		say(t, KHO_GATE_PASS, "%" PRIu64 " requests, and %" PRIu64 " replies (%" PRIu64 " of another length); too few to compare how long they take", r->requests,
		    r->replies, r->other_length);
	else
		say(t, KHO_GATE_PASS, "%" PRIu64 " requests, and %" PRIu64 " replies (%" PRIu64 " of another length): median %.2f times this kernel's", r->requests, r->replies,
		    r->other_length, t->d.median_ratio);
}

void kho_replay_judge(struct kho_replay_trial *t, const struct kho_difference_limits *l)
{
	const struct kho_replay_result *r = &t->there;

	if (*t->why)
		say(t, KHO_GATE_UNKNOWN, "not %s: %s", t->recorded ? "sent" : "recorded", t->why);
	else if (!t->recorded)
		say(t, KHO_GATE_UNKNOWN, "not run");
	else if (!t->here.requests)
		judge_nothing(t);
	else if (!t->ran)
		say(t, KHO_GATE_UNKNOWN, "not run: %u requests were recorded, and there was no copy to send them to", t->here.requests);
	else if (!r->known)
		say(t, KHO_GATE_UNKNOWN, "cannot be run on the canary: %s", r->what);
	else if (r->refused || r->cut || r->silent)
		say(t, KHO_GATE_FAIL, "of %u connections %" PRIu64 " were refused, %" PRIu64 " were cut, %" PRIu64 " got no reply, first: %s", t->here.conns, r->refused, r->cut,
		    r->silent, r->what);
	else if (!r->replies)
		say(t, KHO_GATE_UNKNOWN, "no reply, on connections (%" PRIu64 ") that had begun before they were recorded: what they began with (a login) is missing", r->strange);
	else
		judge_times(t, l);
}

static struct json_object *side(const struct kho_hist *h)
{
	struct json_object *o = json_object_new_object();

	kho_canary_times_json(o, h);
	return o;
}

struct json_object *kho_replay_json(const struct kho_replay_trial *t)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "verdict", kho_canary_name(t->verdict));
	kho_json_str(o, "msg", t->msg);
	kho_json_int(o, "recorded_us", (int64_t)t->here.us);
	kho_json_int(o, "recorded_connections", t->here.conns);
	kho_json_int(o, "recorded_requests", t->here.requests);
	kho_json_int(o, "tls_connections", t->here.tls);
	kho_json_int(o, "gap_connections", t->here.cut);
	kho_json_bool(o, "recorded_all", !t->here.more && !t->here.full);
	kho_json_int(o, "requests", (int64_t)t->there.requests);
	kho_json_int(o, "replies", (int64_t)t->there.replies);
	kho_json_int(o, "replies_other_length", (int64_t)t->there.other_length);
	kho_json_int(o, "refused", (int64_t)t->there.refused);
	kho_json_int(o, "cut", (int64_t)t->there.cut);
	kho_json_int(o, "silent", (int64_t)t->there.silent);
	kho_json_int(o, "strange", (int64_t)t->there.strange);
	kho_json_int(o, "late", (int64_t)t->there.late);
	json_object_object_add(o, "canary", side(&t->there.ns));
	json_object_object_add(o, "running", side(&t->here.ns));
	kho_canary_difference_json(o, &t->d);
	return o;
}
