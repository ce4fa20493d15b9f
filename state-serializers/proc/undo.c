// SPDX-License-Identifier: GPL-2.0-only
/*
 * What ends a freeze on the outgoing side: unfreeze (the workload goes on here) or forget (it lives
 * elsewhere). Both work from the image directories alone, so that a khoctl which was started after
 * the first one died can do them, too.
 *
 * CRIU leaves established TCP sockets in repair mode, as it expects them to be closed; to go on
 * here they are taken back out of it. Only what ran before is continued.
 */
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/tree.h"

#define END_US	      20000000ull
#define STATE_STOPPED 3u
#define STATE_ALIVE   1u

void kho_proc_out_reset(void)
{
	struct kho_proc_out *o = &kho_proc_out;

	for (size_t i = 0; i < o->n; i++) {
		struct kho_proc_out_wl *w = &o->w[i];

		/* Without its client CRIU gives up at the next notice and undoes what it did;
		 * killing it in the middle of a dump would leave its code in the processes. */
		if (w->criu.sk >= 0)
			shutdown(w->criu.sk, SHUT_RDWR);
	}
	if (o->dumping)
		pthread_join(o->dump_thread, NULL);
	o->dumping = false;
	kho_proc_stream_stop(&o->stream);
	for (size_t i = 0; i < o->n; i++) {
		kho_criu_finish(&o->w[i].criu, END_US);
		if (o->w[i].work_fd >= 0)
			close(o->w[i].work_fd);
		kho_proc_place_out_done(&o->w[i]);
		free(o->w[i].name);
		free(o->w[i].dir);
	}
	free(o->w);
	o->w = NULL;
	o->n = 0;
}

int kho_proc_mark_frozen(const struct kho_proc_out_wl *w, struct kho_err *err)
{
	char path[PATH_MAX], text[32];
	pid_t monitor = w->around.container ? w->around.container->monitor : 0;

	snprintf(path, sizeof(path), "%s/frozen", w->dir);
	return kho_write_file(path, text, (size_t)snprintf(text, sizeof(text), "%d %d\n", w->root, monitor),
			      err);
}

/* Wait for CRIU's last word of each dump that had been let go: then the trees are stopped or run
 * again. */
static void let_dumps_end(void)
{
	struct kho_proc_out *o = &kho_proc_out;
	struct timespec end;
	size_t live = o->n;

	if (!o->dumping)
		return;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += (time_t)(END_US / 1000000);
	pthread_mutex_lock(&o->lock);
	while (live) {
		live = 0;
		for (size_t i = 0; i < o->n; i++)
			/* one that was not dumped yet is to give up: see kho_proc_out_reset() */
			live += o->w[i].dumped && !o->w[i].ended;
		if (live && pthread_cond_timedwait(&o->changed, &o->lock, &end) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&o->lock);
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
	for (size_t i = 0; ino && i < t->ntcp; i++)
		if (t->tcp[i].ino == ino && t->tcp[i].dst_port && t->tcp[i].state != KHO_TCP_LISTEN)
			return &t->tcp[i];
	return NULL;
}

static int end_repair(int pidfd, int target_fd, bool reuseaddr)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, pidfd, target_fd, 0);
	int off = 0, reuse = reuseaddr, on = 0;
	socklen_t len = sizeof(on);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, &len) || !on)
		return 0;
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)))
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	return 0;
}

static int end_repair_of(pid_t pid, const struct kho_img_tree *t, struct kho_err *err)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[64];
	struct dirent *e;
	int first = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		const struct kho_img_socket *s = connected(t, socket_ino(pid, e->d_name));
		int rc = s ? end_repair(pidfd, atoi(e->d_name), s->reuseaddr) : 0;

		if (rc && !first)
			first = kho_fail(err, rc, "pid %d fd %s: end of TCP repair: %s", pid,
					 e->d_name, strerror(-rc));
	}
	return first;
}

struct mark {
	pid_t root, monitor; /* 0: none */
};

static struct mark read_mark(const char *path)
{
	_cleanup_free_ char *text = NULL;
	struct mark m = { 0 };

	if (kho_read_line(path, &text, NULL) < 0 || sscanf(text, "%d %d", &m.root, &m.monitor) < 1)
		return (struct mark){ 0 };
	return m;
}

