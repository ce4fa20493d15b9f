// SPDX-License-Identifier: GPL-2.0-only
/*
 * The inverse of a restore. One that came only half way leaves more than it was asked for: CRIU's helpers, and processes that
 * are not, or never will be, under the number that they had. All are below the carried root or in a mount namespace of their
 * own, as nobody else is before the commit; as long as one lives, the file systems cannot be given back.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/pid.h"
#include "lib/patience.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

#define IS_KTHREAD 0x00200000u /* PF_KTHREAD, include/linux/sched.h */

static bool is_kernel_thread(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *end;
	unsigned flags;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (kho_read_file(path, 4096, &text, NULL, NULL) < 0)
		return false;
	/* the name may have anything in it but ends with the last bracket */
	end = strrchr(text, ')');
	return end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & IS_KTHREAD);
}

/* Another root directory than ours? */
static bool has_other_root(pid_t pid)
{
	char path[64];
	struct stat his, ours;

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	return !stat(path, &his) && !stat("/", &ours) && (his.st_dev != ours.st_dev || his.st_ino != ours.st_ino);
}

static bool is_away(pid_t pid)
{
	char state = kho_pid_state("", pid);

	return pid > 1 && pid != getpid() && state && state != 'Z' && !is_kernel_thread(pid) &&
	       (has_other_root(pid) || kho_ns_differs(pid, "mnt"));
}

/* Kill all that are away; how many there were. */
static size_t kill_away(pid_t *out_one)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	size_t n = 0;
	pid_t pid;

	while ((pid = kho_pid_next(d))) {
		if (!is_away(pid))
			continue;
		kill(pid, SIGKILL);
		*out_one = pid;
		n++;
	}
	return n;
}

static int sweep(struct kho_err *err)
{
	uint64_t end = kho_clock_us() + KHO_PATIENCE_US;
	pid_t one = 0;

	while (kill_away(&one)) {
		_cleanup_free_ char *comm = NULL;

		if (kho_clock_us() < end) {
			usleep(5000);
			continue;
		}
		comm = kho_pid_name(NULL, one);
		return kho_fail(err, -EBUSY, "process %d (%s) of a restore does not end", one, comm ? comm : "?");
	}
	return 0;
}

static void kill_tasks(const KhoProc__StateWorkload *s)
{
	for (int tries = 0; tries < 200; tries++) {
		size_t live = 0;

		for (size_t i = 0; i < s->n_tasks; i++) {
			char state = kho_pid_state("", s->tasks[i]->pid);

			if (state && state != 'Z') {
				kill(s->tasks[i]->pid, SIGKILL);
				live++;
			}
		}
		if (!live)
			return;
		usleep(10000);
	}
}

/* A copy runs for a while: what it has started meanwhile was nobody before. */
static void kill_started(pid_t root)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(root, &pids);

	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
}

void kho_proc_cancel(struct kho_env *env)
{
	(void)env;
	kho_proc_in.cancelled = true;
}

/* Their numbers were free before retrieve and no other process got one: whoever has them came from
 * our images. What one has of the carried root, or of another one's sockets, is held by all. */
int kho_proc_discard(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	int rc;

	for (size_t i = 0; i < p->n; i++) {
		kho_criu_kill(&p->w[i].criu);
		kho_monitor_stop(&p->w[i].monitor);
		if (p->plan->copy && p->w[i].state)
			kill_started(p->w[i].state->root);
		if (p->w[i].state)
			kill_tasks(p->w[i].state);
		kho_lazy_kill(&p->w[i].lazy);
	}
	rc = *kho_new_root(env) ? sweep(err) : 0;
	for (size_t i = 0; i < p->n; i++)
		if (p->w[i].plan->container)
			kho_container_leave(p->w[i].plan->container, kho_new_root(env));
	return rc;
}
