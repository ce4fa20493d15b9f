// SPDX-License-Identifier: GPL-2.0-only
/* How long would the blackout be now, and is that short enough?  See orchestrator/converge.h. */
#include "orchestrator/converge.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/format.h"
#include "lib/json.h"
#include "orchestrator/context.h"

#define TICK_US	 50000ull   /* how soon a request to stop is heard */
#define LOOKS	 60	    /* in the time that is waited */
#define LOOK_MAX 1000000ull /* and no further apart than that */

/* One look. */
struct look {
	uint64_t at_us, us, bytes, copy_us, rate; /* us: what looking took */
	struct kho_prediction now;
	unsigned again; /* so many more rounds would be taken; of several who copy, the least that any of them takes */
	bool known; /* what is written */
	const char *how;
	struct kho_gate_list gates; /* the one gate, if there is anything to say of it */
};

struct converge {
	struct kho_upgrade *u;
	int64_t limit;
	uint64_t begin_us, end_us, round_us; /* when it began, when it is over; when the last round was made */
	unsigned rounds;
	struct json_object *workloads; /* of the last look; borrowed by nobody */
};

/* Is a prediction of this kind one to rely on? Without an upgrade on record it is an estimate (docs/limits.md), which is taken when unknown is allowed. */
static bool is_known(const struct kho_prediction *p, bool allow_unknown)
{
	return p->us && (p->upgrades || allow_unknown);
}

static void judge(struct kho_gate_list *l, const struct kho_gate_policy *policy, const struct kho_prediction *p, const char *more)
{
	if (is_known(p, policy->allow_unknown))
		kho_gate_measured(l, policy, KHO_GATE_BLACKOUT, (int64_t)p->us, "%s", more);
	else if (p->us)
		kho_gate_unknown(l, policy, KHO_GATE_BLACKOUT, "no upgrade of this kind is on record here; the estimate is %.3f s, and may be off by a factor of three",
				 (double)p->us / 1e6);
	else
		kho_gate_unknown(l, policy, KHO_GATE_BLACKOUT, "%s", p->jumps ? "no upgrade of this kind is on record here" : "no upgrade is on record here, and no self-test was made");
}

int kho_converge_check(struct kho_plan *p, struct kho_err *err)
{
	struct kho_prediction least = p->prediction;
	struct kho_gate_list l = { 0 };
	struct kho_err why = KHO_ERR_INIT;
	char us[KHO_FORMAT_MAX], max[KHO_FORMAT_MAX];
	int64_t limit = p->gates.limit[KHO_GATE_BLACKOUT];
	int rc;

	if (limit == KHO_GATE_NO_LIMIT)
		return 0;
	/* what is written last may be little at another moment; the rest may not */
	least.us -= least.copy_us;
	judge(&l, &p->gates, &least, "");
	kho_format_us(least.us, us);
	kho_format_us((uint64_t)limit, max);
	if (kho_gates_decide(&l, &p->gates, &why) == 0)
		rc = kho_report_add(&p->report, least.us ? KHO_V_OK : KHO_V_UNKNOWN, "blackout", "max-blackout", NULL,
				    least.us ? "%s at the least, %s is allowed" : "not known; %s%s is allowed", least.us ? us : "", max);
	else if (l.r[0].verdict == KHO_GATE_UNKNOWN)
		rc = kho_report_add(&p->report, KHO_V_NO, "blackout", "max-blackout", "--allow-unknown, once: the next upgrade is predicted from this one",
				    "%s is allowed, and the blackout is not known: %s", max, l.r[0].what);
	else
		rc = kho_report_add(&p->report, KHO_V_NO, "blackout", "max-blackout", "a longer --max-blackout",
				    "the blackout would be about %s at the least, and %s is allowed (%s)", us, max, p->basis);
	return rc < 0 ? kho_fail(err, rc, "plan: out of memory") : 0;
}

/* What all serializers have to say of it: 0, or why nobody knows. */
static int ask(struct converge *c, struct look *k, struct kho_err *err)
{
	struct kho_upgrade *u = c->u;
	int rc = 0;

	json_object_put(c->workloads);
	c->workloads = json_object_new_array();
	for (size_t i = 0; u->serializers[i] && rc == 0; i++) {
		struct kho_dirty d = { 0 };

		rc = u->serializers[i]->dirty ? u->serializers[i]->dirty(&u->engine->env, &d, err) : 0;
		for (size_t n = 0; n < d.n; n++) {
			struct json_object *w = json_object_new_object();

			kho_json_str(w, "name", d.w[n].name);
			kho_json_int(w, "dirty_bytes", (int64_t)d.w[n].bytes);
			kho_json_int(w, "bytes_per_s", (int64_t)d.w[n].bytes_per_s);
			json_object_array_add(c->workloads, w);
			k->rate += d.w[n].bytes_per_s;
		}
		k->bytes += d.bytes;
		k->copy_us += d.copy_us;
		if (d.again && (!k->again || d.again < k->again))
			k->again = d.again;
		if (d.how)
			k->how = d.how;
		kho_dirty_done(&d);
	}
	return rc;
}

static struct json_object *fill(const struct converge *c, const struct look *k, struct json_object *o)
{
	kho_json_known(o, "predicted_us", (int64_t)k->now.us);
	kho_json_known(o, "limit_us", c->limit);
	kho_json_bool(o, "known", k->known);
	kho_json_int(o, "dirty_bytes", (int64_t)k->bytes);
	kho_json_int(o, "bytes_per_s", (int64_t)k->rate);
	kho_json_int(o, "copy_us", (int64_t)k->copy_us);
	kho_json_str(o, "how", k->how);
	kho_json_int(o, "rounds", c->rounds);
	kho_json_int(o, "look_us", (int64_t)k->us);
	kho_json_int(o, "waited_us", (int64_t)(k->at_us - c->begin_us));
	return o;
}

