// SPDX-License-Identifier: GPL-2.0-only
/* What the incoming kernel is asked about itself, with what only this one knows of what it will get. */
#include <errno.h>

#include "handover/beside/beside.h"
#include "handover/beside/devices.h"
#include "lib/cleanup.h"
#include "lib/criu.h"

/* What CRIU cannot do there: what it cannot do here, either, is not missed. */
static void missed_here_too(const struct kho_gate_policy *policy, struct kho_gate_list *l)
{
	struct kho_err err = KHO_ERR_INIT;
	char what[sizeof(l->r[0].what)];

	for (size_t i = 0; i < l->n; i++) {
		struct kho_gate_list one = { .n = 0 };
		int n;

		if (l->r[i].gate != KHO_GATE_CRIU || l->r[i].verdict == KHO_GATE_UNKNOWN || !l->r[i].value)
			continue;
		n = kho_criu_misses(l->r[i].what, what, sizeof(what), &err);
		if (n < 0)
			kho_gate_unknown(&one, policy, KHO_GATE_CRIU, "%s", err.msg);
		else
			kho_gate_measured(&one, policy, KHO_GATE_CRIU, l->r[i].value > n ? l->r[i].value - n : 0, "%s%s%s", l->r[i].what,
					  n ? "; neither here: " : "", what);
		l->r[i] = one.r[0];
	}
}

int kho_beside_gates(struct kho_engine *e, const struct kho_gate_ask *ask, const struct kho_gate_policy *policy, struct kho_gate_list *out,
		     uint64_t deadline_us, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	_cleanup_(kho_devices_done) struct kho_devices devices = { 0 };
	struct kho_gate_ask all = *ask;
	int rc;

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "gates: not connected to the incoming kernel");
	if (ask->moment == KHO_GATES_READY && kho_devices_used("", &b->m, &devices, err) < 0)
		return err->code;
	all.devices = devices.d;
	all.ndevices = devices.n;
	rc = kho_peer_gates(b->peer, &all, policy, out, deadline_us, err);
	if (rc == 0)
		missed_here_too(policy, out);
	return rc;
}
