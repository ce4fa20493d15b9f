// SPDX-License-Identifier: GPL-2.0-only
/*
 * handshake: the incoming kernel's agent answers; revision and features are agreed.
 *
 * The engine waits in slices, so that a signal, or an incoming kernel that died while it booted,
 * does not have to wait for the whole deadline.
 */
#include "lib/clock.h"
#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

int kho_step_handshake(struct kho_upgrade *u, struct kho_err *err)
{
	return u->engine->ops->connect(u->engine, atomic_load(&u->deadline_us), err);
}

int kho_undo_handshake(struct kho_upgrade *u, struct kho_err *err)
{
	return u->engine->ops->disconnect(u->engine, err);
}
