// SPDX-License-Identifier: GPL-2.0-only
/*
 * shadow, of a canary: the serializers that can (KHO_SER_COPY) copy a workload, which goes on at once; the copy is restored on the
 * canary, looked at for as long as the load took there, and killed.  What goes wrong with it is its verdict (canary_shadow.c).  The
 * step itself fails only when it is to end, the canary is lost, or the workload could not be let go on.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/format.h"
#include "orchestrator/canary.h"
#include "orchestrator/fire.h"
#include "orchestrator/gates.h"
#include "orchestrator/precopy.h"
#include "orchestrator/step_list.h"

#define LOOKS	 30	    /* at a copy that runs for long */
#define LOOK_US	 2000000ull /* between two of them, at least */
#define AGAIN_US 1000000ull /* one that is not well is looked at once more: it may have been late */
#define TICK_US	 50000

struct copy {
	struct kho_upgrade *u;
	struct kho_shadow *s;
	size_t n;
	bool frozen[KHO_SERIALIZERS_MAX];
	struct kho_blob blob[KHO_SERIALIZERS_MAX]; /* by serializer */
};

/* No room, or a number that is taken: of the place that the copy was to have there, and not of the kernel. */
static bool is_of_place(int code)
{
	return code == -ENOMEM || code == -ENOSPC || code == -EEXIST;
}

/* That is how it ends, and why: 1. Unless it is no word of the copy: negative, and the step ends. */
static int ends(struct copy *c, enum kho_shadow_end end, const struct kho_err *why, struct kho_err *err)
{
	int rc = kho_canary_goes_on(c->u, err);

	if (rc < 0)
		return rc;
	c->s->end = end;
	snprintf(c->s->why, sizeof(c->s->why), "%s", why->msg);
	return 1;
}

/* --- the copy --- */

static bool needs_met(const struct copy *c, const struct kho_serializer *s)
{
	for (const char *const *name = s->needs; name && *name; name++)
		for (size_t i = 0; i < c->n; i++)
			if (!strcmp(c->u->serializers[i]->name, *name) && !c->frozen[i])
				return false;
	return true;
}

static int freeze_one(struct copy *c, size_t i, struct kho_err *err)
{
	const struct kho_serializer *s = c->u->serializers[i];
	int rc = kho_fault_fire(c->u, s->name, KHO_FAULT_FREEZE, err);

	if (rc == 0 && s->freeze)
		rc = s->freeze(&c->u->engine->env, err);
	c->frozen[i] = rc == 0;
	return rc < 0 ? kho_wrap(err, "freeze %s", s->name) : 0;
}

/* Each when those that it needs are; of those that need each other none is. */
static int freeze_all(struct copy *c, struct kho_err *err)
{
	size_t left = c->n, before = 0;
	int rc = 0;

	while (rc == 0 && left && left != before) {
		before = left;
		for (size_t i = 0; rc == 0 && i < c->n; i++) {
			if (c->frozen[i] || !needs_met(c, c->u->serializers[i]))
				continue;
			rc = freeze_one(c, i, err);
			left--;
		}
	}
	return rc == 0 && left ? kho_fail(err, -EDEADLK, "freeze: serializers need each other") : rc;
}

static int drain_all(struct copy *c, struct kho_err *err)
{
	int rc = kho_context_check(c->u, err);

	for (size_t i = 0; rc == 0 && i < c->n; i++) {
		const struct kho_serializer *s = c->u->serializers[i];

		rc = kho_fault_fire(c->u, s->name, KHO_FAULT_DRAIN, err);
		if (rc == 0 && s->drain)
			rc = s->drain(&c->u->engine->env, &c->blob[i], err);
		if (rc < 0)
			kho_wrap(err, "drain %s", s->name);
	}
	return rc;
}

