// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workers of the agent.  A few wait warm, so that no thread is made inside the blackout; more come
 * when all are busy, because a serializer may sit in one for the whole restore.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handover/incoming/agent_impl.h"
#include "lib/clock.h"

#define WARM 8
#define MOST 256 /* then requests wait: the other side never has so many at once */

static struct kho_agent *agent_of(struct kho_pool *p)
{
	return (struct kho_agent *)((char *)p - offsetof(struct kho_agent, pool));
}

static void *work(void *arg)
{
	struct kho_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct kho_request *rq;

		while (!p->head && !p->quit) {
			p->idle++;
			pthread_cond_wait(&p->cond, &p->lock);
			p->idle--;
		}
		rq = p->head;
		if (!rq)
			break;
		p->head = rq->next;
		if (!p->head)
			p->tail = &p->head;
		pthread_mutex_unlock(&p->lock);
		kho_agent_serve(agent_of(p), rq);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Lock held (or nobody else there yet). */
static int grow(struct kho_pool *p)
{
	int ret = p->nthreads < MOST ? -pthread_create(&p->threads[p->nthreads], NULL, work, p)
				     : -EAGAIN;

	if (!ret)
		p->nthreads++;
	return ret;
}

int kho_pool_init(struct kho_pool *p, struct kho_err *err)
{
	*p = (struct kho_pool){ 0 };
	p->tail = &p->head;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	p->threads = calloc(MOST, sizeof(*p->threads));
	if (!p->threads)
		return kho_fail(err, -ENOMEM, "workers of the agent");
	pthread_mutex_lock(&p->lock);
	for (int i = 0; i < WARM; i++) {
		int ret = grow(p);

		if (ret && !p->nthreads) {
			pthread_mutex_unlock(&p->lock);
			return kho_fail(err, ret, "start the agent's workers: %s", strerror(-ret));
		}
	}
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void kho_pool_put(struct kho_pool *p, struct kho_request *rq)
{
	unsigned queued = 1;

	rq->next = NULL;
	pthread_mutex_lock(&p->lock);
	for (struct kho_request *q = p->head; q; q = q->next)
		queued++;
	*p->tail = rq;
	p->tail = &rq->next;
	/* a failure is no harm: one of the others will come to it */
	if (queued > p->idle)
		grow(p);
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

int kho_pool_wait(struct kho_pool *p, uint64_t deadline_us)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	bool busy;

	for (;;) {
		pthread_mutex_lock(&p->lock);
		busy = p->head || p->idle < p->nthreads;
		pthread_mutex_unlock(&p->lock);
		if (!busy || kho_clock_us() > deadline_us)
			return busy ? -ETIMEDOUT : 0;
		nanosleep(&tick, NULL);
	}
}

void kho_pool_done(struct kho_pool *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	p->quit = true;
	n = p->nthreads;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(p->threads[i], NULL);
	free(p->threads);
	p->threads = NULL;
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
}
