// SPDX-License-Identifier: GPL-2.0-only
/*
 * Outgoing side of a container: what it consists of, and how its conmon is held.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/container.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/container_net.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/shim.h"
#include "state-serializers/proc/tree.h"

#define HOLD_US 2000000ull
#define FIFO_US 300000ull

static int of_proc(pid_t pid, const char *name, char **out, size_t *len, struct kho_err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return kho_read_file(path, 1 << 20, out, len, err);
}

/* A file of strings that end with NUL. */
static int read_strings(pid_t pid, const char *name, char ***array, size_t *n, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int rc = of_proc(pid, name, &text, &len, err);

	for (size_t at = 0; !rc && at < len; at += strlen(text + at) + 1) {
		char *s = strdup(text + at);

		if (!s || kho_pb_append(array, n, s)) {
			free(s);
			rc = kho_fail(err, -ENOMEM, "look at the container's monitor: out of memory");
		}
	}
	return rc;
}

static int read_limits(KhoProc__Container *c)
{
	c->limit = calloc(2 * RLIM_NLIMITS, sizeof(*c->limit));
	for (int i = 0; c->limit && i < RLIM_NLIMITS; i++) {
		struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

		if (prlimit(c->monitor, i, NULL, &l))
			return -errno;
		c->limit[c->n_limit++] = l.rlim_cur;
		c->limit[c->n_limit++] = l.rlim_max;
	}
	return c->limit ? 0 : -ENOMEM;
}

size_t kho_container_option(const KhoProc__Container *c, const char *brief, const char *name)
{
	for (size_t i = 1; i < c->n_argv && strcmp(c->argv[i], "--exit-command"); i++)
		if (!strcmp(c->argv[i], "--runtime-arg"))
			i++;
		else if (!strcmp(c->argv[i], brief) || !strcmp(c->argv[i], name))
			return i + 1;
	return 0;
}

static int read_monitor(KhoProc__Container *c, struct kho_err *err)
{
	_cleanup_free_ char *score = NULL, *cgroup = kho_cgroup_of("", c->monitor);
	char path[64], exe[PATH_MAX];
	ssize_t n;
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/exe", c->monitor);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return kho_fail_errno(err, "read %s", path);
	exe[n] = '\0';
	rc = read_strings(c->monitor, "cmdline", &c->argv, &c->n_argv, err);
	if (!rc)
		rc = read_strings(c->monitor, "environ", &c->envp, &c->n_envp, err);
	if (!rc)
		rc = of_proc(c->monitor, "oom_score_adj", &score, NULL, err);
	if (rc)
		return rc;
	c->oom_score = atoi(score);
	if (kho_pb_set(&c->exe, exe) || kho_pb_set(&c->cgroup, cgroup ? cgroup : "") || read_limits(c))
		return kho_fail(err, -ENOMEM, "look at the container's monitor: out of memory");
	return 0;
}

static int read_bundle(KhoProc__Container *c, struct kho_err *err)
{
	size_t bundle = kho_container_option(c, "-b", "--bundle");

	if (!bundle || bundle >= c->n_argv || kho_container_option(c, "-t", "--terminal"))
		return kho_fail(err, -ENOTSUP, "the container has %s", bundle ? "a terminal" : "no bundle");
	return kho_pb_set(&c->bundle, c->argv[bundle]) ? kho_fail(err, -ENOMEM, "look at conmon: out of memory") : 0;
}

static int read_status(KhoProc__Container *c, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	size_t len = 0;

	kho_container_status_path(c, path);
	if (kho_read_file(path, 1 << 20, &text, &len, NULL))
		return kho_fail(err, -ENOTSUP, "the container is neither crun's nor runc's (no %s)", path);
	return kho_container_pipes(text, len, c, err);
}

/* What CRIU makes anew by itself. What it would have to pack file by file, it does not if we can do it. */
static bool is_criu_s(const KhoProc__Mount *m)
{
	static const char *const types[] = { "proc", "sysfs", "mqueue", "cgroup2", "devpts" };
	bool ro = !strncmp(m->super, "ro", 2) || !strncmp(m->options, "ro", 2);

	for (size_t i = 0; i < KHO_ARRAY_SIZE(types); i++)
		if (!strcmp(m->type, types[i]))
			return true;
	return !*m->from && !ro && strcmp(m->target, "/dev");
}

static int read_mounts(KhoProc__Container *c, const char *run_dir, struct kho_err *err)
{
	KhoProc__Namespace *ns = NULL;
	const KhoProc__Mount *root;
	int rc = kho_ns_read(c->root, run_dir, &ns, err);

	if (rc)
		return rc;
	root = ns->mounts[0];
	if (strcmp(root->type, "overlay") || strcmp(root->root, "/"))
		rc = kho_fail(err, -ENOTSUP, "the container's root is no overlay but %s", root->type);
	else if (kho_pb_set(&c->rootfs, root->from) || kho_pb_set(&c->overlay, root->super))
		rc = kho_fail(err, -ENOMEM, "look at the container: out of memory");
	for (size_t i = 1; !rc && i < ns->n_mounts; i++) {
		KhoProc__Mount *m = ns->mounts[i];

		if (is_criu_s(m))
			continue;
		if (!*m->from && strcmp(m->root, "/"))
			rc = kho_fail(err, -ENOTSUP, "the container has a part of %s at %s", m->type, m->target);
		else if (kho_pb_append(&c->external, &c->n_external, m))
			rc = kho_fail(err, -ENOMEM, "look at the container: out of memory");
		else
			ns->mounts[i] = NULL;
	}
	for (size_t i = 0; i < ns->n_mounts; i++)
		if (ns->mounts[i])
			kho_proc__mount__free_unpacked(ns->mounts[i], NULL);
	ns->n_mounts = 0;
	kho_proc__namespace__free_unpacked(ns, NULL);
	return rc;
}

