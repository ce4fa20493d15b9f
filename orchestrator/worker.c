// SPDX-License-Identifier: GPL-2.0-only
/* The thread that steps run in.  See orchestrator/worker.h. */
#include "orchestrator/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

struct kho_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool busy, quit;
	_Atomic pid_t tid;
	int (*fn)(void *arg, struct kho_err *err);
	void *arg;
	int rc;
	struct kho_err err;
};

static void *worker_main(void *p)
{
	struct kho_worker *w = p;

	atomic_store(&w->tid, gettid());
	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct kho_err err = KHO_ERR_INIT;
		int rc;

		while (!w->busy && !w->quit)
			pthread_cond_wait(&w->changed, &w->lock);
		if (w->quit)
			break;
		pthread_mutex_unlock(&w->lock);
		rc = w->fn(w->arg, &err);
		pthread_mutex_lock(&w->lock);
		w->rc = rc;
		w->err = err;
		w->busy = false;
		pthread_cond_broadcast(&w->changed);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int kho_worker_new(struct kho_worker **out, struct kho_err *err)
{
	struct kho_worker *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int rc;

	if (!w)
		return kho_fail(err, -ENOMEM, "worker: out of memory");
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = pthread_create(&w->thread, NULL, worker_main, w);
	if (rc) {
		free(w);
		return kho_fail(err, -rc, "worker: thread: %s", strerror(rc));
	}
	*out = w;
	return 0;
}

void kho_worker_start(struct kho_worker *w, int (*fn)(void *arg, struct kho_err *err), void *arg)
{
	pthread_mutex_lock(&w->lock);
	w->fn = fn;
	w->arg = arg;
	w->busy = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

bool kho_worker_wait(struct kho_worker *w, uint64_t timeout_us)
{
	const struct timespec ts = kho_clock_in(timeout_us);
	bool ended;
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	while (w->busy && !rc)
		rc = pthread_cond_timedwait(&w->changed, &w->lock, &ts);
	ended = !w->busy;
	pthread_mutex_unlock(&w->lock);
	return ended;
}

void kho_worker_where(const struct kho_worker *w, char *out, size_t room)
{
	_cleanup_free_ char *stat = NULL, *wchan = NULL;
	const char *state;
	char path[64];
	int tid = atomic_load(&w->tid);

	*out = '\0';
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	if (kho_read_line(path, &stat, NULL) < 0 || !(state = strrchr(stat, ')')) || strlen(state) < 3)
		return;
	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", tid);
	if (kho_read_line(path, &wchan, NULL) < 0 || !*wchan || !strcmp(wchan, "0"))
		snprintf(out, room, "state %c", state[2]);
	else
		snprintf(out, room, "state %c, in %s", state[2], wchan);
}

int kho_worker_result(struct kho_worker *w, struct kho_err *err)
{
	if (w->rc < 0 && err)
		*err = w->err;
	return w->rc;
}

void kho_worker_free(struct kho_worker *w)
{
	if (!w || !kho_worker_wait(w, 0))
		return;
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
