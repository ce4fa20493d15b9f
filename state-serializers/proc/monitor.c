// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that becomes a container's monitor, and who starts it: see monitor.h.
 */
#include "state-serializers/proc/monitor.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fdpass.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "lib/pod.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/shim.h"

#define CONTROL	   KHO_SPAWN_FD
#define PLACE	   (KHO_SPAWN_FD + 1)
#define NO_RUNTIME "/usr/bin/true" /* what conmon is told to make the container with: it is there already */

enum word {
	WORKER = 'w', /* with CRIU's end of the socket to its client; then its Place, in the same way */
	BECOME = 'g',
};

struct hello {
	pid_t worker; /* or a negative error */
	int base;     /* struct kho_monitor's */
	uint64_t inode[KHO_CONTAINER_PIPES];
};

/* The process itself: all its workers, and all streams, by the order in which they came. */
struct self {
	pid_t worker[KHO_POD_MAX];
	size_t n;
	int stream[KHO_POD_MAX * KHO_CONTAINER_PIPES];
	size_t n_stream;
};

/* --- the process itself --- */

static int fork_as(pid_t pid)
{
	pid_t tid = pid;
	struct clone_args a = { .exit_signal = SIGCHLD,
				.set_tid = (uintptr_t)&tid,
				.set_tid_size = 1 };

	return (int)syscall(SYS_clone3, &a, sizeof(a));
}

static int make_pipes(const KhoProc__Container *c, int *ours, int *theirs, struct kho_err *err)
{
	for (size_t i = 0; i < c->n_pipe; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC))
			return kho_fail_errno(err, "pipe");
		/* standard input is the one that the container reads */
		ours[i] = p[c->pipe[i]->number ? 0 : 1];
		theirs[i] = p[c->pipe[i]->number ? 1 : 0];
	}
	return 0;
}

static int start_worker(const KhoProc__Container *c, int criu, int place, int *ours, pid_t *out, struct kho_err *err)
{
	int fds[KHO_CONTAINER_PIPES + 2] = { criu }, *theirs = &fds[1], rc;
	char *argv[] = { (char *)KHO_ROLE_CRIU, NULL, NULL }, number[16];

	rc = make_pipes(c, ours, theirs, err);
	if (rc)
		return rc;
	fds[c->n_pipe + 1] = place;
	snprintf(number, sizeof(number), "%zu", c->n_pipe);
	argv[1] = number;
	rc = kho_spawn_fds("/proc/self/exe", argv, NULL, fds, c->n_pipe + 2, out, err);
	for (size_t i = 0; i < c->n_pipe; i++)
		close(theirs[i]);
	return rc;
}

/* Another runtime. */
static char **conmon_args(const KhoProc__Container *c)
{
	char **argv = calloc(c->n_argv + 1, sizeof(*argv));
	size_t runtime = kho_container_option(c, "-r", "--runtime");

	for (size_t i = 0; argv && i < c->n_argv; i++)
		argv[i] = i && i == runtime ? (char *)NO_RUNTIME : c->argv[i];
	return argv;
}

/* What podman wanted to hear at the first start is left out. */
static char **conmon_env(const KhoProc__Container *c)
{
	char **envp = calloc(c->n_envp + 1, sizeof(*envp));
	size_t n = 0;

	for (size_t i = 0; envp && i < c->n_envp; i++)
		if (strncmp(c->envp[i], "_OCI_", 5))
			envp[n++] = c->envp[i];
	return envp;
}

/* What is in conmon's way in the container's directory: it makes these anew. */
static void clean(const char *bundle)
{
	static const char *const names[] = { "ctl", "winsz", "attach" };
	char path[PATH_MAX];

	for (size_t i = 0; i < KHO_ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", bundle, names[i]);
		(void)!unlink(path); /* it may not be there */
	}
}

