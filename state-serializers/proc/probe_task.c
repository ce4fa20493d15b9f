// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process: its place in the tree, its memory, its descriptors.
 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/pid.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/probe.h"

struct task {
	struct kho_probe *p;
	pid_t pid, ppid, sid;
	char state, comm[32];
	int tty;
	size_t troubles, fds;
	char *mounts; /* text of mountinfo */
};

bool kho_probe_has(const struct kho_probe *p, pid_t pid)
{
	for (size_t i = 0; i < p->w->npids; i++)
		if (p->w->pids[i] == pid)
			return true;
	return false;
}

static char *task_file(const struct task *t, const char *name)
{
	_cleanup_free_ char *path = NULL;
	char *text = NULL;

	if (asprintf(&path, "%s/proc/%d/%s", t->p->sysroot, t->pid, name) < 0)
		return NULL;
	return kho_read_file(path, 256u << 20, &text, NULL, NULL) ? NULL : text;
}

static void trouble(struct task *t, const char *where, const struct kho_fd_verdict *v)
{
	char subject[128];

	if (v->verdict == KHO_V_OK)
		return;
	snprintf(subject, sizeof(subject), "%s pid %d%s%s", t->p->w->name, t->pid,
		 *where ? " " : "", where);
	kho_report_add(t->p->r, v->verdict, "process", subject, v->fix, "%s", v->what);
	t->troubles++;
}

__attribute__((format(printf, 4, 5))) static void task_trouble(struct task *t,
							       enum kho_verdict verdict,
							       const char *fix, const char *fmt,
							       ...)
{
	struct kho_fd_verdict v = { .verdict = verdict, .fix = fix };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v.what, sizeof(v.what), fmt, ap);
	va_end(ap);
	trouble(t, "", &v);
}

static bool read_stat(struct task *t)
{
	_cleanup_free_ char *text = task_file(t, "stat");
	const char *open = text ? strchr(text, '(') : NULL,
		   *close = text ? strrchr(text, ')') : NULL;

	if (!open || !close || close < open)
		return false;
	snprintf(t->comm, sizeof(t->comm), "%.*s", (int)(close - open - 1), open + 1);
	return sscanf(close, ") %c %d %*d %d %d", &t->state, &t->ppid, &t->sid, &t->tty) == 4;
}

static void check_place(struct task *t)
{
	bool root = t->pid == t->p->w->root;

	if (t->pid < KHO_PID_MIN)
		task_trouble(t, KHO_V_NO, "start it again: it gets a higher number",
			     "its number is below %d, where the incoming kernel's own threads are",
			     KHO_PID_MIN);
	if (root && t->state == 'Z')
		task_trouble(t, KHO_V_NO, NULL, "it has ended");
	if (!kho_probe_has(t->p, t->sid))
		task_trouble(t, KHO_V_NO, "start it as a service, or with setsid",
			     "the leader of its session (pid %d) is not part of the workload",
			     t->sid);
	if (t->tty)
		task_trouble(t, KHO_V_NO, "start it as a service, or with setsid",
			     "it has a controlling terminal");
	if (root && t->ppid != 1 && t->ppid && t->ppid != t->p->w->monitor)
		task_trouble(t, KHO_V_LOSS, NULL, "its parent will be PID 1 instead of pid %d",
			     t->ppid);
}

static void check_status(struct task *t)
{
	pid_t tracer = kho_pid_tracer(t->p->sysroot, t->pid), tid;
	char cpus[KHO_FORMAT_MAX];

	if (tracer > 0)
		task_trouble(t, KHO_V_NO, "detach the debugger", "it is traced by pid %d", tracer);
	tid = kho_probe_pinned(t->p->sysroot, t->pid, cpus);
	if (tid)
		task_trouble(t, KHO_V_LOSS, "pin it again afterwards (taskset -p), or set AllowedCPUs= of its unit",
			     "thread %d is pinned to CPUs %s, and /proc/cpuinfo does not say which these are: it runs on all of them afterwards", tid, cpus);
}

/* Does a namespace of the process differ from that of `of` ("self": the system, also on a recorded tree)? */
static bool ns_differs(const struct task *t, const char *kind, const char *of)
{
	_cleanup_free_ char *his = NULL, *other = NULL;
	char a[64], b[64];
	ssize_t n, m;

	if (asprintf(&his, "%s/proc/%d/ns/%s", t->p->sysroot, t->pid, kind) < 0 ||
	    asprintf(&other, "%s/proc/%s/ns/%s", t->p->sysroot, of, kind) < 0)
		return false;
	n = readlink(his, a, sizeof(a));
	m = readlink(other, b, sizeof(b));
	return n > 0 && m > 0 && (n != m || memcmp(a, b, (size_t)n));
}

