// SPDX-License-Identifier: GPL-2.0-only
/*
 * What ends a freeze on the outgoing side: unfreeze (the workload goes on here, thaw.h) or forget (it lives
 * elsewhere). Both work from the image directories alone, so that a khoctl which was started after
 * the first one died can do them, too.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/pinned.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

void kho_proc_out_reset(void)
{
	struct kho_proc_out *o = &kho_proc_out;

	for (size_t i = 0; i < o->n; i++) {
		struct kho_proc_out_wl *w = &o->w[i];

		/* Without its client CRIU gives up at the next notice and undoes what it did;
		 * killing it in the middle of a dump would leave its code in the processes. */
		pthread_mutex_lock(&o->lock);
		w->left = true;
		pthread_mutex_unlock(&o->lock);
		if (w->criu.sk >= 0)
			shutdown(w->criu.sk, SHUT_RDWR);
	}
	if (o->dumping)
		pthread_join(o->dump_thread, NULL);
	o->dumping = false;
	kho_proc_stream_stop(&o->stream);
	for (size_t i = 0; i < o->n; i++) {
		kho_criu_finish(&o->w[i].criu, KHO_PATIENCE_US);
		if (o->w[i].work_fd >= 0)
			close(o->w[i].work_fd);
		kho_proc_place_out_done(&o->w[i]);
		free(o->w[i].name);
		free(o->w[i].dir);
		free(o->w[i].tree);
		kho_proc_pinned_drop(&o->w[i]);
	}
	free(o->w);
	o->w = NULL;
	o->first_bytes = o->first_us = o->last_bytes = o->last_us = o->all_bytes = o->paid_bytes = 0;
	o->n = 0;
}

int kho_proc_mark_frozen(const struct kho_proc_out_wl *w, struct kho_err *err)
{
	pid_t monitor = w->around.container ? w->around.container->monitor : 0;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" KHO_PROC_MARK, w->dir);
	return kho_proc_mark_write(path, w->root, monitor, w->tree, w->ntree, err);
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
	end = kho_clock_in(KHO_PATIENCE_US);
	pthread_mutex_lock(&o->lock);
	while (live) {
		live = 0;
		for (size_t i = 0; i < o->n; i++)
			/* one that was not dumped yet is to give up: see kho_proc_out_reset() */
			live += o->w[i].dumped && !o->w[i].ended;
		if (live && pthread_cond_clockwait(&o->changed, &o->lock, CLOCK_MONOTONIC, &end) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&o->lock);
}

/* The dumped tree, with the numbers that its processes have here. */
static int read_tree(const char *final, const struct kho_proc_mark *m, struct kho_img_tree *t, struct kho_err *err)
{
	int rc = kho_img_tree_read(final, t, err);

	/* a container's have others in its PID namespace; 0: that one is no more */
	for (size_t i = 0; !rc && m->monitor && i < t->ntasks; i++)
		t->tasks[i].pid = kho_pidns_outer(m->root, t->tasks[i].pid);
	return rc;
}

/* Who kills CRIU in a moment in which it lets a process make calls for it kills that process, too (docs/limits.md). */
static int thaw_live(struct kho_env *env, const struct kho_proc_mark *m, struct kho_err *err)
{
	int rc = kho_proc_thaw_live(m, err);
	char state = kho_pid_state("", m->root);

	if (m->root > 0 && (!state || state == 'Z'))
		env->ops->note(env, "process %d ended while CRIU was at it and is lost: start its workload again", m->root);
	return rc;
}

/* By the images if they are whole; they are written last to first, the inventory at the end. */
static int thaw_tree(struct kho_env *env, const char *dir, const struct kho_proc_mark *m, struct kho_err *err)
{
	_cleanup_free_ char *final = NULL, *inventory = NULL;
	struct kho_err why = KHO_ERR_INIT;
	struct kho_img_tree t;
	int rc;

	if (asprintf(&final, "%s/final", dir) < 0 || asprintf(&inventory, "%s/inventory.img", final) < 0)
		return kho_fail(err, -ENOMEM, "unfreeze: out of memory");
	kho_proc_wait_untraced(m->root);
	/* CRIU itself let the tree run on, unless it was killed */
	if (!kho_exists(inventory))
		return thaw_live(env, m, err);
	if (read_tree(final, m, &t, &why) < 0) {
		env->ops->note(env, "%s; its processes go on by what /proc says of them", why.msg);
		return thaw_live(env, m, err);
	}
	rc = kho_proc_thaw_images(&t, err);
	kho_img_tree_done(&t);
	return rc;
}

static int thaw_dir(struct kho_env *env, const char *dir, struct kho_err *err)
{
	_cleanup_(kho_proc_mark_done) struct kho_proc_mark m = { 0 };
	_cleanup_free_ char *mark = NULL;
	int rc;

	if (asprintf(&mark, "%s/" KHO_PROC_MARK, dir) < 0)
		return kho_fail(err, -ENOMEM, "unfreeze: out of memory");
	if (!kho_exists(mark))
		return 0;
	kho_proc_mark_read(mark, &m);
	rc = thaw_tree(env, dir, &m, err);
	kho_container_release(m.monitor);
	if (!rc)
		unlink(mark);
	return rc;
}

static int each_frozen(struct kho_env *env, int (*fn)(struct kho_env *env, const char *dir, struct kho_err *err),
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
		rc = fn(env, dir, first ? NULL : err);
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

static int kill_dir(struct kho_env *env, const char *dir, struct kho_err *err)
{
	_cleanup_(kho_proc_mark_done) struct kho_proc_mark m = { 0 };
	_cleanup_free_ char *mark = NULL, *final = NULL;
	struct kho_img_tree t;
	int rc;

	(void)env;
	if (asprintf(&mark, "%s/" KHO_PROC_MARK, dir) < 0 || asprintf(&final, "%s/final", dir) < 0)
		return kho_fail(err, -ENOMEM, "forget: out of memory");
	if (!kho_exists(mark))
		return 0;
	kho_proc_mark_read(mark, &m);
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
