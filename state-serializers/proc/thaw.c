// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tree goes on where it is.  See thaw.h.
 *
 * CRIU leaves established TCP sockets in repair mode, as it expects them to be closed; to go on
 * here they are taken back out of it. Only what ran before is continued.
 */
#include "state-serializers/proc/thaw.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/tree.h"

#define STATE_ALIVE 1u
#define TICK_US	    10000
#define TREE_MAX    65536 /* a tree that grows while it is read must end somewhere */

struct pids {
	pid_t *p;
	size_t n;
};

static bool add(struct pids *l, pid_t pid)
{
	pid_t *bigger = l->n & (l->n - 1) ? l->p : realloc(l->p, (l->n ? l->n * 2 : 1) * sizeof(*l->p));

	if (!bigger || l->n == TREE_MAX)
		return false;
	l->p = bigger;
	l->p[l->n++] = pid;
	return true;
}

static void add_children(struct pids *l, pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	size_t n = kho_pid_threads(pid, &tids);

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;
		char path[64], *save, *word;

		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tids[i]);
		if (kho_read_file(path, 1 << 20, &text, NULL, NULL))
			continue;
		for (word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
			if (!add(l, atoi(word)))
				return;
	}
}

size_t kho_proc_tree_live(pid_t root, pid_t **out)
{
	struct pids l = { 0 };

	*out = NULL;
	if (root <= 0 || !kho_pid_state("", root) || !add(&l, root))
		return 0;
	for (size_t i = 0; i < l.n; i++)
		add_children(&l, l.p[i]);
	*out = l.p;
	return l.n;
}

int kho_proc_mark_write(const char *path, pid_t root, pid_t monitor, const pid_t *pids, size_t n, struct kho_err *err)
{
	size_t len = 0;
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *f = open_memstream(&text, &len);

	if (!f)
		return kho_fail(err, -ENOMEM, "%s: out of memory", path);
	fprintf(f, "%d %d", root, monitor);
	for (size_t i = 0; i < n; i++)
		if (kho_pid_state("", pids[i]) == 'T')
			fprintf(f, " %d", pids[i]);
	fprintf(f, "\n");
	if (fflush(f))
		return kho_fail(err, -ENOMEM, "%s: out of memory", path);
	return kho_write_file(path, text, len, err);
}

void kho_proc_mark_read(const char *path, struct kho_proc_mark *m)
{
	_cleanup_free_ char *text = NULL;
	struct pids stopped = { 0 };
	char *save, *word;
	size_t i = 0;

	*m = (struct kho_proc_mark){ 0 };
	if (kho_read_line(path, &text, NULL) < 0)
		return;
	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save), i++) {
		if (i == 0)
			m->root = atoi(word);
		else if (i == 1)
			m->monitor = atoi(word);
		else
			(void)add(&stopped, atoi(word));
	}
	m->stopped = stopped.p;
	m->nstopped = stopped.n;
}

void kho_proc_mark_done(struct kho_proc_mark *m)
{
	free(m->stopped);
	*m = (struct kho_proc_mark){ 0 };
}

void kho_proc_stop(pid_t root, const pid_t *known, size_t n_known)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n;

	for (size_t i = 0; i < n_known; i++)
		kill(known[i], SIGSTOP);
	n = kho_proc_tree_live(root, &pids);
	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGSTOP);
}

void kho_proc_wait_untraced(pid_t root)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(root, &pids);
	uint64_t end = kho_clock_us() + KHO_PATIENCE_US;

	for (size_t i = 0; i < n; i++) {
		pid_t tracer;

		while ((tracer = kho_pid_tracer(NULL, pids[i])) && kho_pid_is_criu(tracer)) {
			if (kho_clock_us() > end)
				kill(tracer, SIGKILL);
			usleep(TICK_US);
		}
	}
}

static uint32_t socket_ino(pid_t pid, const char *fd)
{
	char path[PATH_MAX], target[64];
	unsigned ino;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return sscanf(target, "socket:[%u]", &ino) == 1 ? ino : 0;
}

static const struct kho_img_socket *connected(const struct kho_img_tree *t, uint32_t ino)
{
	for (size_t i = 0; i < t->ntcp; i++)
		if (t->tcp[i].ino == ino && t->tcp[i].dst_port && t->tcp[i].state != KHO_TCP_LISTEN)
			return &t->tcp[i];
	return NULL;
}

/* reuseaddr: as it was before CRIU set it, or negative: not known, it stays. */
static int end_repair(int pidfd, int target_fd, int reuseaddr)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, pidfd, target_fd, 0);
	int off = 0, on = 0;
	socklen_t len = sizeof(on);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, &len) || !on)
		return 0;
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)))
		return -errno;
	if (reuseaddr >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuseaddr, sizeof(reuseaddr));
	return 0;
}

/* t: its connections, or NULL: every socket is looked at. */
static int end_repair_of(pid_t pid, const struct kho_img_tree *t, struct kho_err *err)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[64];
	struct dirent *e;
	int first = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		uint32_t ino = socket_ino(pid, e->d_name);
		const struct kho_img_socket *s = t && ino ? connected(t, ino) : NULL;
		int rc = ino && (s || !t) ? end_repair(pidfd, atoi(e->d_name), s ? s->reuseaddr : -1) : 0;

		if (rc && !first)
			first = kho_fail(err, rc, "pid %d fd %s: end of TCP repair: %s", pid,
					 e->d_name, strerror(-rc));
	}
	return first;
}

int kho_proc_thaw_images(const struct kho_img_tree *t, struct kho_err *err)
{
	int first = 0;

	for (size_t i = 0; i < t->ntasks; i++) {
		int rc = t->tasks[i].pid ? end_repair_of(t->tasks[i].pid, t, first ? NULL : err) : 0;

		first = first ? first : rc;
	}
	for (size_t i = t->ntasks; i-- > 0;) /* children first: the root sees them run */
		if (t->tasks[i].pid && t->tasks[i].state == STATE_ALIVE && kho_pid_state("", t->tasks[i].pid) == 'T')
			kill(t->tasks[i].pid, SIGCONT);
	return first;
}

static bool was_stopped(const struct kho_proc_mark *m, pid_t pid)
{
	for (size_t i = 0; i < m->nstopped; i++)
		if (m->stopped[i] == pid)
			return true;
	return false;
}

int kho_proc_thaw_live(const struct kho_proc_mark *m, struct kho_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(m->root, &pids);
	int first = 0;

	for (size_t i = 0; i < n; i++) {
		int rc = end_repair_of(pids[i], NULL, first ? NULL : err);

		/* one that ended by itself meanwhile has no sockets any more */
		if (kho_pid_state("", pids[i]))
			first = first ? first : rc;
	}
	for (size_t i = n; i-- > 0;)
		if (kho_pid_state("", pids[i]) == 'T' && !was_stopped(m, pids[i]))
			kill(pids[i], SIGCONT);
	return first;
}
