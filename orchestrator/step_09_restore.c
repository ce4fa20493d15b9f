// SPDX-License-Identifier: GPL-2.0-only
/*
 * restore: the last lanes (processes) are retrieved; then every serializer verifies in the dark, and the gates look at what the
 * processes do there.
 */
#include "orchestrator/context.h"
#include "orchestrator/gates.h"
#include "orchestrator/lanes.h"
#include "orchestrator/step_list.h"

int kho_step_restore(struct kho_upgrade *u, struct kho_err *err)
{
	int rc = kho_lanes_wait_restored(u->lanes, err);

	if (rc == 0)
		rc = kho_gates_restored(u, err);
	if (rc == 0)
		rc = kho_context_verify(u, err);
	return rc < 0 ? rc : kho_gates_dark(u, err);
}

int kho_undo_restore(struct kho_upgrade *u, struct kho_err *err)
{
	return u->lanes ? kho_lanes_discard(u->lanes, true, err) : 0;
}
