// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests on workers: serializer operations, CPUs, memory, commit.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

struct kho_ser_slot *kho_agent_slot(struct kho_agent *a, const struct kho_serializer *ser)
{
	struct kho_ser_slot *s;
	size_t n = 0;

	pthread_mutex_lock(&a->lock);
	for (s = a->sers; s && s->ser != ser; s = s->next)
		n++;
	if (!s && n < KHO_AGENT_SERIALIZERS && (s = calloc(1, sizeof(*s)))) {
		s->ser = ser;
		s->done = &a->conf->shared->done[n];
		pthread_mutex_init(&s->busy, NULL);
		s->next = a->sers;
		a->sers = s;
	}
	pthread_mutex_unlock(&a->lock);
	return s;
}

/*
 * One operation of a serializer at a time: when the other side gave up waiting for a retrieve, its
 * discard must not run beside it.
 */
static int lock_ser(struct kho_ser_slot *s, uint64_t deadline_us)
{
	uint64_t now = kho_clock_us(), left = deadline_us > now ? deadline_us - now : 0;
	struct timespec ts;

	if (!deadline_us)
		return pthread_mutex_lock(&s->busy);
	ts = kho_clock_in(left);
	return pthread_mutex_clocklock(&s->busy, CLOCK_MONOTONIC, &ts);
}

/* The ledger says DARK while anything that was retrieved is here, uncommitted. */
static void mark(struct kho_agent *a, struct kho_ser_slot *s, bool dark)
{
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT;
	bool before = false, after = dark, committed;

	pthread_mutex_lock(&a->lock);
	for (struct kho_ser_slot *o = a->sers; o; o = o->next) {
		before |= o->dark;
		after |= o != s && o->dark;
	}
	s->dark = dark;
	committed = a->committed;
	pthread_mutex_unlock(&a->lock);
	if (before != after && !committed &&
	    m->state(m->arg, after ? KHO_STATE_DARK : KHO_STATE_READY, &err) < 0)
		a->conf->say("state in the ledger: %s", err.msg);
}

static int reply_report(struct kho_request *rq, struct kho_err *err)
{
	size_t n = rq->report.n;
	KhoLink__Item *items;

	if (!n)
		return 0;
	/* one allocation: pointers, then what they point at; freed with the request */
	rq->reply.items = calloc(n, sizeof(*rq->reply.items) + sizeof(*items));
	if (!rq->reply.items)
		return kho_fail(err, -ENOMEM, "report of %zu items", n);
	items = (KhoLink__Item *)(rq->reply.items + n);
	for (size_t i = 0; i < n; i++) {
		const struct kho_report_item *it = &rq->report.items[i];

		kho_link__item__init(&items[i]);
		items[i].verdict = it->verdict;
		items[i].area = it->area;
		items[i].subject = it->subject;
		items[i].what = it->what;
		if (it->fix)
			items[i].fix = it->fix;
		rq->reply.items[i] = &items[i];
	}
	rq->reply.n_items = n;
	return 0;
}

/* Who asks again because it took too long hears how it ended: there is nothing left then that could be done once more. */
static int tidy(struct kho_agent *a, struct kho_ser_slot *s, struct kho_err *err)
{
	if (s->tidy.code)
		return kho_fail(err, s->tidy.code, "%s", s->tidy.msg);
	if (s->ser->tidy && !s->done->tidied && s->ser->tidy(&a->env, &s->tidy) < 0)
		return kho_fail(err, s->tidy.code, "%s", s->tidy.msg);
	s->done->tidied = true;
	return 0;
}

static int run_op(struct kho_agent *a, struct kho_ser_slot *s, struct kho_request *rq,
		  struct kho_err *err)
{
	const struct kho_serializer *ser = s->ser;
	const char *op = rq->m->op->op;
	const struct kho_blob in = { rq->m->op->in.data, rq->m->op->in.len };
	int ret;

