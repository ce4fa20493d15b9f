// SPDX-License-Identifier: GPL-2.0-only
/* Does a workload still run when all is frozen?  CRIU has said that it holds each thread; this is what the kernel says. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/pid.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

/*
 * A dump that is through lets a thread go with a SIGSTOP, which it takes before it is back in user space: until it has got a CPU for that it is neither
 * traced nor stopped. One that is still so after all this time runs. It is no part of the blackout, unless somebody does.
 */
#define PATIENCE_US 1000000ull
#define LOOK_US	    500

static bool is_held(pid_t tid)
{
	char state = kho_pid_state(NULL, tid);

	return !state || strchr("tTZX", state) || kho_pid_tracer(NULL, tid) > 0;
}

static bool stays_unheld(pid_t tid, uint64_t until_us)
{
	while (!is_held(tid)) {
		if (kho_clock_us() >= until_us)
			return true;
		usleep(LOOK_US);
	}
	return false;
}

size_t kho_proc_running(pid_t root, char *what, size_t len)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(root, &pids), running = 0;
	uint64_t until = kho_clock_us() + PATIENCE_US;

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		size_t nt = kho_pid_threads(pids[i], &tids);

		for (size_t k = 0; k < nt; k++) {
			if (!stays_unheld(tids[k], until))
				continue;
			if (!running++)
				snprintf(what, len, "%d (%c)", tids[k], kho_pid_state(NULL, tids[k]));
		}
	}
	return running;
}

void kho_proc_quiet(struct kho_env *env, bool shifted, struct kho_quiet_list *out)
{
	struct kho_proc_out *o = &kho_proc_out;
	char first[64] = "", what[192] = "";
	size_t n = 0;

	(void)env;
	if (shifted || !o->n)
		return;
	for (size_t i = 0; i < o->n; i++) {
		size_t r = kho_proc_running(o->w[i].root, first, sizeof(first));

		if (r && !n)
			snprintf(what, sizeof(what), "%s of %s", first, o->w[i].name);
		n += r;
	}
	kho_quiet_add(out, "running", (int64_t)n, what);
}
