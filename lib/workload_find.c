// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads: from the declaration to the processes, out of /proc (or a recorded one).
 */
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/container.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "lib/pid.h"
#include "lib/pod.h"
#include "lib/workload.h"

struct proc {
	pid_t pid, ppid;
	uint64_t rss_bytes;
	char comm[20];
};

struct proc_table {
	struct proc *p;
	size_t n;
};

static void proc_table_done(struct proc_table *t)
{
	free(t->p);
}

static int proc_file(const char *sysroot, pid_t pid, const char *name, char **out)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/proc/%d/%s", sysroot, pid, name) < 0)
		return -ENOMEM;
	return kho_read_file(path, 1 << 20, out, NULL, NULL);
}

/* Fields 4 (ppid) and 24 (rss in pages) of stat; the name in brackets may hold anything. */
static bool read_stat(const char *sysroot, pid_t pid, struct proc *out)
{
	_cleanup_free_ char *text = NULL;
	const char *open, *p;
	long rss = 0;
	int ppid;

	if (proc_file(sysroot, pid, "stat", &text) < 0)
		return false;
	open = strchr(text, '(');
	p = strrchr(text, ')');
	if (!open || !p || p < open || sscanf(p,
			 ") %*c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			 "%*s %*s %*s %ld",
			 &ppid, &rss) != 2)
		return false;
	*out = (struct proc){ .pid = pid,
			      .ppid = ppid,
			      .rss_bytes = rss > 0 ? (uint64_t)rss * 4096 : 0 };
	snprintf(out->comm, sizeof(out->comm), "%.*s", (int)(p - open - 1), open + 1);
	return true;
}

static int read_procs(const char *sysroot, struct proc_table *t, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc");
	_cleanup_closedir_ DIR *dir = path ? opendir(path) : NULL;
	pid_t pid;

	if (!dir)
		return kho_fail_errno(err, "open %s", path ? path : "/proc");
	while ((pid = kho_pid_next(dir))) {
		struct proc p, *bigger;

		if (!read_stat(sysroot, pid, &p))
			continue;
		bigger = realloc(t->p, (t->n + 1) * sizeof(*bigger));
		if (!bigger)
			return kho_fail(err, -ENOMEM, "read %s: out of memory", path);
		t->p = bigger;
		t->p[t->n++] = p;
	}
	return 0;
}

static const struct proc *find_pid(const struct proc_table *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->p[i].pid == pid)
			return &t->p[i];
	return NULL;
}

/*
 * Of several that fit, the one whose parent does not fit is the root; two such are two workloads.
 * All of them are named, as far as the message has room.
 */
static int pick_root(const struct proc_table *t, const bool *fits, const struct kho_workload *w,
		     pid_t *out, struct kho_err *err)
{
	char list[160] = "";
	size_t n = 0, len = 0;

	*out = 0;
	for (size_t i = 0; i < t->n; i++) {
		const struct proc *parent = find_pid(t, t->p[i].ppid);

		if (!fits[i] || (parent && fits[parent - t->p]))
			continue;
		*out = *out ? *out : t->p[i].pid;
		n++;
		if (len < sizeof(list) - 48)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%d (%s)",
						len ? ", " : "", t->p[i].pid, t->p[i].comm);
	}
	if (n > 1)
		return kho_fail(err, -ENOTUNIQ,
				"workload %s (%s): %zu processes have no parent in it: %s%s; "
				"%s",
				w->name, kho_workload_declared(w), n, list,
				len < sizeof(list) - 48 ? "" : " ...",
				w->unit ? "only a unit with one main process can be carried"
					: "name one by pidfile or cgroup");
	return 0;
}

static bool exe_is(const char *sysroot, pid_t pid, const char *exe)
{
	_cleanup_free_ char *link = NULL;
	char target[PATH_MAX];
	ssize_t n;

	if (asprintf(&link, "%s/proc/%d/exe", sysroot, pid) < 0)
		return false;
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, exe);
}

char *kho_cgroup_of(const char *sysroot, pid_t pid)
{
	_cleanup_free_ char *text = NULL;

	if (proc_file(sysroot, pid, "cgroup", &text) < 0)
		return NULL;
	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, "0::/", 4))
			return strndup(p + 3, strcspn(p + 3, "\n"));
	}
	return NULL;
}

/* The group itself or one below it. */
static bool in_cgroup(const char *path, const char *cgroup)
{
	size_t len = strlen(cgroup);

	return !strncmp(path, cgroup, len) && (path[len] == '/' || !path[len]);
}

/*
 * A component of the path is the unit's: the last, or, where the service has groups of its own
 * below (Delegate=), one before. systemd puts a "_" before a name that is one of the kernel's.
 */
static bool in_unit(const char *path, const char *unit)
{
	size_t len = strlen(unit);

	for (const char *p = path; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (*p == '_' && *unit != '_')
			p++;
		if (!strncmp(p, unit, len) && (p[len] == '/' || !p[len]))
			return true;
	}
	return false;
}

