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
#include "lib/io.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/shim.h"

#define CONTROL	   KHO_SPAWN_FD
#define CRIU	   (KHO_SPAWN_FD + 1)
#define PLACE	   (KHO_SPAWN_FD + 2)
#define START_MS   10000
#define NO_RUNTIME "/usr/bin/true" /* what conmon is told to make the container with: it is there already */

struct hello {
	pid_t worker; /* or a negative error */
	uint64_t inode[KHO_CONTAINER_PIPES];
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

static int start_worker(const KhoProc__Container *c, int *ours, pid_t *out, struct kho_err *err)
{
	int fds[KHO_CONTAINER_PIPES + 2] = { CRIU }, *theirs = &fds[1], rc;
	char *argv[] = { (char *)KHO_ROLE_CRIU, NULL, NULL }, number[16];

	rc = make_pipes(c, ours, theirs, err);
	if (rc)
		return rc;
	fds[c->n_pipe + 1] = PLACE;
	snprintf(number, sizeof(number), "%zu", c->n_pipe);
	argv[1] = number;
	rc = kho_spawn_fds("/proc/self/exe", argv, NULL, fds, c->n_pipe + 2, out, err);
	for (size_t i = 0; i < c->n_pipe + 2; i++)
		close(fds[i]);
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

static int become(const KhoProc__Place *p, const int *ours)
{
	const KhoProc__Container *c = p->container;

	if ((*p->new_root && chroot(p->new_root)) || chdir("/"))
		return 126;
	as_before(c);
	for (size_t i = 0; i < c->n_pipe; i++)
		if (dup2(ours[i], KHO_MONITOR_FD + (int)i) < 0)
			return 126;
	return c->shim ? kho_shim_exec(c) : exec_conmon(c);
}

static void reap_worker(pid_t worker)
{
	if (waitpid(worker, NULL, WNOHANG) == 0) {
		kill(worker, SIGKILL);
		while (waitpid(worker, NULL, 0) < 0 && errno == EINTR)
			;
	}
}

static int serve(const KhoProc__Place *p)
{
	struct kho_err err = KHO_ERR_INIT;
	int ours[KHO_CONTAINER_PIPES];
	struct hello hello = { 0 };
	struct stat st;
	char go;
	int rc;

	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "khoctl-monitor");
	fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
	rc = kho_cgroup_enter(p->container->cgroup, 0, &err);
	if (!rc)
		rc = start_worker(p->container, ours, &hello.worker, &err);
	if (rc)
		hello.worker = rc;
	for (size_t i = 0; !rc && i < p->container->n_pipe; i++)
		hello.inode[i] = fstat(ours[i], &st) ? 0 : st.st_ino;
	if (send(CONTROL, &hello, sizeof(hello), MSG_NOSIGNAL) < 0 || rc)
		return 1;
	while ((rc = (int)recv(CONTROL, &go, 1, 0)) < 0 && errno == EINTR)
		;
	reap_worker(hello.worker);
	return rc == 1 ? become(p, ours) : 0;
}

int kho_monitor_main(int argc, char **argv)
{
	KhoProc__Place *p = kho_place_read(PLACE, NULL);
	int pid;

	(void)argc;
	(void)argv;
	if (!p || !p->container || p->container->n_pipe > KHO_CONTAINER_PIPES)
		return 1;
	pid = fork_as(p->container->monitor);
	if (pid)
		return pid < 0 ? 2 : 0;
	return serve(p);
}

/* --- who starts it --- */

static int wait_worker(struct kho_monitor *m, pid_t *out, struct kho_err *err)
{
	struct pollfd p = { .fd = m->control, .events = POLLIN };
	struct hello hello;

	if (poll(&p, 1, START_MS) != 1 ||
	    recv(m->control, &hello, sizeof(hello), MSG_DONTWAIT) != sizeof(hello))
		return kho_fail(err, -EPIPE, "it does not answer");
	if (hello.worker <= 0)
		return kho_fail(err, hello.worker ? hello.worker : -EPROTO,
				"its worker does not start: %s", strerror(-hello.worker));
	memcpy(m->inode, hello.inode, sizeof(m->inode));
	*out = hello.worker;
	return 0;
}

static int start(struct kho_monitor *m, int criu, int control, int place, struct kho_err *err)
{
	char *argv[] = { (char *)KHO_ROLE_MONITOR, NULL };
	int fds[] = { control, criu, place }, status = 0, rc;
	pid_t first;

	rc = kho_spawn_fds("/proc/self/exe", argv, NULL, fds, 3, &first, err);
	if (rc)
		return rc;
	while (waitpid(first, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return kho_fail(err, -EEXIST, "number %d cannot be had", m->pid);
	return 0;
}

int kho_monitor_start(struct kho_monitor *m, struct kho_criu *c, const char *run_dir,
		      KhoProc__Place *place, struct kho_err *err)
{
	_cleanup_close_ int file = kho_place_file(run_dir, place, err);
	_cleanup_close_ int control = -1, criu = -1;
	int sv[2], cv[2], rc;

	if (file < 0)
		return file;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "monitor of a container: socketpair");
	control = sv[1];
	m->control = sv[0];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, cv))
		return kho_fail_errno(err, "monitor of a container: socketpair");
	criu = cv[1];
	c->sk = cv[0];
	m->pid = place->container->monitor;
	rc = start(m, criu, control, file, err);
	/* our copy would keep a failure from being seen as the end of the connection */
	close(steal_fd(control));
	if (!rc)
		rc = wait_worker(m, &c->pid, err);
	if (rc)
		return kho_wrap(err, "monitor of container %.12s", place->container->id);
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return 0;
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

	if (c->shim) {
		rc = kho_shim_become(m, c, err);
		return rc ? kho_wrap(err, "shim of container %.12s", c->id) : 0;
	}
	for (size_t i = 0; i < c->n_pipe; i++)
		numbers[i] = c->pipe[i]->number;
	rc = kho_monitor_trace(m->pid, m->control, numbers, c->n_pipe, err);
	return rc ? kho_wrap(err, "conmon of container %.12s", c->id) : 0;
}