/* The workload stands still only in here. Logs stay in RAM meanwhile: a disk may take long. */
static int stop_and_go(struct copy *c, struct kho_err *err)
{
	struct kho_upgrade *u = c->u;
	struct kho_err why = KHO_ERR_INIT;
	uint64_t begin, end;
	int rc, thaw, back;

	kho_context_disk_away(u);
	begin = kho_clock_us();
	rc = freeze_all(c, &why);
	if (rc == 0)
		rc = drain_all(c, &why);
	thaw = kho_context_unfreeze(u, err);
	end = kho_clock_us();
	back = kho_context_disk_back(u, thaw < 0 ? NULL : err);
	c->s->frozen_us = end - begin;
	kho_context_phase(u, "shadow frozen", begin, end);
	u->canary->ours |= thaw < 0 || back < 0;
	if (thaw < 0)
		return kho_wrap(err, "let %s go on", u->plan->canary.shadow);
	if (back < 0)
		return back;
	return rc < 0 ? ends(c, KHO_SHADOW_NOT_COPIED, &why, err) : 0;
}

/* The load took a while: it may have other processes than when the plan was made. */
static int find_again(struct kho_upgrade *u, struct kho_err *err)
{
	int rc = kho_workloads_load(u->plan->sysroot, NULL, &u->copied, err);

	if (rc == 0 && !kho_workloads_keep(&u->copied, u->plan->canary.shadow))
		rc = kho_fail(err, -ENOENT, "it is not declared any more");
	if (rc == 0)
		rc = kho_workloads_resolve(u->plan->sysroot, &u->copied, err);
	if (rc == 0)
		u->engine->env.workloads = &u->copied;
	return rc;
}

static int make_copy(struct copy *c, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	bool there = false;
	int rc = find_again(c->u, &why);

	/* before anything of the copying slows it down */
	if (rc == 0 && c->u->plan->canary.replay && kho_replay_trial_record(c->u, err) < 0)
		return err->code;
	if (rc == 0)
		rc = kho_precopy_rounds(c->u, &there, &why);
	if (rc < 0)
		return ends(c, there && !is_of_place(rc) ? KHO_SHADOW_NOT_RESTORED : KHO_SHADOW_NOT_COPIED, &why, err);
	return stop_and_go(c, err);
}

/* --- on the canary --- */

/* Processes last. */
static int restore(struct copy *c, struct kho_err *err)
{
	struct kho_upgrade *u = c->u;
	uint64_t begin = 0;

	for (unsigned last = 0; last <= KHO_SER_LAST; last += KHO_SER_LAST) {
		begin = kho_clock_us();
		for (size_t i = 0; i < c->n; i++) {
			const struct kho_serializer *s = u->serializers[i];
			struct kho_err why = KHO_ERR_INIT;
			int rc;

			if ((s->flags & KHO_SER_LAST) != last || !s->retrieve)
				continue;
			rc = kho_fault_fire(u, s->name, KHO_FAULT_RETRIEVE, &why);
			if (rc == 0)
				rc = kho_context_retrieve(u, s, &c->blob[i], kho_context_stopped, u, &why);
			if (rc < 0)
				return ends(c, last && !is_of_place(rc) ? KHO_SHADOW_NOT_RESTORED : KHO_SHADOW_NOT_COPIED, &why, err);
		}
	}
	c->s->restore_us = kho_clock_us() - begin;
	return kho_gates_restored(u, err);
}

static int rest(struct kho_upgrade *u, uint64_t until, struct kho_err *err)
{
	int rc = kho_context_check(u, err);

	while (rc == 0 && kho_clock_us() < until) {
		usleep(TICK_US);
		rc = kho_context_check(u, err);
	}
	return rc;
}

