// SPDX-License-Identifier: GPL-2.0-only
/* The process that undoes when khoctl was killed.  See khoctl/guard.h. */
#include "khoctl/guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "khoctl/past.h"
#include "khoctl/recover.h"
#include "lib/cleanup.h"
#include "lib/io.h"

static void wait_for(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

static void __attribute__((noreturn)) stand_by(int pidfd)
{
	_cleanup_past_ struct kho_past past;
	struct kho_err err = KHO_ERR_INIT;
	int keep;

	setsid();
	prctl(PR_SET_NAME, "khoctl-guard");
	keep = dup2(pidfd, 3);
	closefrom(4);
	kho_recover_steady();
	wait_for(keep);
	kho_past_read(&past, "");
	/* after the commit the incoming kernel does the rest by itself */
	if (past.state != KHO_PAST_INTERRUPTED)
		_exit(0);
	if (kho_recover(&past, NULL, NULL, &err) < 0)
		syslog(LOG_DAEMON | LOG_ERR, "khoctl was killed, undo: %s", err.msg);
	else
		syslog(LOG_DAEMON | LOG_WARNING, "khoctl was killed: the upgrade is undone");
	_exit(0);
}

int kho_guard_start(struct kho_err *err)
{
	_cleanup_close_ int pidfd = -1;
	pid_t pid;

	if (kho_is_in_ram("/"))
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid = pidfd < 0 ? -1 : fork();
	if (pid < 0)
		return kho_fail_errno(err, "start the process that stands by");
	if (!pid)
		stand_by(pidfd);
	return 0;
}
