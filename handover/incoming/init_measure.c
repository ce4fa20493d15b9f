// SPDX-License-Identifier: GPL-2.0-only
/* The gates of the incoming kernel, moment by moment; the agent's process alone asks, once at a time. */
#include "bpf/dark.h"
#include "bpf/ready.h"
#include "handover/incoming/init.h"

static struct kho_dark *dark;

void kho_init_measure(const struct kho_gate_ask *ask, const pid_t *pids, size_t n, struct kho_gate_list *out)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_gate_policy p;

	kho_gate_policy_init(&p); /* the other side has its own */
	*out = (struct kho_gate_list){ 0 };
	switch (ask->moment) {
	case KHO_GATES_READY:
		kho_ready("", &p, out);
		/* now, when nobody waits for it */
		if (!dark && kho_dark_load(&dark, &err) < 0)
			kho_init_say("%s", err.msg);
		break;
	case KHO_GATES_RESTORED:
		if (dark)
			kho_dark_begin(dark, pids, n, ask->usual, ask->n);
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