/* At its beginning, at its end, and in between; us 0: once. */
static int watch(struct copy *c, uint64_t us, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + us, every = us / LOOKS > LOOK_US ? us / LOOKS : LOOK_US;
	bool failed = false, over = false;

	while (!over) {
		struct kho_err why = KHO_ERR_INIT;
		uint64_t now = kho_clock_us(), next = now + every < end ? now + every : end;

		over = now >= end;
		if (kho_context_verify(c->u, &why) == 0) {
			c->s->looks++;
			failed = false;
		} else if (failed) {
			return ends(c, KHO_SHADOW_SICK, &why, err);
		} else {
			failed = true;
			over = false;
			next = now + AGAIN_US;
		}
		if (!over && rest(c->u, next, err) < 0)
			return err->code;
	}
	c->s->end = KHO_SHADOW_WELL;
	return 0;
}

static int run_copy(struct copy *c, struct kho_err *err)
{
	int rc = restore(c, err);

	if (rc)
		return rc;
	kho_context_note(c->u, "shadow: a copy of %s runs there", c->u->plan->canary.shadow);
	rc = watch(c, c->u->plan->canary.us, err);
	/* behind that, when its pages are all there; and before it is said what it has died of */
	if (rc == 0 && c->u->plan->canary.replay) {
		rc = kho_replay_trial_send(c->u, err);
		if (rc == 0)
			rc = watch(c, 0, err);
	}
	return rc < 0 ? rc : kho_gates_copied(c->u, &c->s->dark, err);
}

static int discard_all(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	size_t n = kho_serializers_count(u->serializers);
	int first = 0;

	while (n-- > 0)
		if (u->serializers[n]->discard)
			kho_first_failure(kho_context_peer_undo(u, u->serializers[n], "discard", &one), &one, &first, err);
	return first;
}

static int copy_and_run(struct copy *c, struct kho_err *err)
{
	char t[KHO_FORMAT_MAX];
	int rc = make_copy(c, err);

	if (rc)
		return rc;
	kho_context_note(c->u, "shadow: %s stood still for %s, and goes on", c->u->plan->canary.shadow, kho_format_us(c->s->frozen_us, t));
	rc = run_copy(c, err);
	if (rc >= 0)
		rc = discard_all(c->u, err);
	return rc;
}

/* No workload is stopped for a kernel that has failed already, or does not say how it is. */
static bool is_worth_it(struct kho_upgrade *u)
{
	struct kho_canary *c = u->canary;
	struct kho_err why = KHO_ERR_INIT;

	if (kho_gates_decide(&c->after, &u->plan->gates, &why) < 0) {
		snprintf(c->shadow.why, sizeof(c->shadow.why), "%s", why.msg);
		return false;
	}
	/* its loads, too */
	kho_canary_judge(c, u->plan, NULL, NULL);
	if (c->verdict == KHO_GATE_FAIL)
		snprintf(c->shadow.why, sizeof(c->shadow.why), "%s", c->msg);
	return c->verdict != KHO_GATE_FAIL;
}

int kho_step_shadow(struct kho_upgrade *u, struct kho_err *err)
{
	struct copy c = { .u = u, .s = &u->canary->shadow, .n = kho_serializers_count(u->serializers) };
	int rc;

	if (!u->plan->canary.shadow || !is_worth_it(u))
		return 0;
	if (c.n > KHO_SERIALIZERS_MAX)
		return kho_fail(err, -E2BIG, "more than %u serializers", KHO_SERIALIZERS_MAX);
	rc = copy_and_run(&c, err);
	kho_replay_trial_done(&u->canary->replay);
	for (size_t i = 0; i < c.n; i++)
		kho_blob_done(&c.blob[i]);
	/* also one that could not be restored may have shaken it */
	return rc < 0 ? rc : kho_gates_incoming(u, KHO_GATES_READY, "gates", &u->canary->end, err);
}

/* The workload first. What is on the canary ends with it, at the latest. */
int kho_undo_shadow(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	if (!u->plan->canary.shadow)
		return 0;
	kho_first_failure(kho_context_unfreeze(u, &one), &one, &first, err);
	kho_first_failure(discard_all(u, &one), &one, &first, err);
	kho_first_failure(kho_undo_precopy(u, &one), &one, &first, err);
	return first;
}
