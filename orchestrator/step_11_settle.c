// SPDX-License-Identifier: GPL-2.0-only
/*
 * settle: what is stale on this kernel is dropped (so that it cannot answer or write a second
 * time), the incoming side tidies up what could wait for the end of the blackout, and devices that no
 * serializer carried follow.  The CPUs go at the end, all together (handover/module/leave.c says why).
 */
#include "handover/uapi/khoctl_region.h"
#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

int kho_step_settle(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; u->serializers[i]; i++) {
		const struct kho_serializer *s = u->serializers[i];

		if (s->forget && s->forget(&u->engine->env, &one) < 0)
			kho_first_failure(kho_wrap(&one, "forget %s", s->name), &one, &first, err);
	}
	for (size_t i = 0; u->serializers[i]; i++)
		if (u->serializers[i]->tidy)
			kho_first_failure(kho_context_peer_twice(u, u->serializers[i], "tidy", KHO_FAULT_TIDY, &one), &one, &first, err);
	kho_first_failure(u->engine->ops->set_state(u->engine, KHO_STATE_RETIRING, &one), &one,
			  &first, err);
	kho_first_failure(u->engine->ops->shift_rest(u->engine, &one), &one, &first, err);
	return first;
}
