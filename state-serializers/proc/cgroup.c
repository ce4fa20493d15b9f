// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control groups (version 2) of processes that are restored.  Paths come from the other kernel
 * and are looked at before they are used.
 */
#include <limits.h>
#include <stdio.h>

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
	return kho_make_dirs(path, 0755, err) ? kho_wrap(err, "make control group") : 0;
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
