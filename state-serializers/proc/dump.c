// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side: freeze, and the dump that goes on behind the freeze. CRIU's worker was asked to
 * dump long before (precopy.c) and waits in its "pre-dump" notice, so that the freeze is one message away; "query-ext-files" is the notice that follows seizing the
 * tree, where it waits until the network is quiet; at "post-dump" all images are written.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/phase.h"
#include "state-serializers/proc/pinned.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/vdso.h"

#define DUMP_US	   60000000ull
#define LOOK_MS	   50 /* at whether it is to listen on */
#define VDSO_TRIES 32
#define VDSO_LEAST 4	    /* of them, however slow the machine is */
#define VDSO_US	   5000000u /* after which there are no more: others stand still meanwhile */

struct kho_proc_out kho_proc_out = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.stream = { .inotify = -1, .stop_fd = -1 },
};

int kho_proc_refused(const struct kho_proc_out_wl *w, const CriuRpc__Resp *resp, const char *what,
		     struct kho_err *err)
{
	char log[PATH_MAX];

	snprintf(log, sizeof(log), "%s/work/%s.log", w->dir, what);
	return kho_criu_refused(err, resp, what, log);
}

/* One message of a worker while it dumps; called with the lock held. */
static void on_message(struct kho_proc_out_wl *w, const CriuRpc__Resp *resp)
{
	const char *script = resp->notify && resp->notify->script ? resp->notify->script : "";

	if (resp->type != CRIU_RPC__TYPE__NOTIFY) {
		w->ended = true;
		if (!resp->success)
			w->result = kho_proc_refused(w, resp, "dump", &w->why);
		return;
	}
	if (!strcmp(script, "query-ext-files")) {
		w->seized = true;
		w->seized_us = kho_clock_us();
		return; /* answered by kho_proc_drain() */
	} else if (!strcmp(script, "post-dump")) {
		w->dumped = true;
		w->dumped_us = kho_clock_us();
	}
	w->result = kho_criu_answer(&w->criu, true, &w->why);
	if (w->result)
		w->ended = true;
}

static void hear(struct kho_proc_out_wl *w)
{
	CriuRpc__Resp *resp = NULL;
	struct kho_err why = KHO_ERR_INIT;
	int rc = kho_criu_recv(&w->criu, 0, &resp, &why);

	pthread_mutex_lock(&kho_proc_out.lock);
	if (rc) {
		/* its end of this socket is closed before those to the processes */
		if (w->seized && !w->left)
			kho_proc_stop(w->root, w->tree, w->ntree);
		w->ended = true;
		if (!w->result) {
			w->result = rc;
			w->why = why;
		}
	} else {
		on_message(w, resp);
	}
	pthread_cond_broadcast(&kho_proc_out.changed);
	pthread_mutex_unlock(&kho_proc_out.lock);
	if (resp)
		criu_rpc__resp__free_unpacked(resp, NULL);
}

/* Hears all workers until each has given its last word, or it is told to leave. */
static void *dump_thread(void *arg)
{
	struct kho_proc_out *o = arg;
	struct pollfd *p = calloc(o->n + 1, sizeof(*p));

	for (;;) {
		size_t live = 0;

		for (size_t i = 0; p && i < o->n; i++) {
			bool listen = o->w[i].released && !o->w[i].ended;

			p[i] = (struct pollfd){ .fd = listen ? o->w[i].criu.sk : -1,
						.events = POLLIN };
			live += listen;
		}
		if (!live || atomic_load(&o->leave) || (poll(p, o->n, LOOK_MS) < 0 && errno != EINTR))
			break;
		for (size_t i = 0; i < o->n; i++)
			if (p[i].fd >= 0 && p[i].revents)
				hear(&o->w[i]);
	}
	free(p);
	return NULL;
}

/* Wait until `done` holds for every workload, or one has failed, or time is up; lock held. */
static int wait_all(bool (*done)(const struct kho_proc_out_wl *), uint64_t timeout_us,
		    const char *what, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	const struct timespec end = kho_clock_in(timeout_us); /* not the time of day: that may be set meanwhile */

	for (;;) {
		size_t i, missing = o->n;

		for (i = 0; i < o->n; i++) {
			const struct kho_proc_out_wl *w = &o->w[i];

			if (w->result || (w->ended && !done(w))) {
				if (err)
					*err = w->why;
				if (!w->result)
					kho_fail(err, -EPIPE, "criu ended before its work");
				kho_wrap(err, "%s %s", what, w->name);
				return w->result ? w->result : -EPIPE;
			}
			if (!done(w))
				missing = i;
		}
		if (missing == o->n)
			return 0;
		if (pthread_cond_clockwait(&o->changed, &o->lock, CLOCK_MONOTONIC, &end) == ETIMEDOUT)
			return kho_fail(err, -ETIMEDOUT, "%s %s: not done within %llu s", what,
					o->w[missing].name,
					(unsigned long long)timeout_us / 1000000);
	}
}

static int listen_begin(struct kho_proc_out *o, struct kho_err *err)
{
	int rc = pthread_create(&o->dump_thread, NULL, dump_thread, o);

	if (rc)
		return kho_fail(err, -rc, "freeze: thread");
	o->dumping = true;
	return 0;
}

/* What comes meanwhile is heard when it begins again. */
static void listen_end(struct kho_proc_out *o)
{
	if (!o->dumping)
		return;
	atomic_store(&o->leave, true);
	pthread_join(o->dump_thread, NULL);
	atomic_store(&o->leave, false);
	o->dumping = false;
}

static bool is_seized(const struct kho_proc_out_wl *w)
{
	return w->seized;
}

