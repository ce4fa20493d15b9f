// SPDX-License-Identifier: GPL-2.0-only
/* Gates of an upgrade.  See orchestrator/gates.h. */
#include "orchestrator/gates.h"

#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/context.h"

int kho_gates_note(struct kho_upgrade *u, const struct kho_gate_list *l, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("gates");
	size_t passed = 0, unknown = 0;

	for (size_t i = 0; i < l->n; i++) {
		passed += l->r[i].verdict == KHO_GATE_PASS;
		unknown += l->r[i].verdict == KHO_GATE_UNKNOWN;
	}
	kho_context_note(u, "gates: of %zu, %zu passed, %zu failed, %zu not known", l->n, passed, l->n - passed - unknown, unknown);
	json_object_object_add(rec, "gates", kho_gates_json(l));
	return kho_journal_add(u->journal, rec, err);
}

int kho_gates_quiescent(struct kho_upgrade *u, bool shifted, struct kho_err *err)
{
	const struct kho_gate_policy *policy = &u->plan->gates;
	struct kho_quiet_list q = { .n = 0 };
	struct kho_gate_list l = { .n = 0 };
	uint64_t begin = kho_clock_us();
	int rc;

	if (!policy->ask)
		return 0;
	for (size_t i = 0; u->serializers[i]; i++)
		if (u->serializers[i]->quiet)
			u->serializers[i]->quiet(&u->engine->env, shifted, &q);
	for (size_t i = 0; i < q.n; i++)
		kho_gate_told(&l, policy, q.q[i].gate, q.q[i].known, q.q[i].value, q.q[i].what);
	if (!l.n)
		return 0;
	kho_context_phase(u, "quiescent", begin, kho_clock_us());
	rc = kho_gates_note(u, &l, err);
	return rc < 0 ? rc : kho_gates_decide(&l, policy, err);
}

static int ask(struct kho_upgrade *u, enum kho_gate_moment moment, struct kho_gate_list *out, struct kho_err *err)
{
	int rc = u->engine->ops->gates(u->engine, moment, &u->plan->gates, out, atomic_load(&u->deadline_us), err);

	return rc < 0 ? kho_wrap(err, "gates") : 0;
}

int kho_gates_incoming(struct kho_upgrade *u, enum kho_gate_moment moment, const char *phase, struct kho_gate_list *out, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int rc = ask(u, moment, out, err);

	if (rc < 0)
		return rc;
	kho_context_phase(u, phase, begin, kho_clock_us());
	return kho_gates_note(u, out, err);
}

int kho_gates_restored(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_gate_list none;

	return u->plan->gates.ask ? ask(u, KHO_GATES_RESTORED, &none, err) : 0;
}

int kho_gates_dark(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_gate_policy *policy = &u->plan->gates;
	struct kho_gate_list l;
	int rc;

	if (!policy->ask)
		return 0;
	rc = kho_gates_incoming(u, KHO_GATES_DARK, "dark", &l, err);
	return rc < 0 ? rc : kho_gates_decide(&l, policy, err);
}
