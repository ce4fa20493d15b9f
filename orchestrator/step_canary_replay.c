// SPDX-License-Identifier: GPL-2.0-only
/*
 * Of shadow, with --replay: what the workload's clients send it is recorded before it is copied, and sent to the copy when that has run for a while.  What goes wrong
 * with it is its verdict (canary_replay.c), as with the copy's.  The recording is other people's: it goes from memory to memory, and is wiped.
 */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/format.h"
#include "orchestrator/canary.h"
#include "orchestrator/step_list.h"

/* That is why there is no more of it: 0. Unless it is no word of the copy: negative, and the step ends. */
static int ends(struct kho_upgrade *u, const struct kho_err *why, struct kho_err *err)
{
	struct kho_replay_trial *t = &u->canary->replay;
	int rc = kho_canary_goes_on(u, err);

	if (rc == 0)
		snprintf(t->why, sizeof(t->why), "%s", why->msg);
	return rc;
}

int kho_replay_trial_record(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_workload *w = &u->copied.w[0];
	struct kho_replay_trial *t = &u->canary->replay;
	struct kho_err why = KHO_ERR_INIT;
	uint64_t us = u->plan->canary.us, begin = kho_clock_us();
	int rc;

	if (us > KHO_REPLAY_US_MOST)
		us = KHO_REPLAY_US_MOST;
	rc = kho_replay_record(w->pids, w->npids, us, kho_context_stopped, u, &t->here, &why);
	if (rc < 0)
		return ends(u, &why, err);
	kho_context_phase(u, "shadow recorded", begin, kho_clock_us());
	t->recorded = true;
	kho_context_note(u, "shadow: %u requests to %s were recorded, on %u connections", t->here.requests, w->name, t->here.conns);
	return kho_context_check(u, err);
}

static int carry(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_env *env = &u->engine->env;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", u->canary->replay.here.fd);
	return env->ops->put_file ? env->ops->put_file(env, path, KHO_REPLAY_FILE, err) : kho_fail(err, -ENOSYS, "this engine carries no files");
}

int kho_replay_trial_send(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_replay_trial *t = &u->canary->replay;
	struct kho_err why = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();
	char name[KHO_FORMAT_MAX];
	int rc;

	if (!t->recorded || !t->here.requests)
		return 0;
	rc = carry(u, &why);
	kho_replay_trial_done(t);
	if (rc == 0)
		rc = u->engine->ops->replay(u->engine, kho_context_stopped, u, &t->there, atomic_load(&u->deadline_us), &why);
	if (rc < 0)
		return ends(u, &why, err);
	t->ran = true;
	kho_context_phase(u, "shadow replay", begin, kho_clock_us());
	kho_context_note(u, "shadow: its copy has replied to %llu of %llu requests, in %s", (unsigned long long)t->there.replies,
			 (unsigned long long)t->there.requests, kho_format_us(kho_clock_us() - begin, name));
	return kho_context_check(u, err);
}

void kho_replay_trial_done(struct kho_replay_trial *t)
{
	kho_replay_recorded_done(&t->here);
}