static bool is_dumped(const struct kho_proc_out_wl *w)
{
	return w->dumped;
}

/* Its tree is stopped from now on. */
static int release(struct kho_proc_out_wl *w, struct kho_err *err)
{
	int rc;

	if (!w->armed)
		return kho_fail(err, -EINVAL, "freeze %s: not prepared", w->name);
	w->released_us = kho_clock_us();
	rc = kho_criu_answer(&w->criu, true, err);
	w->released = !rc;
	w->armed = false;
	return rc;
}

static int seized_all(struct kho_proc_out *o, struct kho_err *err)
{
	int rc = listen_begin(o, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&o->lock);
	rc = wait_all(is_seized, (KHO_PROC_SEIZE_S + 1) * 1000000ull, "freeze", err);
	pthread_mutex_unlock(&o->lock);
	return rc;
}

static pid_t in_vdso(const struct kho_proc_out_wl *w)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(w->root, &pids);

	return kho_proc_in_vdso(pids, n);
}

/* The first thread that is in it, and its tree; those trees run again for a moment and are stopped once more. 0: there is none. */
static int stop_again(struct kho_env *env, pid_t *tid, const char **name, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	int rc = 0;

	*tid = 0;
	for (size_t i = 0; !rc && i < o->n; i++) {
		struct kho_proc_out_wl *w = &o->w[i];
		pid_t in = in_vdso(w);

		if (!in)
			continue;
		*tid = in;
		*name = w->name;
		listen_end(o);
		w->released = w->seized = false;
		rc = kho_proc_call_off(env, w, err);
		if (!rc)
			rc = kho_proc_arm(w, err);
		if (rc)
			return kho_wrap(err, "stop %s once more", w->name);
		kho_proc_wait_accepted(env);
		rc = release(w, err);
	}
	return rc || !*tid ? rc : seized_all(o, err);
}

/* See vdso.h. How likely it is depends on how often the workload asks for the time; each time is another chance. */
static int out_of_vdso(struct kho_env *env, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	const char *name = NULL;
	unsigned n;
	pid_t tid = 0;

	for (n = 0; n < VDSO_TRIES && (n < VDSO_LEAST || kho_clock_us() - begin < VDSO_US); n++) {
		int rc = stop_again(env, &tid, &name, err);

		if (rc)
			return rc;
		if (!tid)
			break;
	}
	if (tid)
		return kho_fail(err, -EAGAIN, "freeze %s: a thread of it (the last: %d) was in the vDSO %u times, where CRIU cannot restore it on another kernel; let it ask for the time less often",
				name, tid, n);
	if (n) {
		env->ops->note(env, "%s: stopped %u times, because a thread was in the vDSO", name, n + 1);
		env->ops->phase(env, "out of the vDSO", begin, kho_clock_us());
	}
	return 0;
}

int kho_proc_freeze(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	uint64_t begin = kho_clock_us();
	int rc = 0;

	kho_proc_wait_accepted(env);
	for (size_t i = 0; !rc && i < o->n; i++)
		rc = release(&o->w[i], err);
	if (rc || !o->n)
		return rc;
	rc = seized_all(o, err);
	if (!rc)
		rc = out_of_vdso(env, err);
	for (size_t i = 0; !rc && i < o->n; i++) {
		kho_proc_stopped(env, o->w[i].name, o->w[i].released_us, o->w[i].seized_us);
		rc = o->w[i].around.container ? kho_container_drain(o->w[i].around.container, err) : 0;
	}
	/* behind: several may have one monitor */
	for (size_t i = 0; !rc && i < o->n; i++)
		rc = o->w[i].around.container ? kho_container_hold(o->w[i].around.container, err) : 0;
	if (!rc)
		env->ops->phase(env, "criu seize", begin, kho_clock_us());
	return rc;
}

/* The network is quiet: the seized trees may be dumped; lock held. */
static int let_dump(struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	int rc = 0;

	for (size_t i = 0; !rc && i < o->n; i++)
		if (o->w[i].seized && !o->w[i].ended)
			rc = kho_criu_answer(&o->w[i].criu, true, err);
	return rc;
}

/* CRIU has what it takes to dump them, and no use for this thread meanwhile. */
static int note_pinned(struct kho_env *env, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int rc = kho_proc_pinned_note(env, &kho_proc_out, err);

	kho_phase(env, "pinned threads", begin);
	return rc;
}

int kho_proc_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	uint64_t begin = kho_clock_us(), end = 0;
	int rc = 0;

	if (o->n) {
		pthread_mutex_lock(&o->lock);
		rc = let_dump(err);
		pthread_mutex_unlock(&o->lock);
		if (!rc)
			rc = note_pinned(env, err);
		pthread_mutex_lock(&o->lock);
		if (!rc)
			rc = wait_all(is_dumped, DUMP_US, "dump", err);
		for (size_t i = 0; i < o->n; i++)
			end = o->w[i].dumped_us > end ? o->w[i].dumped_us : end;
		pthread_mutex_unlock(&o->lock);
		if (rc)
			return rc;
		env->ops->phase(env, "criu dump", begin, end);
	}
	rc = kho_proc_state_pack(out, err);
	if (!rc && o->n) {
		rc = kho_proc_stream_finish(&o->stream, err);
		env->ops->phase(env, "last images", end, kho_clock_us());
		env->ops->note(env, "%.1f MiB come at once, %.1f MiB on demand",
			       (double)o->stream.sum.eager_pages / 256,
			       (double)o->stream.sum.lazy_pages / 256);
	}
	return rc;
}
