// SPDX-License-Identifier: GPL-2.0-only
/*
 * shift: wait until every lane but the last ones has handed over: devices, file systems, addresses
 * are with the incoming kernel, each checked by its own lane.
 */
#include "orchestrator/context.h"
#include "orchestrator/gates.h"
#include "orchestrator/lanes.h"
#include "orchestrator/step_list.h"

int kho_step_shift(struct kho_upgrade *u, struct kho_err *err)
{
	int rc = kho_lanes_wait_shifted(u->lanes, err);

	return rc < 0 ? rc : kho_gates_quiescent(u, true, err);
}

int kho_undo_shift(struct kho_upgrade *u, struct kho_err *err)
{
	return u->lanes ? kho_lanes_discard(u->lanes, false, err) : 0;
}