/* For who looks on. */
static void show(const struct converge *c, const struct look *k)
{
	kho_events_emit(c->u->events, fill(c, k, kho_event_new("converging")));
}

/* What the report is made from: the last one counts. */
static int note(const struct converge *c, const struct look *k, struct kho_err *err)
{
	struct json_object *rec = fill(c, k, kho_record_new("converging"));

	json_object_object_add(rec, "workloads", json_object_get(c->workloads));
	json_object_object_add(rec, "gates", kho_gates_json(&k->gates));
	return kho_journal_add(c->u->journal, rec, err);
}

/* The one who writes most, for the message. */
static void busiest(const struct converge *c, char *out, size_t len)
{
	int64_t most = 0;
	char bytes[KHO_FORMAT_MAX];

	*out = '\0';
	for (size_t i = 0; i < json_object_array_length(c->workloads); i++) {
		const struct json_object *w = json_object_array_get_idx(c->workloads, i);
		int64_t n = kho_json_get_int(w, "dirty_bytes");

		if (n > most)
			snprintf(out, len, ", most of it (%s) by %s", kho_format_bytes((uint64_t)n, bytes), kho_json_get_str(w, "name"));
		most = n > most ? n : most;
	}
}

/* Look, predict, judge. */
static void look(struct converge *c, struct look *k)
{
	const struct kho_plan *p = c->u->plan;
	struct kho_err err = KHO_ERR_INIT;
	char most[128], more[300], waited[KHO_FORMAT_MAX], bytes[KHO_FORMAT_MAX], copy[KHO_FORMAT_MAX];

	*k = (struct look){ .at_us = kho_clock_us() };
	k->known = ask(c, k, &err) == 0;
	k->us = kho_clock_us() - k->at_us;
	k->now = p->prediction;
	if (!k->known) {
		k->now.us = 0;
		kho_gate_unknown(&k->gates, &p->gates, KHO_GATE_BLACKOUT, "%s", err.msg);
		return;
	}
	/* the plan's, with what is there to copy now in place of what was there at other times */
	if (k->now.us)
		k->now.us += k->copy_us - k->now.copy_us;
	k->now.copy_us = k->copy_us;
	busiest(c, most, sizeof(most));
	snprintf(more, sizeof(more),
		 "of it %s to copy %s that were written since the last round%s; waited for %s, in which %u more round%s made; a longer --max-blackout, or "
		 "another time of the day",
		 kho_format_us(k->copy_us, copy), kho_format_bytes(k->bytes, bytes), most, kho_format_us(k->at_us - c->begin_us, waited), c->rounds, c->rounds == 1 ? " was" : "s were");
	judge(&k->gates, &p->gates, &k->now, more);
}

/* Until the next look; a stop is heard. */
static int nap(struct converge *c, struct kho_err *err)
{
	uint64_t wait = c->u->plan->config.max_blackout_wait_us / LOOKS, until = kho_clock_us() + (wait < LOOK_MAX ? wait : LOOK_MAX);
	int rc = kho_context_check(c->u, err);

	while (rc == 0 && kho_clock_us() < until) {
		usleep(TICK_US);
		rc = kho_context_check(c->u, err);
	}
	return rc;
}

/* Whether another round is due: those that are left are spread over the time that is left. What a pause leaves to copy is seen after one. */
static bool is_due(const struct converge *c, const struct look *k)
{
	return k->at_us - c->round_us >= (c->end_us - c->round_us) / (k->again + 1);
}

static int another(struct converge *c, int (*round)(void *arg, struct kho_err *err), void *arg, struct kho_err *err)
{
	int rc = round(arg, err);

	c->rounds++;
	c->round_us = kho_clock_us();
	return rc;
}

/* Nothing that is waited for could make it shorter. */
static bool is_hopeless(const struct converge *c, const struct look *k)
{
	return k->gates.r[0].verdict != KHO_GATE_FAIL || !k->again || (int64_t)(k->now.us - k->copy_us) > c->limit;
}

int kho_converge(struct kho_upgrade *u, int (*round)(void *arg, struct kho_err *err), void *arg, struct kho_err *err)
{
	struct converge c = { .u = u, .limit = u->plan->gates.limit[KHO_GATE_BLACKOUT], .begin_us = kho_clock_us() };
	struct look k;
	int rc = 0, decision = 0;

	c.round_us = c.begin_us;
	c.end_us = c.begin_us + u->plan->config.max_blackout_wait_us;
	for (;;) {
		look(&c, &k);
		show(&c, &k);
		decision = c.limit == KHO_GATE_NO_LIMIT ? 0 : kho_gates_decide(&k.gates, &u->plan->gates, err);
		if (decision == 0 || is_hopeless(&c, &k) || k.at_us >= c.end_us)
			break;
		rc = is_due(&c, &k) ? another(&c, round, arg, err) : nap(&c, err);
		if (rc < 0)
			break;
	}
	if (rc == 0 && decision == 0)
		rc = note(&c, &k, err);
	else
		(void)!note(&c, &k, NULL); /* it ends here anyway, for another reason */
	json_object_put(c.workloads);
	return rc < 0 ? rc : decision;
}
