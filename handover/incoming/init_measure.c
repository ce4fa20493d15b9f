// SPDX-License-Identifier: GPL-2.0-only
/* The gates of the incoming kernel, moment by moment; the agent's process alone asks, once at a time. */
#include "bpf/dark.h"
#include "bpf/ready.h"
#include "handover/incoming/drivers.h"
#include "handover/incoming/init.h"
#include "state-serializers/proc/features.h"

static struct kho_dark *dark;

/* What the other kernel will hand over: its devices, and what CRIU dumps there. */
static void fit(const struct kho_gate_ask *ask, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	struct kho_err err = KHO_ERR_INIT;
	char what[256];
	size_t missing = kho_drivers_missing(ask->devices, ask->ndevices, what, sizeof(what));
	int misses;

	if (missing)
		kho_gate_measured(out, p, KHO_GATE_DRIVERS, (int64_t)missing, "%s", what);
	else
		kho_gate_measured(out, p, KHO_GATE_DRIVERS, 0, "of %zu", ask->ndevices);
	misses = kho_criu_misses(NULL, what, sizeof(what), &err);
	if (misses < 0)
		kho_gate_unknown(out, p, KHO_GATE_CRIU, "%s", err.msg);
	else
		kho_gate_measured(out, p, KHO_GATE_CRIU, misses, "%s", what);
}

void kho_init_measure(const struct kho_gate_ask *ask, const pid_t *pids, size_t n, struct kho_gate_list *out)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_gate_policy p;

	kho_gate_policy_init(&p); /* the other side has its own */
	*out = (struct kho_gate_list){ 0 };
	switch (ask->moment) {
	case KHO_GATES_READY:
		kho_ready("", &p, out);
		fit(ask, &p, out);
		/* now, when nobody waits for it */
		if (!dark && kho_dark_load(&dark, &err) < 0)
			kho_init_say("%s", err.msg);
		break;
	case KHO_GATES_RESTORED:
		if (dark)
			kho_dark_begin(dark, pids, n, ask->usual, ask->nusual);
		break;
	case KHO_GATES_DARK:
		if (dark)
			kho_dark_read(dark, pids, n, &p, out);
		/* fall through */
	case KHO_GATES_OVER:
		kho_dark_free(dark);
		dark = NULL;
		break;
	}
}