static void as_before(const KhoProc__Container *c)
{
	char text[16];

	for (size_t i = 0; i + 1 < c->n_limit && i / 2 < RLIM_NLIMITS; i += 2) {
		struct rlimit l = { c->limit[i], c->limit[i + 1] };

		(void)!setrlimit((int)(i / 2), &l);
	}
	snprintf(text, sizeof(text), "%d", c->oom_score);
	(void)!kho_write_existing("/proc/self/oom_score_adj", text, NULL);
	umask(022);
}

static int exec_conmon(const KhoProc__Container *c)
{
	char **argv = conmon_args(c), **envp = conmon_env(c);

	if (!argv || !envp)
		return 126;
	clean(c->bundle);
	execve(c->exe, argv, envp);
	return 127;
}

static int become(const KhoProc__Place *p, const struct self *self)
{
	const KhoProc__Container *c = p->container;

	if ((*p->new_root && chroot(p->new_root)) || chdir("/"))
		return 126;
	as_before(c);
	for (size_t i = 0; i < self->n_stream; i++)
		if (dup2(self->stream[i], KHO_MONITOR_FD + (int)i) < 0)
			return 126;
	return c->shim ? kho_shim_exec(c) : exec_conmon(c);
}

static void reap_workers(const struct self *self)
{
	for (size_t i = 0; i < self->n; i++) {
		if (waitpid(self->worker[i], NULL, WNOHANG))
			continue;
		kill(self->worker[i], SIGKILL);
		while (waitpid(self->worker[i], NULL, 0) < 0 && errno == EINTR)
			;
	}
}

static int add_worker(struct self *self, int criu, int place, struct hello *hello, struct kho_err *err)
{
	KhoProc__Place *p = kho_place_read(place, err);
	int *ours = &self->stream[self->n_stream], rc;
	struct stat st;

	if (!p || !p->container || p->container->n_pipe > KHO_CONTAINER_PIPES || self->n == KHO_POD_MAX)
		return p ? kho_fail(err, -EINVAL, "a container that cannot be") : -EBADMSG;
	hello->base = KHO_MONITOR_FD + (int)self->n_stream;
	rc = start_worker(p->container, criu, place, ours, &hello->worker, err);
	if (!rc) {
		self->worker[self->n++] = hello->worker;
		self->n_stream += p->container->n_pipe;
	}
	for (size_t i = 0; !rc && i < p->container->n_pipe; i++)
		hello->inode[i] = fstat(ours[i], &st) ? 0 : st.st_ino;
	kho_proc__place__free_unpacked(p, NULL);
	return rc;
}

/* One word of who started us, with a descriptor or without; 0: nobody will say anything more. */
static char hear(int *fd)
{
	ssize_t n;
	char word;

	while ((n = kho_fd_recv(CONTROL, &word, 1, fd, 0)) == -EINTR)
		;
	return n == 1 ? word : 0;
}

static bool on_worker(struct self *self, int criu)
{
	struct kho_err err = KHO_ERR_INIT;
	struct hello hello = { 0 };
	_cleanup_close_ int place = -1;
	int rc;

	if (hear(&place) != WORKER || criu < 0 || place < 0)
		return false;
	rc = add_worker(self, criu, place, &hello, &err);
	if (rc)
		hello.worker = rc;
	return send(CONTROL, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello);
}

static int serve(const KhoProc__Place *p)
{
	struct kho_err err = KHO_ERR_INIT;
	struct self self = { .n = 0 };
	bool go_on = true;
	char word = 0;

	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "khoctl-monitor");
	fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
	if (kho_cgroup_enter(p->container->cgroup, 0, &err))
		return 1;
	while (go_on) {
		_cleanup_close_ int fd = -1;

		word = hear(&fd);
		go_on = word == WORKER && on_worker(&self, fd);
	}
	reap_workers(&self);
	return word == BECOME ? become(p, &self) : 0;
}

int kho_monitor_main(int argc, char **argv)
{
	KhoProc__Place *p = kho_place_read(PLACE, NULL);
	int pid;

	(void)argc;
	(void)argv;
	if (!p || !p->container)
		return 1;
	close(PLACE);
	pid = fork_as(p->container->monitor);
	if (pid)
		return pid < 0 ? 2 : 0;
	return serve(p);
}

