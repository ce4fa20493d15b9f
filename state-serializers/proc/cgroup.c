// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control groups (version 2) of processes that are restored.  Paths come from the other kernel
 * and are looked at before they are used.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/workload.h"
#include "state-serializers/proc/place.h"

#define CGROUPS "/sys/fs/cgroup"

int kho_cgroup_make(const char *cg, struct kho_err *err)
{
	char path[PATH_MAX];

	if (!*cg)
		return 0;
	if (!kho_cgroup_path_is_valid(cg) ||
	    snprintf(path, sizeof(path), CGROUPS "%s", cg) >= (int)sizeof(path))
		return kho_fail(err, -EINVAL, "\"%.200s\" is no path of a control group", cg);
	for (char *p = path + sizeof(CGROUPS); *p; p++) {
		p += strcspn(p, "/");

		char end = *p;

		*p = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return kho_fail_errno(err, "make control group %s", path);
		*p = end;
		if (!end)
			break;
	}
	return 0;
}

int kho_cgroup_enter(const char *cg, pid_t pid, struct kho_err *err)
{
	char path[PATH_MAX], text[16];
	int rc = kho_cgroup_make(cg, err);

	if (rc || !*cg)
		return rc;
	snprintf(path, sizeof(path), CGROUPS "%s/cgroup.procs", cg);
	snprintf(text, sizeof(text), "%d", pid);
	return kho_write_existing(path, text, err);
}

char *kho_cgroup_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (kho_read_file(path, 1 << 16, &text, NULL, NULL))
		return NULL;
	at = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
	at = at ? strstr(at, "0::") + 3 : NULL;
	return at ? strndup(at, strcspn(at, "\n")) : NULL;
}
