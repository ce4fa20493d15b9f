// SPDX-License-Identifier: GPL-2.0-only
/* One canary.  See orchestrator/canary.h. */
#include "orchestrator/canary.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

/* Where the undo of reserve has kept what it said, if it has said anything. */
static char *log_of(const struct kho_plan *p)
{
	char *path = NULL;

	if (asprintf(&path, "%s/dmesg-%u-%s.txt", p->world.state_dir, p->generation, p->image.release) < 0)
		return NULL;
	if (kho_exists(path))
		return path;
	free(path);
	return NULL;
}

static void record(struct kho_upgrade *u)
{
	_cleanup_free_ char *log = log_of(u->plan);
	struct json_object *rec = kho_record_new("canary");

	json_object_object_add(rec, "canary", kho_canary_json(u->canary, u->plan, log));
	/* all is undone, and the result says the verdict: nothing more can be done about it */
	(void)!kho_journal_add(u->journal, rec, NULL);
}

static enum kho_outcome outcome_of(enum kho_gate_verdict v)
{
	return v == KHO_GATE_PASS ? KHO_OUT_PASSED : v == KHO_GATE_FAIL ? KHO_OUT_FAILED : KHO_OUT_UNDECIDED;
}

int kho_canary_goes_on(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err lost = KHO_ERR_INIT;
	int rc = kho_context_check(u, err);

	if (rc == 0 && !u->engine->ops->peer_alive(u->engine, &lost))
		rc = kho_fail(err, lost.code, "%s", lost.msg);
	return rc;
}

enum kho_outcome kho_canary_go(struct kho_runner *r, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	enum kho_outcome out;
	size_t i = 0;
	int rc = 0;

	u->canary = calloc(1, sizeof(*u->canary));
	if (!u->canary) {
		kho_fail(err, -ENOMEM, "canary: out of memory");
		return KHO_OUT_INTERNAL;
	}
	u->canary->replay.here = (struct kho_replay_recorded)KHO_REPLAY_RECORDED_INIT;
	for (i = 0; i < u->nsteps && rc == 0; i++)
		rc = kho_runner_step(r, i, err);
	i--; /* the last one that was begun */
	kho_canary_judge(u->canary, u->plan, rc < 0 ? u->steps[i].name : NULL, err);
	if (rc == 0 && u->canary->verdict != KHO_GATE_PASS)
		kho_fail(err, -EOPNOTSUPP, "%s", u->canary->msg);
	out = kho_runner_undo(r, i, err);
	record(u);
	return out == KHO_OUT_ROLLED_BACK ? outcome_of(u->canary->verdict) : out;
}
