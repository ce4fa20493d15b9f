// SPDX-License-Identifier: GPL-2.0-only
/* The gates of the incoming kernel, moment by moment; the agent's process alone asks, once at a time. */
#include <unistd.h>

#include "bpf/dark.h"
#include "bpf/ready.h"
#include "handover/incoming/drivers.h"
#include "handover/incoming/init.h"
#include "lib/clock.h"
#include "lib/criu.h"
#include "lib/modload.h"

#define LATE_FREE_US 2000000

static struct kho_dark *dark;

/* What a kernel loads when CRIU asks for it, where there is somebody who does it (/dev/net/tun). */
static const char *const on_demand[] = { "tun" };

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
	(void)!kho_modules_load(on_demand, sizeof(on_demand) / sizeof(on_demand[0]), &err); /* what is missing is counted below */
	err = (struct kho_err)KHO_ERR_INIT;
	misses = kho_criu_misses(NULL, what, sizeof(what), &err);
	if (misses < 0)
		kho_gate_unknown(out, p, KHO_GATE_CRIU, "%s", err.msg);
	else
		kho_gate_measured(out, p, KHO_GATE_CRIU, misses, "%s", what);
}

/* Since it was asked for the first time. What is freed behind the scenes (RCU) gets the time for that. */
static void leak(const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	static int64_t first;
	uint64_t until = kho_clock_us() + LATE_FREE_US;
	int64_t now = kho_ready_kernel_kib("");

	if (!first) {
		first = now;
		return;
	}
	while (now - first > p->limit[KHO_GATE_LEAK] && kho_clock_us() < until) {
		usleep(LATE_FREE_US / 20);
		now = kho_ready_kernel_kib("");
	}
	if (now < 0 || first < 0)
		kho_gate_unknown(out, p, KHO_GATE_LEAK, "/proc/meminfo does not say it");
	else
		kho_gate_measured(out, p, KHO_GATE_LEAK, now > first ? now - first : 0, "from %lld KiB to %lld", (long long)first, (long long)now);
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
		leak(&p, out);
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
