// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that loads and replays run in.  See bpf/child.h.
 */
#include "bpf/child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/pinned.h"
#include "lib/io.h"

#define TICK_US 100000

void kho_child_begin(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before that */
}

void kho_child_lead(pid_t parent)
{
	kho_child_begin(parent);
	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	closefrom(3);
	/* the first to go when memory is short, on either kernel */
	(void)!kho_write_existing("/proc/self/oom_score_adj", "1000", NULL);
}

static void end_process(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
}

int kho_child_wait(pid_t pid, uint64_t until_ns, bool (*stop)(void *arg), void *arg, struct kho_err *err)
{
	int rc = 0, tries = 20;

	for (;;) {
		siginfo_t end = { 0 };

		/* not yet taken away: its number, and its group's, are nobody else's */
		if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) < 0 ? errno != EINTR : end.si_pid == pid)
			break;
		if (!rc && stop && stop(arg))
			rc = kho_fail(err, -EINTR, "stopped");
		if (!rc && kho_now_ns() > until_ns)
			rc = kho_fail(err, -ETIMEDOUT, "its processes have not come back");
		if (rc && !tries--)
			break;
		if (rc)
			end_process(pid);
		usleep(TICK_US);
	}
	kill(-pid, SIGKILL); /* what a command has left */
	(void)!waitpid(pid, NULL, WNOHANG);
	return rc;
}
