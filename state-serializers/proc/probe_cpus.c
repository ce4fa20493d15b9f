// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a process pinned to CPUs that it could not be pinned to again (affinity.h)? They go by their APIC ids.
 */
#include <stdio.h>
#include <string.h>

#include "lib/affinity.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/pid.h"
#include "state-serializers/proc/probe.h"

/* Does this kernel say which CPUs these are? Those that are not online are no matter. */
static bool is_known(const struct kho_affinity_scope *s, const char *may)
{
	_cleanup_free_ struct kho_cpuinfo *cpu = NULL;
	_cleanup_free_ uint32_t *ids = NULL;
	size_t ncpu = 0, n = 0, known = 0, wanted = 0;

	if (kho_cpuinfo_read(s->sysroot, &cpu, &ncpu, NULL) < 0 || kho_ids_read(s->all, &ids, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		wanted += kho_ids_has(may, ids[i]);
	for (size_t i = 0; i < ncpu; i++)
		known += kho_ids_has(may, cpu[i].cpu) && kho_ids_has(s->all, cpu[i].cpu);
	return known >= wanted;
}

/* By a status file of a thread of pid. */
static bool is_lost(const struct kho_affinity_scope *s, pid_t pid, const char *path, char cpus[KHO_FORMAT_MAX])
{
	_cleanup_free_ char *text = NULL, *may = NULL;

	if (kho_read_file(path, 65536, &text, NULL, NULL) < 0)
		return false;
	may = kho_status_value(text, "Cpus_allowed_list");
	if (!may || !kho_affinity_is_narrow(s, pid, may) || is_known(s, may))
		return false;
	snprintf(cpus, KHO_FORMAT_MAX, "%s", may);
	return true;
}

pid_t kho_probe_pinned(const char *sysroot, pid_t pid, char cpus[KHO_FORMAT_MAX])
{
	_cleanup_free_ char *all = kho_affinity_online(sysroot), *tasks = NULL;
	const struct kho_affinity_scope s = { .sysroot = sysroot, .all = all, .away = "" };
	char path[PATH_MAX];
	pid_t tid;

	if (!all || asprintf(&tasks, "%s/proc/%d/task", sysroot, pid) < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/proc/%d/status", sysroot, pid);
	if (is_lost(&s, pid, path, cpus))
		return pid;
	_cleanup_closedir_ DIR *d = opendir(tasks);

	while ((tid = kho_pid_next(d))) {
		snprintf(path, sizeof(path), "%s/%d/status", tasks, tid);
		if (is_lost(&s, pid, path, cpus))
			return tid;
	}
	return 0;
}