	if (!strcmp(op, "prepare"))
		return ser->prepare ? ser->prepare(&a->env, &in, err) : 0;
	if (!strcmp(op, "unprepare"))
		return ser->unprepare ? ser->unprepare(&a->env, err) : 0;
	if (!strcmp(op, "retrieve")) {
		mark(a, s, true);
		ret = ser->retrieve ? ser->retrieve(&a->env, &in, err) : 0;
		s->done->retrieved = !ret;
		/* there may be a key in it */
		if (in.data)
			explicit_bzero(in.data, in.len);
		return ret;
	}
	if (!strcmp(op, "verify")) {
		ret = ser->verify ? ser->verify(&a->env, &rq->report, err) : 0;
		return ret < 0 ? ret : reply_report(rq, err);
	}
	if (!strcmp(op, "discard")) {
		s->done->retrieved = false;
		ret = ser->discard ? ser->discard(&a->env, err) : 0;
		mark(a, s, false);
		return ret;
	}
	/* once: a khoctl that takes up the work of another asks again, and so do we (agent_alone.c) */
	if (!strcmp(op, "finish")) {
		ret = ser->finish && !s->done->finished ? ser->finish(&a->env, err) : 0;
		s->done->finished = !ret;
		return ret;
	}
	if (!strcmp(op, "tidy"))
		return tidy(a, s, err);
	if (!strcmp(op, "cpus"))
		return ser->cpus ? ser->cpus(&a->env, err) : 0;
	return kho_fail(err, -ENOSYS, "serializers have no operation '%s' on the incoming side",
			op);
}

/* Nobody waits any more for what a retrieve does; one that has not begun must not take what the other side has back. */
static void cancel(struct kho_agent *a, struct kho_ser_slot *s, uint64_t seq)
{
	s->discarded = seq;
	if (s->ser->cancel)
		s->ser->cancel(&a->env);
}

int kho_agent_op(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__Op *o = rq->m->op;
	const struct kho_serializer *ser = a->conf->find(o->serializer);
	struct kho_ser_slot *s;
	int ret;

	if (!ser)
		return kho_fail(err, -ENOENT,
				"the incoming side has no serializer '%s'; use the same khoctl for "
				"both",
				o->serializer);
	s = kho_agent_slot(a, ser);
	if (!s)
		return kho_fail(err, -ENOMEM, "serializer '%s'", o->serializer);
	if (!strcmp(o->op, "discard"))
		cancel(a, s, rq->m->seq);
	if (lock_ser(s, rq->m->deadline_us))
		return kho_fail(err, -EBUSY,
				"%s: an earlier operation of it is still running there",
				o->serializer);
	if (!strcmp(o->op, "retrieve") && rq->m->seq < s->discarded)
		ret = kho_fail(err, -ECANCELED, "%s: it was discarded before it began", o->serializer);
	else
		ret = run_op(a, s, rq, err);
	pthread_mutex_unlock(&s->busy);
	return ret;
}

int kho_agent_cpu(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	int ret;

	pthread_mutex_lock(&a->machine_lock);
	ret = m->cpu(m->arg, rq->m->cpu->apicid, rq->m->cpu->take, err);
	pthread_mutex_unlock(&a->machine_lock);
	return ret;
}

int kho_agent_mem(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	int ret;

	pthread_mutex_lock(&a->machine_lock);
	ret = m->mem(m->arg, rq->m->mem->phys, rq->m->mem->bytes, rq->m->mem->adopt, err);
	pthread_mutex_unlock(&a->machine_lock);
	return ret;
}

int kho_agent_state_dir(const struct kho_agent *a, char **out, struct kho_err *err)
{
	_cleanup_free_ char *dir = NULL;
	int ret;

	if (asprintf(&dir, "%s%s", kho_new_root(&a->env), a->conf->journal_dir) < 0)
		return kho_fail(err, -ENOMEM, "%s", a->conf->journal_dir);
	ret = kho_mkdir(dir, err);
	if (!ret)
		*out = steal_ptr(dir);
	return ret;
}

int kho_agent_commit(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__Commit *c = rq->m->commit;
	_cleanup_free_ char *path = NULL;
	bool again = a->committed;
	int ret = kho_agent_journal_path(a, &path, err);

	if (ret < 0)
		return ret;
	/*
	 * the record first: whoever finds COMMITTED must find it, too. It may come again, more
	 * complete
	 */
	ret = kho_write_file(path, c->record.data, c->record.len, err);
	if (!ret)
		ret = kho_agent_keep_journal(a, c->record.data, c->record.len, err);
	/* what comes again has the result */
	if (!ret && again)
		a->conf->shared->told_end = true;
	return ret < 0 || again ? ret : kho_agent_sign(a, err);
}

int kho_agent_abandon(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	(void)rq;
	if (a->committed)
		return kho_fail(err, -EPERM,
				"the upgrade is committed: it cannot be abandoned any more");
	a->conf->say("the outgoing side has abandoned the upgrade");
	kho_entrusted_done(&a->trust);
	kho_agent_files_drop(a);
	return 0;
}

int kho_agent_echo(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	(void)a;
	(void)err;
	rq->reply.data = rq->m->echo->data;
	return 0;
}