/* One that is made again before CRIU starts; whether it can be, only the live system tells. */
static void check_mount_ns(struct task *t)
{
	static const char fix[] = "turn off what the unit asks for (systemctl cat) that leads to it";
	KhoProc__Namespace *ns = NULL;
	KhoProc__Inherit **files = NULL;
	struct kho_err why = KHO_ERR_INIT;
	size_t n = 0;
	char root[16];

	if (*t->p->sysroot || t->p->w->container)
		return;
	snprintf(root, sizeof(root), "%d", t->p->w->root);
	if (ns_differs(t, "mnt", root))
		task_trouble(t, KHO_V_NO, fix,
			     "its mount namespace is another one than that of pid %s", root);
	else if (!ns_differs(t, "mnt", "self"))
		return;
	else if ((t->pid == t->p->w->root && kho_ns_read(t->pid, t->p->run_dir, &ns, &why)) ||
		 kho_ns_outside(t->pid, &files, &n, &why))
		task_trouble(t, KHO_V_NO, fix, "%s", why.msg);
	if (ns)
		kho_proc__namespace__free_unpacked(ns, NULL);
	while (n)
		kho_proc__inherit__free_unpacked(files[--n], NULL);
	free(files);
}

/* Numbers mean the same inside and outside. */
static bool is_identity(const char *map)
{
	unsigned inside, outside;

	for (; map && *map; map = strchr(map, '\n')) {
		map += *map == '\n';
		if (*map && (sscanf(map, "%u %u", &inside, &outside) != 2 || inside != outside))
			return false;
	}
	return true;
}

static void check_user_ns(struct task *t)
{
	_cleanup_free_ char *uids = task_file(t, "uid_map"), *gids = task_file(t, "gid_map");

	if (!ns_differs(t, "user", "self"))
		return;
	if (uids && gids && is_identity(uids) && is_identity(gids))
		task_trouble(t, KHO_V_LOSS, NULL,
			     "its user namespace (PrivateUsers=) is not carried: it goes on in the "
			     "system's, with the same user and capabilities");
	else
		task_trouble(t, KHO_V_NO, "run it without a user namespace",
			     "it has a user namespace of its own, which is not carried");
}

/* All processes of a container share its namespaces; CRIU makes them again. What there is no room for is in container_out.c. */
static void check_container_namespaces(struct task *t)
{
	static const char *const shared[] = { "mnt", "pid", "net", "cgroup", "ipc", "uts" };
	char root[16];

	snprintf(root, sizeof(root), "%d", t->p->w->root);
	for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
		if (ns_differs(t, shared[i], root))
			task_trouble(t, KHO_V_NO, "run it without namespaces inside of the container",
				     "its %s namespace is another one than that of the container", shared[i]);
	if (ns_differs(t, "user", "self"))
		task_trouble(t, KHO_V_NO, "run it without --userns", "it has a user namespace of its own, which is not carried");
}

/*
 * CRIU carries IPC and UTS namespaces, and makes a time namespace on each restore, so that
 * CLOCK_MONOTONIC goes on.
 */
static void check_namespaces(struct task *t)
{
	static const char *const never[] = { "pid", "net", "cgroup" };

	if (t->p->w->container) {
		check_container_namespaces(t);
		return;
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (ns_differs(t, never[i], "self"))
			task_trouble(t, KHO_V_NO,
				     "run it outside of a container, or turn the unit's sandboxing "
				     "off",
				     "it has a %s namespace of its own, which is not carried",
				     never[i]);
	check_user_ns(t);
	check_mount_ns(t);
}

static void check_maps(struct task *t)
{
	_cleanup_free_ char *text = task_file(t, "maps");
	char *line = text, *next, last[256] = "";

	for (; line && *line; line = next ? next + 1 : NULL) {
		unsigned long long start, end;
		struct kho_fd_verdict v;
		int path = 0;

		next = strchr(line, '\n');
		if (next)
			*next = '\0';
		if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %n", &start, &end, &path) != 2 ||
		    !path || !line[path])
			continue;
		kho_map_classify(line + path, end - start, &v);
		if (v.verdict == KHO_V_OK || !strcmp(v.what, last) ||
		    (v.verdict == KHO_V_LOSS && ns_differs(t, "ipc", "self")))
			continue;
		snprintf(last, sizeof(last), "%s", v.what);
		trouble(t, "memory", &v);
	}
}