static bool fits_workload(const char *sysroot, const struct proc *p, const struct kho_workload *w)
{
	_cleanup_free_ char *path = NULL;

	if (w->match)
		return exe_is(sysroot, p->pid, w->match);
	if (!strcmp(p->comm, KHO_JOURNAL_COMM))
		return false;
	path = kho_cgroup_of(sysroot, p->pid);
	return path && (w->unit ? in_unit(path, w->unit) : in_cgroup(path, w->cgroup));
}

static int root_by_scan(const char *sysroot, const struct proc_table *t, struct kho_workload *w,
			struct kho_err *err)
{
	_cleanup_free_ bool *fits = calloc(t->n + 1, sizeof(*fits));

	if (!fits)
		return kho_fail(err, -ENOMEM, "workload %s: out of memory", w->name);
	for (size_t i = 0; i < t->n; i++)
		fits[i] = fits_workload(sysroot, &t->p[i], w);
	return pick_root(t, fits, w, &w->root, err);
}

/* A pod goes whole, by its first container. */
static int check_first(const char *sysroot, const struct kho_containerd_name *c, pid_t shim, struct kho_err *err)
{
	char first[KHO_CONTAINERD_ID_LEN];

	if (!shim || kho_pod_first(sysroot, shim, first, NULL) || !strcmp(first, c->id))
		return 0;
	return kho_fail(err, -EINVAL, "container %.12s is one of a pod's; name the pod: container = containerd://%s/%s", c->id, c->ns, first);
}

static int root_by_container(const char *sysroot, const struct proc_table *t,
			     struct kho_workload *w, struct kho_err *err)
{
	struct kho_containerd_name name;
	struct kho_pod_name pod;
	const struct proc *root;
	pid_t pid, monitor;
	int rc;

	if (kho_pod_name(w->container, &pod)) /* where it runs it has become its sandbox */
		return kho_pod_find(sysroot, &pod, name.id, err) ? kho_wrap(err, "workload %s", w->name) : 0;
	rc = kho_containerd_name(w->container, &name) ? kho_containerd_pids(sysroot, &name, &pid, &monitor, err)
						      : kho_container_pids(sysroot, w->container, &pid, &monitor, err);

	if (!rc && kho_containerd_name(w->container, &name) && !w->in_pod)
		rc = check_first(sysroot, &name, monitor, err);
	if (rc < 0)
		return kho_wrap(err, "workload %s", w->name);
	root = find_pid(t, pid);
	w->root = root ? pid : 0;
	w->monitor = root && root->ppid == monitor ? monitor : 0;
	return 0;
}

static int root_by_pidfile(const char *sysroot, const struct proc_table *t, struct kho_workload *w,
			   struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, w->pidfile);
	pid_t pid = 0;
	int rc;

	if (!path)
		return kho_fail(err, -ENOMEM, "workload %s: out of memory", w->name);
	rc = kho_pid_of_file(path, &pid, err);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return kho_wrap(err, "workload %s", w->name);
	w->root = find_pid(t, pid) ? pid : 0;
	return 0;
}

/* Breadth first: pids[] is queue and result. */
static int collect_tree(const struct proc_table *t, struct kho_workload *w, struct kho_err *err)
{
	free(w->pids);
	w->npids = 0;
	w->rss_bytes = 0;
	w->pids = calloc(t->n + 1, sizeof(*w->pids));
	if (!w->pids)
		return kho_fail(err, -ENOMEM, "workload %s: out of memory", w->name);
	w->pids[w->npids++] = w->root;
	for (size_t q = 0; q < w->npids; q++) {
		const struct proc *self = find_pid(t, w->pids[q]);

		w->rss_bytes += self ? self->rss_bytes : 0;
		for (size_t i = 0; i < t->n && w->npids <= t->n; i++)
			if (t->p[i].ppid == w->pids[q])
				w->pids[w->npids++] = t->p[i].pid;
	}
	return 0;
}

static int find_root(const char *sysroot, const struct proc_table *t, struct kho_workload *w,
		     struct kho_err *err)
{
	int rc;

	w->root = 0;
	rc = w->pidfile	    ? root_by_pidfile(sysroot, t, w, err)
	     : w->container ? root_by_container(sysroot, t, w, err)
			    : root_by_scan(sysroot, t, w, err);
	if (rc == 0 && !w->root)
		rc = kho_fail(err, -ESRCH,
			      "workload %s (%s) does not run; start it or remove its file from %s",
			      w->name, kho_workload_declared(w), "/etc/khoctl/workloads.d");
	return rc;
}

int kho_workloads_resolve(const char *sysroot, struct kho_workload_list *l, struct kho_err *err)
{
	_cleanup_(proc_table_done) struct proc_table t = { 0 };
	int rc;

	sysroot = sysroot ? sysroot : "";
	if (!l->n)
		return 0;
	rc = read_procs(sysroot, &t, err);
	for (size_t i = 0; i < l->n && rc == 0; i++) {
		struct kho_workload *w = &l->w[i];

		rc = find_root(sysroot, &t, w, err);
		if (rc < 0)
			return rc;
		free(w->cg);
		w->cg = kho_cgroup_of(sysroot, w->root);
		rc = collect_tree(&t, w, err);
	}
	return rc;
}
