// SPDX-License-Identifier: GPL-2.0-only
/*
 * freeze: THE BLACKOUT BEGINS.  The lanes start; this step ends when everything is frozen, while
 * drains and hand-overs of the quick lanes are already under way.  Logs stay in RAM from here on:
 * the disk may be frozen.
 */
#include "handover/uapi/khoctl_region.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/context.h"
#include "orchestrator/gates.h"
#include "orchestrator/lanes.h"
#include "orchestrator/step_list.h"

int kho_step_freeze(struct kho_upgrade *u, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("blackout");
	int rc = u->engine->ops->set_state(u->engine, KHO_STATE_FROZEN, err);

	kho_context_disk_away(u);
	u->blackout_begin_us = kho_clock_us();
	kho_json_int(rec, "begin_us", (int64_t)u->blackout_begin_us);
	if (rc == 0)
		kho_lanes_start(u->lanes);
	/* the lanes run while this is written */
	(void)!kho_journal_add(u->journal, rec, NULL);
	if (rc == 0)
		rc = kho_lanes_wait_frozen(u->lanes, err);
	/* beside the lanes, too */
	return rc < 0 ? rc : kho_gates_quiescent(u, false, err);
}

int kho_undo_freeze(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	/* a peer that cannot give back what it has is stopped first: then it is there to be taken
	 */
	if (!u->engine->ops->peer_alive(u->engine, &one))
		kho_first_failure(u->engine->ops->stop(u->engine, &one), &one, &first, err);
	/* no lanes: somebody else's upgrade is being undone after its khoctl died */
	kho_first_failure(u->lanes ? kho_lanes_unfreeze(u->lanes, &one)
				   : kho_context_unfreeze(u, &one),
			  &one, &first, err);
	kho_first_failure(u->engine->ops->set_state(u->engine, KHO_STATE_RUNNING, &one), &one,
			  &first, err);
	kho_first_failure(kho_context_disk_back(u, &one), &one, &first, err);
	return first;
}
