// SPDX-License-Identifier: GPL-2.0-only
/* What a canary's numbers mean.  See orchestrator/canary.h. Pure arithmetic. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "orchestrator/canary.h"

struct kho_difference_limits kho_canary_limits(unsigned slower)
{
	struct kho_difference_limits l = KHO_DIFFERENCE_LIMITS;

	/* two kernels are never alike: what is called small is no reason to refuse one */
	l.delta = 0.33;
	l.ratio = 1 + slower / 100.0;
	return l;
}

int kho_canary_is_worse(const struct kho_difference *d, const struct kho_difference_limits *l)
{
	int worse = kho_hist_is_worse(d, l);

	return worse == 1 && d->median_ratio < l->ratio ? 0 : worse;
}

void kho_mix_trial_add(struct kho_mix_trial *t, const struct kho_load_result *there, const struct kho_load_result *here,
		       const struct kho_difference_limits *l)
{
	/* whether it is chance is asked of all rounds together */
	const struct kho_difference_limits one = { .least = 1, .p = 1, .delta = l->delta, .ratio = l->ratio };
	struct kho_difference d;

	if (!t->rounds++)
		t->there.known = t->here.known = true;
	kho_load_add(&t->there, there);
	kho_load_add(&t->here, here);
	if (kho_hist_compare(&here->ns, &there->ns, &d))
		t->rounds_worse += kho_canary_is_worse(&d, &one) == 1;
}

static void __attribute__((format(printf, 3, 4))) say(struct kho_mix_trial *t, enum kho_gate_verdict v, const char *fmt, ...)
{
	va_list ap;

	t->verdict = v;
	va_start(ap, fmt);
	vsnprintf(t->msg, sizeof(t->msg), fmt, ap);
	va_end(ap);
}

/* Both have run without an error. */
static void compare(struct kho_mix_trial *t, enum kho_mix mix, const struct kho_difference_limits *l, unsigned too_busy)
{
	int worse;

	(void)kho_hist_compare(&t->here.ns, &t->there.ns, &t->d);
	worse = kho_canary_is_worse(&t->d, l);
	if (worse < 0)
		say(t, mix == KHO_MIX_COMMAND ? KHO_GATE_PASS : KHO_GATE_UNKNOWN, "%" PRIu64 " and %" PRIu64 " operations: too few to compare", t->d.nb, t->d.na);
	else if (too_busy)
		say(t, KHO_GATE_UNKNOWN, "not compared: the CPU of this kernel was %u %% busy with something else", too_busy);
	/* what slows one kernel down for a while (the machine is shared) does not do so each time */
	else if (worse && t->rounds_worse * 2 > t->rounds)
		say(t, KHO_GATE_FAIL, "slower than on this kernel: median %.2f times, 99th percentile %.2f times, in %u of %u rounds (delta %.2f)", t->d.median_ratio,
		    t->d.p99_ratio, t->rounds_worse, t->rounds, t->d.delta);
	else
		say(t, KHO_GATE_PASS, "median %.2f times this kernel's, 99th percentile %.2f times", t->d.median_ratio, t->d.p99_ratio);
}

void kho_mix_judge(struct kho_mix_trial *t, enum kho_mix mix, const struct kho_difference_limits *l, unsigned too_busy)
{
	if (!t->rounds)
		say(t, KHO_GATE_UNKNOWN, "not run");
	else if (!t->there.known)
		say(t, KHO_GATE_UNKNOWN, "cannot be run on the canary: %s", t->there.what);
	else if (t->there.errors && t->here.known && t->here.errors)
		say(t, KHO_GATE_UNKNOWN, "fails on both kernels: %s", t->there.what);
	else if (t->there.errors)
		say(t, KHO_GATE_FAIL, "%" PRIu64 " operations failed on the canary, first: %s", t->there.errors, t->there.what);
	else if (!t->here.known || t->here.errors)
		say(t, KHO_GATE_UNKNOWN, "nothing to compare it with, on this kernel: %s", t->here.what);
	else
		compare(t, mix, l, too_busy);
}

/* Is it worse than all so far? Then it is what is said. */
static void count(struct kho_canary *c, enum kho_gate_verdict v, const char *what, const char *msg)
{
	if (v <= c->verdict)
		return;
	c->verdict = v;
	snprintf(c->msg, sizeof(c->msg), "%s%s%s", what, *what ? ": " : "", msg);
}

static void worst(struct kho_canary *c, const struct kho_plan *p, enum kho_gate_verdict v, const char *what, const char *msg)
{
	if (v != KHO_GATE_UNKNOWN || !p->gates.allow_unknown)
		count(c, v, what, msg);
}

static void judge_gates(struct kho_canary *c, const struct kho_plan *p, const struct kho_gate_list *l, const char *when)
{
	struct kho_err why = KHO_ERR_INIT;

	if (kho_gates_decide(l, &p->gates, &why) < 0)
		worst(c, p, kho_gates_worst(l), when, why.msg);
}

/* A step that failed: of the kernel's making, unless it never ran, somebody stopped it, or it is ours. */
static enum kho_gate_verdict of_failure(const struct kho_canary *c, const struct kho_plan *p, const char *failed, int code)
{
	static const char *const kernel[] = { "handshake", "probe", "load", "shadow" };

	if (code == -EINTR || c->ours)
		return KHO_GATE_UNKNOWN;
	if (c->before.n && !c->after.n && !strcmp(failed, "probe") && kho_gates_decide(&c->before, &p->gates, NULL) < 0)
		return kho_gates_worst(&c->before);
	for (size_t i = 0; i < sizeof(kernel) / sizeof(*kernel); i++)
		if (!strcmp(failed, kernel[i]))
			return KHO_GATE_FAIL;
	return KHO_GATE_UNKNOWN;
}