/* --- who starts it --- */

static int wait_worker(struct kho_monitor *m, int control, pid_t *out, struct kho_err *err)
{
	struct pollfd p = { .fd = control, .events = POLLIN };
	struct hello hello;

	if (poll(&p, 1, KHO_PATIENCE_MS) != 1 ||
	    recv(control, &hello, sizeof(hello), MSG_DONTWAIT) != sizeof(hello))
		return kho_fail(err, -EPIPE, "it does not answer");
	if (hello.worker <= 0)
		return kho_fail(err, hello.worker ? hello.worker : -EPROTO,
				"its worker does not start: %s", strerror(-hello.worker));
	memcpy(m->inode, hello.inode, sizeof(m->inode));
	m->base = hello.base;
	*out = hello.worker;
	return 0;
}

static int start(struct kho_monitor *m, int control, int place, struct kho_err *err)
{
	char *argv[] = { (char *)KHO_ROLE_MONITOR, NULL };
	int fds[] = { control, place }, status = 0, rc;
	pid_t first;

	rc = kho_spawn_fds("/proc/self/exe", argv, NULL, fds, 2, &first, err);
	if (rc)
		return rc;
	while (waitpid(first, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return kho_fail(err, -EEXIST, "number %d cannot be had", m->pid);
	return 0;
}

/* Its worker, which the process at the other end of `control` starts. */
static int add(struct kho_monitor *m, int control, struct kho_criu *c, int place, struct kho_err *err)
{
	static const char word = WORKER;
	_cleanup_close_ int criu = -1;
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "socketpair");
	criu = sv[1];
	c->sk = sv[0];
	rc = kho_fd_send(control, &word, 1, criu, 0);
	if (!rc)
		rc = kho_fd_send(control, &word, 1, place, 0);
	if (rc)
		return kho_fail(err, rc, "tell process %d: %s", m->pid, strerror(-rc));
	/* our copy would keep a failure from being seen as the end of the connection */
	close(steal_fd(criu));
	rc = wait_worker(m, control, &c->pid, err);
	if (!rc)
		c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return rc;
}

int kho_monitor_start(struct kho_monitor *m, struct kho_criu *c, const char *run_dir,
		      KhoProc__Place *place, struct kho_err *err)
{
	_cleanup_close_ int file = kho_place_file(run_dir, place, err);
	_cleanup_close_ int control = -1;
	int sv[2], rc;

	if (file < 0)
		return file;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "monitor of a container: socketpair");
	control = sv[1];
	m->control = sv[0];
	m->pid = place->container->monitor;
	rc = start(m, control, file, err);
	close(steal_fd(control)); /* as above */
	if (!rc)
		rc = add(m, m->control, c, file, err);
	return rc ? kho_wrap(err, "monitor of container %.12s", place->container->id) : 0;
}

int kho_monitor_add(struct kho_monitor *m, const struct kho_monitor *first, struct kho_criu *c, const char *run_dir,
		    KhoProc__Place *place, struct kho_err *err)
{
	_cleanup_close_ int file = kho_place_file(run_dir, place, err);
	int rc;

	if (file < 0)
		return file;
	m->pid = first->pid;
	rc = add(m, first->control, c, file, err);
	return rc ? kho_wrap(err, "monitor of container %.12s", place->container->id) : 0;
}

void kho_monitor_stop(struct kho_monitor *m)
{
	if (m->control >= 0)
		close(m->control);
	*m = (struct kho_monitor)KHO_MONITOR_INIT;
}

int kho_monitor_become(struct kho_monitor *m, const KhoProc__Container *c, struct kho_err *err)
{
	uint32_t numbers[KHO_CONTAINER_PIPES];
	int rc;

	for (size_t i = 0; i < c->n_pipe; i++)
		numbers[i] = c->pipe[i]->number;
	rc = kho_monitor_trace(m->pid, m->control, numbers, c->n_pipe, err);
	return rc ? kho_wrap(err, "conmon of container %.12s", c->id) : 0;
}