/* As its manager knows it. */
static int read_of_manager(const struct kho_workload *w, KhoProc__Container *c, struct kho_err *err)
{
	struct kho_containerd_name name;
	char id[KHO_CONTAINER_ID_LEN];
	bool shim = kho_containerd_name(w->container, &name);
	int rc = shim ? 0 : kho_container_id("", w->container, id, err);

	if (!rc && kho_pb_set(&c->id, shim ? name.id : id))
		rc = kho_fail(err, -ENOMEM, "look at the container: out of memory");
	if (rc)
		return rc;
	return shim ? kho_shim_read(&name, c, err) : read_bundle(c, err);
}

/* A further container of a pod: what it shares with the first one, which is restored before it. */
static int read_pod(KhoProc__Container *c, struct kho_err *err)
{
	if (!c->pod)
		return 0;
	if (kho_ns_is_same(c->root, c->pod, "pid"))
		return kho_fail(err, -ENOTSUP, "it shares the process namespace of its pod");
	c->pod_ipc = kho_ns_differs(c->root, "ipc") && kho_ns_is_same(c->root, c->pod, "ipc");
	c->pod_uts = kho_ns_differs(c->root, "uts") && kho_ns_is_same(c->root, c->pod, "uts");
	return 0;
}

int kho_container_read(const char *run_dir, const struct kho_workload *w, KhoProc__Container **out,
		       struct kho_err *err)
{
	KhoProc__Container *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		return kho_fail(err, -ENOMEM, "look at the container: out of memory");
	kho_proc__container__init(c);
	c->root = w->root;
	c->monitor = w->monitor;
	rc = w->monitor ? read_monitor(c, err) : kho_fail(err, -ENOTSUP, "the container has no monitor (conmon, or a shim)");
	if (!rc)
		rc = read_of_manager(w, c, err);
	if (!rc)
		rc = read_status(c, err);
	if (!rc)
		rc = read_mounts(c, run_dir, err);
	c->own_cgroup_ns = kho_ns_differs(c->root, "cgroup");
	if (!rc)
		rc = read_pod(c, err);
	if (!rc && kho_ns_differs(c->root, "net"))
		rc = kho_container_net_read(c, &c->net, err);
	if (rc)
		kho_proc__container__free_unpacked(c, NULL);
	else
		*out = c;
	return rc;
}

char *kho_container_external(const KhoProc__Container *c, size_t i)
{
	char *s;

	if (i == c->n_external)
		return asprintf(&s, "net[%llu]:" KHO_CONTAINER_NET, (unsigned long long)c->net->inode) < 0 ? NULL : s;
	return asprintf(&s, "mnt[%s]:khoctl-%zu", c->external[i]->target, i) < 0 ? NULL : s;
}

/* Is there anything in that pipe which its monitor has not read? */
static bool is_empty(int pidfd, pid_t monitor, uint64_t inode)
{
	char path[64], want[32], link[64];
	struct dirent *e;
	int left = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", monitor);
	snprintf(want, sizeof(want), "pipe:[%llu]", (unsigned long long)inode);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, want))
			continue;
		_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(e->d_name), 0);

		return fd < 0 || ioctl(fd, FIONREAD, &left) || !left;
	}
	return true;
}

/* All its threads wait for something, or have ended. */
static bool is_asleep(pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	size_t n = kho_pid_threads(pid, &tids);

	for (size_t i = 0; i < n; i++) {
		char state = kho_pid_state(NULL, tids[i]);

		if (state && state != 'S')
			return false;
	}
	return true;
}

/* Of a shim: has containerd read what it was given? */
static bool fifo_is_empty(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int left = 0;

	path = strncmp(path, "fifo://", 7) ? path : path + 7;
	if (!kho_path_is_plain(path) || lstat(path, &st) || !S_ISFIFO(st.st_mode))
		return true;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 || ioctl(fd, FIONREAD, &left) || !left;
}

/* Nobody may be there who reads it: then it is not waited for. */
static void drain_fifos(const KhoProc__Container *c)
{
	uint64_t end = kho_clock_us() + FIFO_US;

	while ((!is_asleep(c->monitor) || !fifo_is_empty(c->shim->stdout) || !fifo_is_empty(c->shim->stderr)) && kho_clock_us() < end)
		usleep(500);
}

int kho_container_drain(const KhoProc__Container *c, struct kho_err *err)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, c->monitor, 0);
	uint64_t end = kho_clock_us() + HOLD_US;

	if (pidfd < 0)
		return kho_fail_errno(err, "monitor %d", c->monitor);
	for (size_t i = 0; i < c->n_pipe; i++)
		while (c->pipe[i]->number && !is_empty(pidfd, c->monitor, c->pipe[i]->inode)) {
			if (kho_clock_us() > end)
				return kho_fail(err, -EBUSY, "process %d does not read what the container says", c->monitor);
			usleep(500);
		}
	if (c->shim)
		drain_fifos(c);
	return 0;
}

int kho_container_hold(const KhoProc__Container *c, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + HOLD_US;

	if (c->pod) /* the first one's, which is held */
		return 0;
	/* what it has read it is to have written */
	while (!is_asleep(c->monitor) && kho_clock_us() < end)
		usleep(500);
	if (kill(c->monitor, SIGSTOP))
		return kho_fail_errno(err, "stop monitor %d", c->monitor);
	return c->shim ? kho_shim_is_as_planned(c, err) : 0;
}

void kho_container_release(pid_t monitor)
{
	if (monitor > 1)
		kill(monitor, SIGCONT);
}
