// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the agent is asked to find out about this kernel: gates, loads, and how a copy of a workload replies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/pid.h"

/* Of all serializers that have retrieved. */
static size_t restored(struct kho_agent *a, pid_t **out)
{
	size_t n = 0;

	*out = NULL;
	pthread_mutex_lock(&a->lock);
	for (struct kho_ser_slot *s = a->sers; s; s = s->next) {
		_cleanup_free_ pid_t *pids = NULL;
		size_t more = s->done->retrieved && s->ser->restored ? s->ser->restored(&a->env, &pids) : 0;

		(void)!kho_pids_append(out, &n, pids, more);
	}
	pthread_mutex_unlock(&a->lock);
	return n;
}

/* What the other side asks, a percent being one; what ask has is the caller's to free. */
static int take_ask(const KhoLink__Ready *m, struct kho_gate_ask *ask, struct kho_gate_usual **usual, struct kho_gate_device **devices,
		    struct kho_err *err)
{
	if (m->moment > KHO_GATES_OVER)
		return kho_fail(err, -EINVAL, "this side knows no gates of moment %u; use the same khoctl for both", m->moment);
	*usual = calloc(m->n_usual + 1, sizeof(**usual));
	*devices = calloc(m->n_devices + 1, sizeof(**devices));
	if (!*usual || !*devices)
		return kho_fail(err, -ENOMEM, "gates");
	for (size_t i = 0; i < m->n_usual; i++)
		(*usual)[i] = (struct kho_gate_usual){ m->usual[i]->pid, m->usual[i]->percent < 100 ? m->usual[i]->percent : 100 };
	for (size_t i = 0; i < m->n_devices; i++)
		(*devices)[i] = (struct kho_gate_device){ m->devices[i]->alias, m->devices[i]->driver };
	*ask = (struct kho_gate_ask){ (enum kho_gate_moment)m->moment, *usual, m->n_usual, *devices, m->n_devices };
	return 0;
}

int kho_agent_ready(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	struct answer {
		KhoLink__Gate *at[KHO_NGATES]; /* first: it is freed by this address, with the request */
		KhoLink__Gate gates[KHO_NGATES];
		struct kho_gate_list list;
	} *w;
	_cleanup_free_ struct kho_gate_usual *usual = NULL;
	_cleanup_free_ struct kho_gate_device *devices = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	struct kho_gate_ask ask;
	size_t n;

	if (!a->conf->measure)
		return kho_fail(err, -ENOSYS, "this kernel cannot be measured");
	if (take_ask(rq->m->ready, &ask, &usual, &devices, err) < 0)
		return err->code;
	w = calloc(1, sizeof(*w));
	if (!w)
		return kho_fail(err, -ENOMEM, "gates");
	n = ask.moment == KHO_GATES_READY ? 0 : restored(a, &pids);
	a->conf->measure(&ask, pids, n, &w->list);
	for (size_t i = 0; i < w->list.n; i++) {
		struct kho_gate_result *r = &w->list.r[i];
		KhoLink__Gate *g = w->at[i] = &w->gates[i];

		kho_link__gate__init(g);
		g->name = (char *)(uintptr_t)kho_gates[r->gate].name;
		g->known = r->verdict != KHO_GATE_UNKNOWN;
		g->value = r->value;
		g->what = r->what;
	}
	rq->reply.gates = w->at;
	rq->reply.n_gates = w->list.n;
	return 0;
}

/* Without the empty ones at the end: how many. */
static size_t fill_slots(const struct kho_hist *h, uint64_t slot[KHO_HIST_SLOTS])
{
	size_t n = 0;

	for (size_t i = 0; i < KHO_HIST_SLOTS; i++) {
		slot[i] = h->slot[i];
		if (slot[i])
			n = i + 1;
	}
	return n;
}

int kho_agent_load(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__Load *in = rq->m->load;
	struct kho_load l = { .command = *in->command ? in->command : NULL, .cpus = in->cpus, .us = in->us };
	struct answer {
		KhoLink__Loaded loaded; /* first: it is freed by this address, with the request */
		struct kho_load_result r;
		uint64_t slot[KHO_HIST_SLOTS];
	} *w;
	int ret, mix = kho_mix_find(in->mix);

	if (mix < 0)
		return kho_fail(err, -EINVAL, "this side knows no load '%s'; use the same khoctl for both", in->mix);
	if (!a->conf->load)
		return kho_fail(err, -ENOSYS, "no load can be put on this kernel");
	l.mix = (enum kho_mix)mix;
	w = calloc(1, sizeof(*w));
	if (!w)
		return kho_fail(err, -ENOMEM, "load");
	kho_link__loaded__init(&w->loaded);
	rq->reply.loaded = &w->loaded;
	ret = a->conf->load(&l, &w->r, err);
	if (ret < 0)
		return ret;
	w->loaded.n_slot = fill_slots(&w->r.ns, w->slot);
	w->loaded.slot = w->slot;
	w->loaded.known = w->r.known;
	w->loaded.errors = w->r.errors;
	w->loaded.what = w->r.what;
	return 0;
}

/* The recording, which nobody else finds any more: a descriptor. */
static int take_recording(struct kho_agent *a, struct kho_err *err)
{
	int dir, fd;

	pthread_mutex_lock(&a->lock);
	dir = a->told->images_fd; /* it was set up, and what was told is kept */
	pthread_mutex_unlock(&a->lock);
	fd = openat(dir, KHO_REPLAY_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return kho_fail_errno(err, "the recording of requests");
	if (unlinkat(dir, KHO_REPLAY_FILE, 0) == 0)
		return fd;
	kho_fail_errno(err, "remove the recording of requests");
	close(fd);
	return err ? err->code : -EIO;
}

static void fill_replayed(const struct kho_replay_result *r, KhoLink__Replayed *out)
{
	out->known = r->known;
	out->requests = r->requests;
	out->replies = r->replies;
	out->other_length = r->other_length;
	out->refused = r->refused;
	out->cut = r->cut;
	out->silent = r->silent;
	out->strange = r->strange;
	out->late = r->late;
	out->timed = r->timed;
	out->what = (char *)(uintptr_t)r->what;
}

int kho_agent_replay(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	struct answer {
		KhoLink__Replayed replayed; /* first: it is freed by this address, with the request */
		struct kho_replay_result r;
		uint64_t slot[KHO_HIST_SLOTS];
	} *w;
	_cleanup_free_ pid_t *pids = NULL;
	int fd, ret;

	if (!a->conf->replay)
		return kho_fail(err, -ENOSYS, "nothing can be replayed on this kernel");
	fd = take_recording(a, err);
	if (fd < 0)
		return fd;
	w = calloc(1, sizeof(*w));
	if (w) {
		kho_link__replayed__init(&w->replayed);
		rq->reply.replayed = &w->replayed;
	}
	/* the root of the first workload is the first of them */
	if (!w)
		ret = kho_fail(err, -ENOMEM, "replay");
	else if (!restored(a, &pids))
		ret = kho_fail(err, -ESRCH, "nothing is restored that requests could be sent to");
	else
		ret = a->conf->replay(fd, pids[0], &w->r, err);
	close(fd);
	if (ret < 0)
		return ret;
	fill_replayed(&w->r, &w->replayed);
	w->replayed.n_slot = fill_slots(&w->r.ns, w->slot);
	w->replayed.slot = w->slot;
	return 0;
}
