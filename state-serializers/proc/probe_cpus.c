// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a process pinned to CPUs? CRIU does not restore that (its pull requests 1298 and 2014 are open). What its control group
 * allows is no pinning: the group has its setting again.
 */
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/pid.h"
#include "state-serializers/proc/probe.h"

/* The CPUs that a thread may use by its status file, malloc'd; NULL: not known. */
static char *allowed(const char *path)
{
	static const char key[] = "\nCpus_allowed_list:";
	_cleanup_free_ char *text = NULL;
	const char *p = kho_read_file(path, 65536, &text, NULL, NULL) ? NULL : strstr(text, key);

	if (!p)
		return NULL;
	p += strlen(key);
	p += strspn(p, " \t");
	return strndup(p, strcspn(p, "\n"));
}

/* The CPUs that its control group has at the moment, or all that are online, malloc'd; NULL: not known. */
static char *granted(const char *sysroot, pid_t pid)
{
	_cleanup_free_ char *cg = kho_cgroup_of(sysroot, pid), *online = kho_sysroot_path(sysroot, "/sys/devices/system/cpu/online");
	char *list = NULL;

	/* the first one from below that has the controller */
	while (cg) {
		_cleanup_free_ char *path = NULL;
		char *slash = strrchr(cg, '/');

		if (asprintf(&path, "%s/sys/fs/cgroup%s/cpuset.cpus.effective", sysroot, cg) > 0 && kho_read_line(path, &list, NULL) >= 0)
			return list;
		if (!slash)
			break;
		*slash = '\0';
	}
	return online && kho_read_line(online, &list, NULL) >= 0 ? list : NULL;
}

/* By its status file. */
static bool is_narrow(const char *path, const char *has, char cpus[KHO_FORMAT_MAX])
{
	_cleanup_free_ char *may = allowed(path);

	if (!may || kho_ids_cover(may, has))
		return false;
	snprintf(cpus, KHO_FORMAT_MAX, "%s", may);
	return true;
}

pid_t kho_probe_pinned(const char *sysroot, pid_t pid, char cpus[KHO_FORMAT_MAX])
{
	_cleanup_free_ char *has = granted(sysroot, pid), *tasks = NULL;
	char path[PATH_MAX];
	pid_t tid;

	if (!has || asprintf(&tasks, "%s/proc/%d/task", sysroot, pid) < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/proc/%d/status", sysroot, pid);
	if (is_narrow(path, has, cpus))
		return pid;
	_cleanup_closedir_ DIR *d = opendir(tasks);

	while ((tid = kho_pid_next(d))) {
		snprintf(path, sizeof(path), "%s/%d/status", tasks, tid);
		if (is_narrow(path, has, cpus))
			return tid;
	}
	return 0;
}
