// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers of processes inside and outside of a PID namespace.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/pid.h"
#include "state-serializers/proc/container.h"

static ino_t pidns_of(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

pid_t kho_pidns_number(const char *status)
{
	_cleanup_free_ char *numbers = kho_status_value(status, "NSpid");
	const char *last = numbers ? strrchr(numbers, '\t') : NULL;

	return numbers ? atoi(last ? last + 1 : numbers) : 0;
}

static pid_t innermost(pid_t pid)
{
	_cleanup_free_ char *text = kho_pid_status(NULL, pid);

	return text ? kho_pidns_number(text) : 0;
}

pid_t kho_pidns_outer(pid_t root, pid_t inner)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	ino_t ns = pidns_of(root);
	pid_t pid;

	while (ns && (pid = kho_pid_next(d)))
		if (pidns_of(pid) == ns && innermost(pid) == inner)
			return pid;
	return 0;
}

pid_t kho_pidns_other(pid_t root, const pid_t *pids, size_t n)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	ino_t ns = pidns_of(root);
	pid_t pid;

	while (ns && (pid = kho_pid_next(d))) {
		bool known = false;

		for (size_t i = 0; i < n; i++)
			known |= pids[i] == pid;
		/* the child of one in it has begun since they were counted */
		if (!known && pidns_of(pid) == ns && pidns_of(kho_pid_parent(NULL, pid)) != ns)
			return pid;
	}
	return 0;
}
