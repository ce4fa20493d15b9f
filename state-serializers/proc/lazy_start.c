// SPDX-License-Identifier: GPL-2.0-only
/*
 * The restoring side of the page server: start, wake, end, look.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/lazy.h"
#include "state-serializers/proc/role.h"

#define SOCKET_NAME "lazy-pages.socket" /* CRIU looks for it in its work directory */

static int listen_in(const char *dir, struct kho_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	_cleanup_free_ char *work = NULL;
	_cleanup_close_ int dfd = -1, fd = -1;

	if (asprintf(&work, "%s/work", dir) < 0)
		return kho_fail(err, -ENOMEM, "page server: out of memory");
	dfd = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (dfd < 0 || fd < 0)
		return kho_fail_errno(err, "page server: open %s", work);
	/* the path may be longer than a socket's address can be */
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, dfd);
	unlink(sun.sun_path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) || listen(fd, 1))
		return kho_fail_errno(err, "page server: socket in %s", work);
	return steal_fd(fd);
}

int kho_lazy_start(struct kho_lazy *l, const char *dir, const char *progress_path,
		   struct kho_err *err)
{
	const char *args[] = { dir, progress_path, NULL };
	_cleanup_close_ int fd = listen_in(dir, err);

	return fd < 0 ? fd : kho_role_spawn(KHO_ROLE_LAZY, args, fd, &l->pid, err);
}

int kho_lazy_look(const struct kho_lazy *l, struct kho_err *err)
{
	siginfo_t si = { 0 };

	/* it stays to be reaped by who fills or kills */
	if (l->pid <= 0 || (!waitid(P_PID, (id_t)l->pid, &si, WEXITED | WNOHANG | WNOWAIT) &&
			    (!si.si_pid || (si.si_code == CLD_EXITED && !si.si_status))))
		return 0;
	return kho_fail(err, -EIO, "the page server (pid %d) has ended before all memory was there", l->pid);
}

static void *reap(void *arg)
{
	while (waitpid((pid_t)(intptr_t)arg, NULL, 0) < 0 && errno == EINTR)
		;
	return NULL;
}

void kho_lazy_fill(struct kho_lazy *l)
{
	pthread_t t;

	if (l->pid <= 0)
		return;
	kill(l->pid, SIGUSR1);
	if (!pthread_create(&t, NULL, reap, (void *)(intptr_t)l->pid))
		pthread_detach(t);
	l->pid = 0;
}

void kho_lazy_kill(struct kho_lazy *l)
{
	if (l->pid <= 0)
		return;
	kill(l->pid, SIGKILL);
	reap((void *)(intptr_t)l->pid);
	l->pid = 0;
}

int kho_lazy_progress_read(const char *path, struct kho_lazy_progress *out)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long remaining, total;

	if (kho_read_line(path, &text, NULL) ||
	    sscanf(text, "%d %llu %llu", &out->pid, &remaining, &total) != 3)
		return 0;
	out->remaining = remaining;
	out->total = total;
	return !kill(out->pid, 0) || errno == EPERM;
}