/* "mnt_id:" of fdinfo -> type of that mount, malloc'd; NULL when it is not known */
static char *fs_type(const struct task *t, const char *info)
{
	const char *id = strstr(info, "mnt_id:");
	char *line = t->mounts;
	int want = id ? atoi(id + strlen("mnt_id:")) : -1;

	for (; line; line = strchr(line, '\n')) {
		char *dash, type[64];

		line += *line == '\n';
		if (want < 0 || atoi(line) != want)
			continue;
		dash = strstr(line, " - ");
		return dash && sscanf(dash, " - %63s", type) == 1 ? strdup(type) : NULL;
	}
	return NULL;
}

/* The kind of a socket; on a recorded tree out of proc/PID/fdproto. */
static void socket_proto(const struct task *t, const char *link, const char *num, char out[32])
{
	_cleanup_free_ char *name = NULL, *text = NULL;
	ssize_t n;

	out[0] = '\0';
	if (!*t->p->sysroot) {
		n = getxattr(link, "system.sockprotoname", out, 31);
		out[n > 0 ? n : 0] = '\0';
	} else if (asprintf(&name, "fdproto/%s", num) > 0 && (text = task_file(t, name))) {
		snprintf(out, 32, "%.*s", (int)strcspn(text, "\n"), text);
	}
}

/* A group that it has joined, of the kinds of sockets that hear of it; else empty. */
static void socket_group(const struct task *t, const char *proto, const char *num, char out[INET6_ADDRSTRLEN])
{
	bool can = !*t->p->sysroot && (!strncmp(proto, "UDP", 3) || !strncmp(proto, "RAW", 3));

	if (!can || !kho_mcast_joined(&t->p->mcast, t->pid, atoi(num), out))
		out[0] = '\0';
}

static void check_fd(struct task *t, const char *num)
{
	_cleanup_free_ char *link = NULL, *info_name = NULL, *info = NULL, *type = NULL;
	char target[PATH_MAX], where[32], proto[32] = "", group[INET6_ADDRSTRLEN] = "";
	struct kho_fd_verdict v;
	struct stat st;
	ssize_t n;

	if (asprintf(&link, "%s/proc/%d/fd/%s", t->p->sysroot, t->pid, num) < 0 ||
	    asprintf(&info_name, "fdinfo/%s", num) < 0)
		return;
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return;
	target[n] = '\0';
	info = task_file(t, info_name);
	if (!strncmp(target, "socket:", 7)) {
		socket_proto(t, link, num, proto);
		socket_group(t, proto, num, group);
	}
	type = info ? fs_type(t, info) : NULL;
	kho_fd_classify(t->p,
			&(struct kho_fd){ .target = target,
					  .info = info ? info : "",
					  .fstype = type ? type : "",
					  .proto = proto,
					  .group = group,
					  .st = !*t->p->sysroot && !stat(link, &st) ? &st : NULL },
			&v);
	snprintf(where, sizeof(where), "fd %s", num);
	trouble(t, where, &v);
	t->fds++;
}

static int check_fds(struct task *t, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *e;

	if (asprintf(&path, "%s/proc/%d/fd", t->p->sysroot, t->pid) < 0)
		return kho_fail(err, -ENOMEM, "look at pid %d: out of memory", t->pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	if (!d)
		return kho_fail_errno(err, "open %s", path);
	while ((e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			check_fd(t, e->d_name);
	return 0;
}

int kho_probe_task(struct kho_probe *p, pid_t pid, struct kho_err *err)
{
	struct task t = { .p = p, .pid = pid };
	char subject[128];
	int rc;

	if (!read_stat(&t))
		return 0; /* it ended while we looked */
	check_place(&t);
	if (t.state == 'Z')
		return 0; /* a zombie has nothing more; CRIU carries it */
	check_status(&t);
	check_namespaces(&t);
	check_maps(&t);
	t.mounts = task_file(&t, "mountinfo");
	rc = check_fds(&t, err);
	free(t.mounts);
	if (rc || t.troubles)
		return rc;
	snprintf(subject, sizeof(subject), "%s pid %d", p->w->name, pid);
	return kho_report_add(p->r, KHO_V_OK, "process", subject, NULL,
			      "%s moves with %zu descriptors", t.comm, t.fds);
}
