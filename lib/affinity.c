// SPDX-License-Identifier: GPL-2.0-only
/* Threads that are pinned to CPUs.  See lib/affinity.h. */
#include "lib/affinity.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pid.h"
#include "lib/record.h"
#include "lib/workload.h"

#define STATUS_MAX 65536

/* --- what is narrow --- */

/* "online", "isolated": the kernel's list of that name, malloc'd; NULL: it has none. */
static char *list_of(const char *sysroot, const char *name)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, "/sys/devices/system/cpu"), *path = NULL;
	char *list = NULL;

	return dir && asprintf(&path, "%s/%s", dir, name) > 0 && kho_read_line(path, &list, NULL) >= 0 ? list : NULL;
}

char *kho_affinity_online(const char *sysroot)
{
	return list_of(sysroot, "online");
}

/*
 * What the control group of a process, or the first one above it that has something there, has in cpuset.cpus.effective (*top: that is the topmost
 * one), malloc'd; NULL: none has.
 */
static char *of_group(const char *sysroot, pid_t pid, bool *top)
{
	_cleanup_free_ char *cg = kho_cgroup_of(sysroot, pid);

	while (cg) {
		_cleanup_free_ char *path = NULL, *list = NULL;
		char *slash = strrchr(cg, '/');

		*top = !slash || !slash[1];
		if (asprintf(&path, "%s/sys/fs/cgroup%s/cpuset.cpus.effective", sysroot, cg) > 0 && kho_read_line(path, &list, NULL) >= 0 && *list)
			return steal_ptr(list);
		if (!slash)
			break;
		*slash = '\0';
	}
	return NULL;
}

/* CPUs of list that a (NULL: all) has and b has not, malloc'd; NULL: out of memory. */
static char *those(const char *list, const char *a, const char *b)
{
	_cleanup_free_ uint32_t *ids = NULL;
	size_t n = 0, kept = 0;

	if (kho_ids_read(list, &ids, &n) < 0)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if ((!a || kho_ids_has(a, ids[i])) && !kho_ids_has(b, ids[i]))
			ids[kept++] = ids[i];
	return kho_ids_text(ids, kept);
}

/*
 * The CPUs that its control group has, malloc'd; NULL: out of memory. CPUs that leave a kernel are taken from everybody in a group with the controller,
 * and given back to them (cpuset_update_tasks_cpumask(), kernel/cgroup/cpuset.c): that is no pinning. In the topmost one everybody keeps them.
 */
static char *granted(const struct kho_affinity_scope *s, pid_t pid)
{
	bool top = true;
	_cleanup_free_ char *has = of_group(s->sysroot, pid, &top);
	char *both;

	if (!has)
		return strdup(s->all);
	if (!top || !*s->away)
		return steal_ptr(has);
	return asprintf(&both, "%s,%s", has, s->away) > 0 ? both : NULL;
}

bool kho_affinity_is_narrow(const struct kho_affinity_scope *s, pid_t pid, const char *may)
{
	_cleanup_free_ char *has = NULL, *isolated = NULL, *rest = NULL;

	/* almost every thread */
	if (kho_ids_cover(may, s->all))
		return false;
	has = granted(s, pid);
	if (!has || kho_ids_cover(may, has))
		return false;
	/* isolcpus=: no thread gets those unless it asks for them */
	isolated = list_of(s->sysroot, "isolated");
	rest = isolated && *isolated ? those(has, NULL, isolated) : NULL;
	return !rest || !*rest || !kho_ids_cover(may, rest);
}

/* --- who is --- */

static int add(struct kho_affinity *a, pid_t tid, uint64_t start, const char *cpus)
{
	struct kho_affinity_thread *more = reallocarray(a->t, a->n + 1, sizeof(*more));
	char *copy = strdup(cpus);

	if (more)
		a->t = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	a->t[a->n++] = (struct kho_affinity_thread){ .tid = tid, .start = start, .cpus = copy };
	return 0;
}

