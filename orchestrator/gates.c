// SPDX-License-Identifier: GPL-2.0-only
/* Gates of an upgrade.  See orchestrator/gates.h. */
#include "orchestrator/gates.h"

#include <errno.h>
#include <stdlib.h>

#include "bpf/dark.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/pid.h"
#include "orchestrator/context.h"

#define WORTH_TELLING 10 /* percent */

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

/* Engines without an incoming kernel that could be measured: step probe has said so. */
static bool measured(const struct kho_upgrade *u)
{
	return u->plan->gates.ask && u->engine->ops->gates;
}

int kho_gates_quiescent(struct kho_upgrade *u, bool shifted, struct kho_err *err)
{
	const struct kho_gate_policy *policy = &u->plan->gates;
	struct kho_quiet_list q = { .n = 0 };
	struct kho_gate_list l = { .n = 0 };
	uint64_t begin = kho_clock_us();
	int rc;

	if (!measured(u))
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
	const struct kho_gate_ask a = { .moment = moment, .usual = u->usual, .nusual = moment == KHO_GATES_RESTORED ? u->nusual : 0 };
	int rc = u->engine->ops->gates(u->engine, &a, &u->plan->gates, out, atomic_load(&u->deadline_us), err);

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

int kho_gates_watch(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_workload_list *l = &u->plan->workloads;
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;

	for (size_t i = 0; measured(u) && i < l->n; i++)
		if (kho_pids_append(&pids, &n, l->w[i].pids, l->w[i].npids) < 0)
			return kho_fail(err, -ENOMEM, "gates");
	if (!n)
		return 0;
	if (kho_dark_load(&u->watch, err) < 0)
		return err->code;
	kho_dark_begin(u->watch, pids, n, NULL, 0);
	return 0;
}

void kho_gates_watched(struct kho_upgrade *u)
{
	struct kho_err why = KHO_ERR_INIT;
	unsigned most = 0;
	size_t worst = 0;

	if (!u->watch)
		return;
	free(u->usual);
	u->usual = NULL;
	/* without it every failure counts, as if nothing had failed here */
	if (kho_dark_usual(u->watch, &u->usual, &u->nusual, &why) < 0)
		kho_context_note(u, "gates: which system calls of the workloads fail on this kernel is not known: %s", why.msg);
	for (size_t i = 0; i < u->nusual; i++)
		if (u->usual[i].percent > most) {
			worst = i;
			most = u->usual[i].percent;
		}
	if (most >= WORTH_TELLING)
		kho_context_note(u, "gates: on this kernel, too, %u %% of the system calls of process %d fail", most, u->usual[worst].pid);
	kho_dark_free(u->watch);
	u->watch = NULL;
}

int kho_gates_restored(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_gate_list none;

	return measured(u) ? ask(u, KHO_GATES_RESTORED, &none, err) : 0;
}

int kho_gates_copied(struct kho_upgrade *u, struct kho_gate_list *out, struct kho_err *err)
{
	struct kho_gate_list all;
	uint64_t begin = kho_clock_us();
	int rc = ask(u, KHO_GATES_DARK, &all, err);

	out->n = 0;
	if (rc < 0)
		return rc;
	kho_context_phase(u, "dark", begin, kho_clock_us());
	for (size_t i = 0; i < all.n; i++)
		if (all.r[i].gate != KHO_GATE_ERRORS)
			out->r[out->n++] = all.r[i];
	return kho_gates_note(u, out, err);
}

int kho_gates_dark(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_gate_policy *policy = &u->plan->gates;
	struct kho_gate_list l;
	int rc;

	if (!measured(u))
		return 0;
	rc = kho_gates_incoming(u, KHO_GATES_DARK, "dark", &l, err);
	return rc < 0 ? rc : kho_gates_decide(&l, policy, err);
}
