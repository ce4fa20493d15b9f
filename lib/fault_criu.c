// SPDX-License-Identifier: GPL-2.0-only
/* Kill a CRIU.  See lib/fault_criu.h. */
#include "lib/fault_criu.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/pid.h"

#define WORKS_US 20000

/*
 * The first one, or with sig that is sent to all of them: one of several may be through with its work.
 */
static pid_t find_criu(int sig)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	pid_t found = 0, pid;

	while ((pid = kho_pid_next(d))) {
		if (!kho_pid_is_criu(pid))
			continue;
		found = pid;
		if (!sig)
			break;
		(void)kill(found, sig); /* it may have ended */
	}
	return found;
}

int kho_fault_kill_criu(unsigned ms, const atomic_bool *over, struct kho_err *err)
{
	pid_t pid = 0;

	for (unsigned i = 0; !pid && i < ms && !(over && atomic_load(over)); i++) {
		usleep(1000);
		pid = find_criu(0);
		if (!pid)
			continue;
		usleep(WORKS_US);
		pid = find_criu(SIGKILL);
	}
	return pid ? 0 : kho_fail(err, -ENOENT, "no CRIU came within %u ms", ms);
}