static int look_at(struct kho_affinity *a, const struct kho_affinity_scope *s, pid_t pid, pid_t tid)
{
	_cleanup_free_ char *path = NULL, *status = NULL, *may = NULL, *memory = NULL;

	if (asprintf(&path, "%s/proc/%d/task/%d/status", s->sysroot, pid, tid) < 0)
		return -ENOMEM;
	if (kho_read_file(path, STATUS_MAX, &status, NULL, NULL) < 0)
		return 0;
	memory = kho_status_value(status, "VmSize"); /* a thread of the kernel has none, nor has who has ended */
	may = kho_status_value(status, "Cpus_allowed_list");
	return memory && may && kho_affinity_is_narrow(s, pid, may) ? add(a, tid, kho_pid_start(s->sysroot, tid), may) : 0;
}

static int look_at_process(struct kho_affinity *a, const struct kho_affinity_scope *s, pid_t pid)
{
	_cleanup_free_ char *path = NULL;
	int rc = 0;
	pid_t tid;

	if (asprintf(&path, "%s/proc/%d/task", s->sysroot, pid) < 0)
		return -ENOMEM;
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && (tid = kho_pid_next(d)))
		rc = look_at(a, s, pid, tid);
	return rc;
}

static int by_tid(const void *x, const void *y)
{
	const struct kho_affinity_thread *a = x, *b = y;

	return a->tid < b->tid ? -1 : a->tid > b->tid;
}

static void sort(struct kho_affinity *a)
{
	if (a->n)
		qsort(a->t, a->n, sizeof(*a->t), by_tid);
}

int kho_affinity_read(const char *sysroot, struct kho_affinity *out, struct kho_err *err)
{
	struct kho_affinity_scope s = { .sysroot = sysroot ? sysroot : "", .away = "" };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc");
	int rc = 0;
	pid_t pid;

	*out = (struct kho_affinity){ .all = kho_affinity_online(sysroot) };
	if (!out->all)
		out->all = strdup("");
	if (!path || !out->all)
		return kho_fail(err, -ENOMEM, "who is pinned to CPUs: out of memory");
	if (kho_cpuinfo_read(sysroot, &out->cpu, &out->ncpu, NULL) < 0)
		out->ncpu = 0;
	s.all = out->all;
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && (pid = kho_pid_next(d)))
		rc = look_at_process(out, &s, pid);
	sort(out);
	return rc ? kho_fail(err, rc, "who is pinned to CPUs: out of memory") : 0;
}

const char *kho_affinity_was(const struct kho_affinity *a, pid_t tid)
{
	const struct kho_affinity_thread key = { .tid = tid };
	const struct kho_affinity_thread *t = a->n ? bsearch(&key, a->t, a->n, sizeof(*a->t), by_tid) : NULL;

	return t && t->start == kho_pid_start(NULL, tid) ? t->cpus : NULL;
}

char *kho_affinity_away(const struct kho_affinity *a)
{
	_cleanup_free_ char *online = kho_affinity_online("");

	return online ? those(a->all, NULL, online) : strdup("");
}

const char *kho_affinity_wanted(const struct kho_affinity_scope *s, const char *was, const char *now, bool narrow)
{
	_cleanup_free_ char *a = was ? those(s->all, was, s->away) : NULL, *b = was ? those(s->all, now, s->away) : NULL;

	/* of those that are here it may use the same, or the kernel has given it all */
	if (was && (!narrow || (a && b && !strcmp(a, b))))
		return was;
	return narrow ? now : NULL;
}

/* --- pinned again --- */

