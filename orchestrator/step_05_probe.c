// SPDX-License-Identifier: GPL-2.0-only
/*
 * probe: between plan and now a workload may have opened what cannot be carried; ask again, with
 * both kernels up. And is the incoming one fit to be given anything (bpf/gates.def)?
 */
#include "orchestrator/canary.h"
#include "orchestrator/context.h"
#include "orchestrator/gates.h"
#include "orchestrator/step_list.h"

static int gates(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_gate_policy *policy = &u->plan->gates;
	struct kho_gate_list own = { 0 }, *l = u->canary ? &u->canary->before : &own;
	int rc;

	if (!policy->ask)
		return 0;
	if (!u->engine->ops->gates) {
		if (policy->demanded)
			return kho_fail(err, -EOPNOTSUPP, "gates: engine %s has no incoming kernel that could be measured now; leave --gates out",
					u->engine->ops->name);
		kho_context_note(u, "gates: not measured, engine %s has no incoming kernel before the jump", u->engine->ops->name);
		return 0;
	}
	rc = kho_gates_incoming(u, KHO_GATES_READY, "gates", l, err);
	return rc < 0 ? rc : kho_gates_decide(l, policy, err);
}

int kho_step_probe(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	int rc = 0;

	for (size_t i = 0; u->serializers[i] && rc == 0; i++) {
		const struct kho_serializer *s = u->serializers[i];

		rc = kho_context_check(u, err);
		if (rc == 0 && s->probe && s->probe(&u->engine->env, &r, err) < 0)
			rc = kho_wrap(err, "%s", s->name);
	}
	for (size_t i = 0; i < r.n && rc == 0; i++)
		if (r.items[i].verdict == KHO_V_NO)
			rc = kho_fail(err, -EOPNOTSUPP, "%s: %s; %s", r.items[i].subject,
				      r.items[i].what, r.items[i].fix);
	kho_report_done(&r);
	/* what its shadow would be made of says nothing of a canary */
	if (rc < 0 && u->canary && !atomic_load(&u->stop))
		u->canary->ours = true;
	if (rc == 0)
		rc = kho_context_check(u, err);
	return rc < 0 ? rc : gates(u, err);
}
