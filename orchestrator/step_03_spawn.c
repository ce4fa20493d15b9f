// SPDX-License-Identifier: GPL-2.0-only
/*
 * spawn: image and tables into the reserved memory, one CPU goes in.
 */
#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

int kho_step_spawn(struct kho_upgrade *u, struct kho_err *err)
{
	return u->engine->ops->spawn(u->engine, err);
}

int kho_undo_spawn(struct kho_upgrade *u, struct kho_err *err)
{
	return u->engine->ops->stop(u->engine, err);
}