int kho_affinity_set(pid_t tid, const uint32_t *cpus, size_t n)
{
	uint32_t max = 0;
	cpu_set_t *set;
	int rc;

	for (size_t i = 0; i < n; i++)
		max = cpus[i] > max ? cpus[i] : max;
	set = n && max <= UINT16_MAX ? CPU_ALLOC(max + 1) : NULL;
	if (!set)
		return n && max <= UINT16_MAX ? -ENOMEM : -EINVAL;
	CPU_ZERO_S(CPU_ALLOC_SIZE(max + 1), set);
	for (size_t i = 0; i < n; i++)
		CPU_SET_S(cpus[i], CPU_ALLOC_SIZE(max + 1), set);
	rc = sched_setaffinity(tid, CPU_ALLOC_SIZE(max + 1), set) ? -errno : 0;
	CPU_FREE(set);
	return rc;
}

static int set_list(pid_t tid, const char *list)
{
	_cleanup_free_ uint32_t *ids = NULL;
	size_t n = 0;
	int rc = kho_ids_read(list, &ids, &n);

	return rc < 0 ? rc : kho_affinity_set(tid, ids, n);
}

/* 1: it is pinned again; 0: it need not be. */
static int put_back(const struct kho_affinity_scope *s, const struct kho_affinity_thread *t)
{
	_cleanup_free_ char *status = kho_pid_start(NULL, t->tid) == t->start ? kho_pid_status(NULL, t->tid) : NULL, *may = NULL;
	int rc;

	if (!status)
		return 0;
	may = kho_status_value(status, "Cpus_allowed_list");
	if (!may || !strcmp(may, t->cpus) || kho_affinity_is_narrow(s, t->tid, may))
		return 0;
	rc = set_list(t->tid, t->cpus);
	return rc == -ESRCH ? 0 : rc ? rc : 1;
}

unsigned kho_affinity_put_back(const struct kho_affinity *a, unsigned *pinned, struct kho_err *why)
{
	struct kho_affinity_scope s = { .sysroot = "", .all = a->all ? a->all : "", .away = "" };
	unsigned failed = 0;

	*pinned = 0;
	for (size_t i = 0; i < a->n; i++) {
		int rc = put_back(&s, &a->t[i]);

		if (rc < 0 && !failed++)
			kho_fail(why, rc, "thread %d was pinned to CPUs %s: %s", a->t[i].tid, a->t[i].cpus, strerror(-rc));
		*pinned += rc > 0;
	}
	return failed;
}

/* --- in the journal --- */

struct json_object *kho_affinity_record(const struct kho_affinity *a)
{
	struct json_object *rec = kho_record_new("affinity"), *list = json_object_new_array();

	kho_json_str(rec, "cpus", a->all);
	for (size_t i = 0; i < a->n; i++) {
		struct json_object *o = json_object_new_object();

		kho_json_int(o, "tid", a->t[i].tid);
		kho_json_int(o, "start", (int64_t)a->t[i].start);
		kho_json_str(o, "cpus", a->t[i].cpus);
		json_object_array_add(list, o);
	}
	json_object_object_add(rec, "threads", list);
	return rec;
}

int kho_affinity_from_record(const struct json_object *rec, struct kho_affinity *out, struct kho_err *err)
{
	const struct json_object *list = kho_json_get(rec, "threads");
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	int rc = 0;

	*out = (struct kho_affinity){ .all = strdup(kho_json_get_str(rec, "cpus")) };
	for (size_t i = 0; out->all && !rc && i < n; i++) {
		const struct json_object *o = json_object_array_get_idx(list, i);
		int64_t tid = kho_json_get_int(o, "tid"), start = kho_json_get_int(o, "start");

		if (tid > 0 && tid <= INT_MAX && start > 0)
			rc = add(out, (pid_t)tid, (uint64_t)start, kho_json_get_str(o, "cpus"));
	}
	sort(out);
	return rc || !out->all ? kho_fail(err, -ENOMEM, "who was pinned to CPUs: out of memory") : 0;
}

void kho_affinity_done(struct kho_affinity *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->t[i].cpus);
	free(a->t);
	free(a->cpu);
	free(a->all);
	*a = (struct kho_affinity){ 0 };
}