/* The dumped tree, with the numbers that its processes have here. */
static int read_tree(const char *final, const struct mark *m, struct kho_img_tree *t, struct kho_err *err)
{
	int rc = kho_img_tree_read(final, t, err);

	/* a container's have others in its PID namespace; 0: that one is no more */
	for (size_t i = 0; !rc && m->monitor && i < t->ntasks; i++)
		t->tasks[i].pid = kho_pidns_outer(m->root, t->tasks[i].pid);
	return rc;
}

static int thaw_tree(const char *final, const struct mark *m, struct kho_err *err)
{
	struct kho_img_tree t;
	int rc = read_tree(final, m, &t, err), first = 0;

	if (rc)
		return rc;
	for (size_t i = 0; i < t.ntasks; i++) {
		if (!t.tasks[i].pid)
			continue;
		rc = end_repair_of(t.tasks[i].pid, &t, first ? NULL : err);
		first = first ? first : rc;
	}
	for (size_t i = t.ntasks; i-- > 0;) /* children first: the root sees them run */
		if (t.tasks[i].pid && t.tasks[i].state == STATE_ALIVE && kho_pid_state("", t.tasks[i].pid) == 'T')
			kill(t.tasks[i].pid, SIGCONT);
	kho_img_tree_done(&t);
	return first;
}

/* A dump that did not get as far as its last image: CRIU itself let the tree run on, unless it was
 * killed. */
static int thaw_dir(const char *dir, struct kho_err *err)
{
	_cleanup_free_ char *mark = NULL, *final = NULL, *inventory = NULL;
	struct mark m;
	int rc = 0;

	if (asprintf(&mark, "%s/frozen", dir) < 0 || asprintf(&final, "%s/final", dir) < 0 ||
	    asprintf(&inventory, "%s/inventory.img", final) < 0)
		return kho_fail(err, -ENOMEM, "unfreeze: out of memory");
	if (!kho_exists(mark))
		return 0;
	m = read_mark(mark);
	if (kho_exists(inventory))
		rc = thaw_tree(final, &m, err);
	kho_container_release(m.monitor);
	if (!rc)
		unlink(mark);
	return rc;
}

static int each_frozen(struct kho_env *env, int (*fn)(const char *dir, struct kho_err *err),
		       struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir(env->images_dir);
	struct dirent *e;
	int first = 0;

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *dir = NULL;
		int rc;

		if (e->d_name[0] == '.' || e->d_type != DT_DIR ||
		    asprintf(&dir, "%s/%s", env->images_dir, e->d_name) < 0)
			continue;
		rc = fn(dir, first ? NULL : err);
		if (rc && !first) {
			kho_wrap(err, "workload %s", e->d_name);
			first = rc;
		}
	}
	return first;
}

int kho_proc_unfreeze(struct kho_env *env, struct kho_err *err)
{
	int rc;

	let_dumps_end();
	kho_proc_out_reset();
	rc = each_frozen(env, thaw_dir, err);
	return rc;
}

static int kill_dir(const char *dir, struct kho_err *err)
{
	_cleanup_free_ char *mark = NULL, *final = NULL;
	struct kho_img_tree t;
	struct mark m;
	int rc;

	if (asprintf(&mark, "%s/frozen", dir) < 0 || asprintf(&final, "%s/final", dir) < 0)
		return kho_fail(err, -ENOMEM, "forget: out of memory");
	if (!kho_exists(mark))
		return 0;
	m = read_mark(mark);
	rc = read_tree(final, &m, &t, err);
	if (rc)
		return rc;
	if (m.monitor > 1) /* first: it would call podman to clean up */
		kill(m.monitor, SIGKILL);
	for (size_t i = 0; i < t.ntasks; i++) {
		char state = t.tasks[i].pid ? kho_pid_state("", t.tasks[i].pid) : 0;

		if (state == 'T' || state == 't')
			kill(t.tasks[i].pid, SIGKILL);
	}
	kho_img_tree_done(&t);
	return kho_tree_remove(dir, err);
}

int kho_proc_forget(struct kho_env *env, struct kho_err *err)
{
	let_dumps_end();
	kho_proc_out_reset();
	return each_frozen(env, kill_dir, err);
}

int kho_proc_unpreserve(struct kho_env *env, struct kho_err *err)
{
	int first = 0;

	kho_proc_out_reset();
	for (size_t i = 0; env->workloads && i < env->workloads->n; i++) {
		_cleanup_free_ char *dir = NULL;
		int rc;

		if (asprintf(&dir, "%s/%s", env->images_dir, env->workloads->w[i].name) < 0)
			continue;
		rc = kho_tree_remove(dir, first ? NULL : err);
		first = first ? first : rc;
	}
	return first;
}