static void judge_shadow(struct kho_canary *c, const struct kho_plan *p)
{
	char what[96];

	snprintf(what, sizeof(what), "shadow %s", p->canary.shadow);
	/* its gates are judged by the policy; that there was no copy at all is no gate */
	count(c, c->shadow.verdict, what, c->shadow.msg);
	if (p->canary.replay) {
		snprintf(what, sizeof(what), "replay %s", p->canary.shadow);
		worst(c, p, c->replay.verdict, what, c->replay.msg);
	}
	if (c->shadow.end != KHO_SHADOW_NOT_RUN)
		judge_gates(c, p, &c->end, "after the shadow");
}

void kho_canary_judge(struct kho_canary *c, const struct kho_plan *p, const char *failed, const struct kho_err *why)
{
	const struct kho_difference_limits l = kho_canary_limits(p->canary.slower);

	c->verdict = KHO_GATE_PASS;
	c->msg[0] = '\0';
	for (int i = 0; i < KHO_NMIXES; i++)
		if (p->canary.mixes >> i & 1)
			kho_mix_judge(&c->mix[i], (enum kho_mix)i, &l, c->busy > p->canary.busy_most ? c->busy : 0);
	if (p->canary.shadow)
		kho_shadow_judge(&c->shadow, &p->gates);
	if (p->canary.replay)
		kho_replay_judge(&c->replay, &l);
	if (failed) {
		c->verdict = of_failure(c, p, failed, why->code);
		snprintf(c->msg, sizeof(c->msg), "%s", why->msg);
		return;
	}
	judge_gates(c, p, &c->before, "before the load");
	judge_gates(c, p, &c->after, "after the load");
	for (int i = 0; i < KHO_NMIXES; i++)
		if (p->canary.mixes >> i & 1)
			worst(c, p, c->mix[i].verdict, kho_mixes[i].name, c->mix[i].msg);
	if (p->canary.shadow)
		judge_shadow(c, p);
}

const char *kho_canary_name(enum kho_gate_verdict v)
{
	return v == KHO_GATE_UNKNOWN ? "undecided" : kho_gate_verdict_name(v);
}

void kho_canary_times_json(struct json_object *o, const struct kho_hist *h)
{
	uint64_t n = kho_hist_count(h);

	kho_json_int(o, "operations", (int64_t)n);
	kho_json_known(o, "median_ns", n ? (int64_t)kho_hist_quantile(h, 0.5) : 0);
	kho_json_known(o, "p99_ns", n ? (int64_t)kho_hist_quantile(h, 0.99) : 0);
}

void kho_canary_difference_json(struct json_object *o, const struct kho_difference *d)
{
	if (!d->na || !d->nb)
		return;
	kho_json_number(o, "median_ratio", d->median_ratio);
	kho_json_number(o, "p99_ratio", d->p99_ratio);
	kho_json_number(o, "delta", d->delta);
	kho_json_number(o, "distance", d->distance);
	kho_json_number(o, "p", d->p);
}

static struct json_object *result_json(const struct kho_load_result *r)
{
	struct json_object *o = json_object_new_object();

	kho_json_bool(o, "known", r->known);
	kho_canary_times_json(o, &r->ns);
	kho_json_int(o, "errors", (int64_t)r->errors);
	kho_json_str(o, "what", r->what);
	return o;
}

static struct json_object *mix_json(const struct kho_mix_trial *t, enum kho_mix mix)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "name", kho_mixes[mix].name);
	kho_json_str(o, "what", kho_mixes[mix].what);
	kho_json_str(o, "verdict", kho_canary_name(t->verdict));
	kho_json_str(o, "msg", t->msg);
	kho_json_int(o, "rounds", t->rounds);
	kho_json_int(o, "rounds_worse", t->rounds_worse);
	json_object_object_add(o, "canary", result_json(&t->there));
	json_object_object_add(o, "running", result_json(&t->here));
	kho_canary_difference_json(o, &t->d);
	return o;
}

struct json_object *kho_canary_json(const struct kho_canary *c, const struct kho_plan *p, const char *log)
{
	struct json_object *o = json_object_new_object(), *ready = json_object_new_object(), *loads = json_object_new_array();

	kho_json_str(o, "verdict", kho_canary_name(c->verdict));
	kho_json_str(o, "msg", c->msg);
	kho_json_str(o, "kernel", p->image.release);
	kho_json_str(o, "image", p->image_path);
	kho_json_str(o, "running", p->from);
	kho_json_int(o, "cpus", p->engine_plan.nbefore);
	kho_json_int(o, "memory_bytes", (int64_t)p->engine_plan.region_bytes);
	kho_json_str(o, "cmdline", p->engine_plan.cmdline);
	kho_json_int(o, "for_us", (int64_t)p->canary.us);
	kho_json_int(o, "slower_percent", p->canary.slower);
	kho_json_bool(o, "allow_unknown", p->gates.allow_unknown);
	kho_json_str(o, "command", p->canary.command);
	kho_json_int(o, "busy_percent", c->busy);
	json_object_object_add(ready, "before", kho_gates_json(&c->before));
	json_object_object_add(ready, "after", kho_gates_json(&c->after));
	json_object_object_add(o, "ready", ready);
	for (int i = 0; i < KHO_NMIXES; i++)
		if (p->canary.mixes >> i & 1)
			json_object_array_add(loads, mix_json(&c->mix[i], (enum kho_mix)i));
	json_object_object_add(o, "load", loads);
	if (p->canary.shadow) {
		json_object_object_add(ready, "end", kho_gates_json(&c->end));
		json_object_object_add(o, "shadow", kho_shadow_json(c, p));
	}
	kho_json_str(o, "log", log);
	return o;
}
