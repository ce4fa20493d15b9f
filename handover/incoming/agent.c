// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent's session: hello, receive, dispatch, answer.  A broken rule ends the session with a Bye
 * that says why; only a Knock (a new process on the other side) begins the next one.
 */
#include "handover/incoming/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/clock.h"

#define BYE_US	 1000000
#define REPLY_US 10000000 /* a ring that stays full so long belongs to a dead reader */

static const struct handler {
	KhoLink__Msg__BodyCase body;
	kho_request_fn *fn;
	bool here; /* short: done by the receiving thread */
	bool before_setup;
} handlers[] = {
	{ KHO_LINK__MSG__BODY_SETUP, kho_agent_setup, true, true },
	{ KHO_LINK__MSG__BODY_ECHO, kho_agent_echo, true, true },
	{ KHO_LINK__MSG__BODY_OP, kho_agent_op, false, false },
	{ KHO_LINK__MSG__BODY_FILE_PUT, kho_agent_file_put, false, false },
	{ KHO_LINK__MSG__BODY_FILE_BATCH, kho_agent_file_batch, false, false },
	{ KHO_LINK__MSG__BODY_FILE_BEGIN, kho_agent_file_begin, true, false },
	{ KHO_LINK__MSG__BODY_FILE_CHUNK, kho_agent_file_chunk, false, false },
	{ KHO_LINK__MSG__BODY_FILE_END, kho_agent_file_end, true, false },
	{ KHO_LINK__MSG__BODY_FILE_ABORT, kho_agent_file_abort, true, false },
	{ KHO_LINK__MSG__BODY_CPU, kho_agent_cpu, false, false },
	{ KHO_LINK__MSG__BODY_MEM, kho_agent_mem, false, false },
	{ KHO_LINK__MSG__BODY_READY, kho_agent_ready, false, false },
	{ KHO_LINK__MSG__BODY_LOAD, kho_agent_load, false, false },
	{ KHO_LINK__MSG__BODY_REPLAY, kho_agent_replay, false, false },
	{ KHO_LINK__MSG__BODY_ENTRUST, kho_agent_entrust, true, false },
	{ KHO_LINK__MSG__BODY_COMMIT, kho_agent_commit, false, false },
	{ KHO_LINK__MSG__BODY_RETIRING, kho_agent_retiring, true, false },
	{ KHO_LINK__MSG__BODY_ABANDON, kho_agent_abandon, true, true },
	{ KHO_LINK__MSG__BODY_FAULT, kho_agent_fault, true, false },
};

static const struct handler *handler_of(const KhoLink__Msg *m)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].body == m->body_case)
			return &handlers[i];
	return NULL;
}

static int sent(struct kho_agent *a, const KhoLink__Msg *m, int ret, const struct kho_err *err)
{
	if (ret < 0)
		a->conf->say("cannot send '%s': %s", kho_msg_name(m), err->msg);
	return ret;
}

int kho_agent_send(struct kho_agent *a, const KhoLink__Msg *m)
{
	struct kho_err err = KHO_ERR_INIT;

	return sent(a, m, kho_stream_send(&a->s, m, 0, kho_clock_us() + REPLY_US, &err), &err);
}

int kho_agent_hello(struct kho_agent *a)
{
	KhoLink__Hello h = KHO_LINK__HELLO__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_err err = KHO_ERR_INIT;

	h.revision_min = KHO_LINK_REVISION_MIN;
	h.revision_max = KHO_LINK_REVISION;
	h.release = (char *)a->conf->release;
	h.pid = getpid();
	h.instance_id = a->conf->instance_id;
	h.generation = a->conf->generation;
	m.body_case = KHO_LINK__MSG__BODY_HELLO;
	m.hello = &h;
	return sent(a, &m, kho_stream_send(&a->s, &m, 0, kho_clock_us() + REPLY_US, &err), &err);
}

static void answer(struct kho_agent *a, struct kho_request *rq, int ret, const struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	rq->reply.error = ret < 0 ? ret : 0;
	if (ret < 0)
		rq->reply.text = (char *)err->msg;
	rq->reply.duration_us = kho_clock_us() - rq->begin_us;
	m.seq = rq->m->seq;
	m.body_case = KHO_LINK__MSG__BODY_REPLY;
	m.reply = &rq->reply;
	sent(a, &m, kho_stream_answer(&a->s, &m, rq->m->body_case, kho_clock_us() + REPLY_US, &why), &why);
}

static bool is_set_up(struct kho_agent *a)
{
	bool ret;

	pthread_mutex_lock(&a->lock);
	ret = a->set_up;
	pthread_mutex_unlock(&a->lock);
	return ret;
}

int kho_agent_serve(struct kho_agent *a, struct kho_request *rq)
{
	const struct handler *h = handler_of(rq->m);
	struct kho_err err = KHO_ERR_INIT;
	uint64_t now = kho_clock_us();
	int ret;

	if (!h)
		ret = kho_fail(&err, -ENOSYS,
			       "the incoming side knows no request of this kind (revision %u)",
			       KHO_LINK_REVISION);
	else if (!h->before_setup && !is_set_up(a))
		ret = kho_fail(&err, -ENOTCONN, "request '%s' before setup", kho_msg_name(rq->m));
	else if (rq->m->deadline_us && now > rq->m->deadline_us)
		ret = kho_fail(&err, -ETIMEDOUT,
			       "request '%s' came %" PRIu64 " ms after its deadline",
			       kho_msg_name(rq->m), (now - rq->m->deadline_us) / 1000);
	else
		ret = h->fn(a, rq, &err);
	if (rq->m->seq)
		answer(a, rq, ret, &err);
	free(rq->reply.items);
	free(rq->reply.gates);
	free(rq->reply.loaded);
	free(rq->reply.replayed);
	kho_report_done(&rq->report);
	kho_msg_free(rq->m);
	free(rq);
	return ret;
}

static void dispatch(struct kho_agent *a, KhoLink__Msg *m)
{
	const struct handler *h = handler_of(m);
	struct kho_request *rq = calloc(1, sizeof(*rq));

	if (!rq) {
		/* the caller runs into its deadline */
		a->conf->say("out of memory for request '%s'", kho_msg_name(m));
		kho_msg_free(m);
		return;
	}
	kho_link__reply__init(&rq->reply);
	rq->m = m;
	rq->begin_us = kho_clock_us();
	/*
	 * a file in its own message is one short write into tmpfs: cheaper here than through a
	 * worker
	 */
	if (!h || h->here ||
	    (m->body_case == KHO_LINK__MSG__BODY_FILE_PUT && !m->file_put->has_slot))
		kho_agent_serve(a, rq);
	else
		kho_pool_put(&a->pool, rq);
}

static void knocked(struct kho_agent *a, const KhoLink__Knock *k)
{
	struct kho_err err = KHO_ERR_INIT;

	kho_agent_files_drop(a);
	a->seen = (struct kho_seen){ 0 };
	pthread_mutex_lock(&a->lock);
	a->session = true;
	a->set_up = false;
	/* its requests are numbered from the beginning */
	for (struct kho_ser_slot *s = a->sers; s; s = s->next)
		s->discarded = 0;
	pthread_mutex_unlock(&a->lock);
	kho_agent_hello(a);
	if (kho_link_agree(KHO_LINK_REVISION_MIN, KHO_LINK_REVISION, k->revision_min,
			   k->revision_max, &err) < 0)
		a->conf->say("%s", err.msg);
}

static void end_session(struct kho_agent *a, const char *why)
{
	a->conf->say("session of the link ended: %s", why);
	pthread_mutex_lock(&a->lock);
	a->session = a->set_up = false;
	pthread_mutex_unlock(&a->lock);
	kho_agent_files_drop(a);
	kho_stream_resync(&a->s);
}

static void received(struct kho_agent *a, KhoLink__Msg *m)
{
	switch (m->body_case) {
	case KHO_LINK__MSG__BODY_KNOCK:
		knocked(a, m->knock);
		break;
	case KHO_LINK__MSG__BODY_BYE:
		end_session(a, m->bye->text);
		break;
	default:
		/*
		 * without a session: what a process that is gone had left in the ring, or after our
		 * Bye
		 */
		if (a->session && (!m->seq || kho_seen_first(&a->seen, m->seq))) {
			dispatch(a, m);
			return;
		}
		/* never done twice; the first one is answered */
		if (a->session)
			a->conf->say("request '%s' came twice", kho_msg_name(m));
	}
	kho_msg_free(m);
}

/* At most once a tick, however much comes in. */
static void watch_due(struct kho_agent *a, bool *silent)
{
	uint64_t now = kho_clock_us();

	if (now < a->watch_us)
		return;
	a->watch_us = now + KHO_AGENT_TICK_US;
	*silent = kho_agent_watch(a);
	if (*silent)
		a->outgoing_end = "silent";
}

/* 0 when the outgoing kernel is gone for good, or a failure of the link itself. */
static int serve(struct kho_agent *a, struct kho_err *err)
{
	bool silent = false;

	for (;;) {
		KhoLink__Msg *m = NULL;
		unsigned flags;
		int ret = kho_stream_recv(&a->s, -1, kho_clock_us() + KHO_AGENT_TICK_US, &m, &flags, err);

		watch_due(a, &silent);
		if (ret == 1) {
			received(a, m);
		} else if (ret == 0 || silent) {
			return 0;
		} else if (ret == -EPROTO || ret == -ETIMEDOUT || ret == -ENOMEM) {
			struct kho_err why = *err;

			if (a->session)
				kho_stream_bye(&a->s, why.code, why.msg, BYE_US);
			end_session(a, why.msg);
			if (a->s.over)
				return ret;
			*err = (struct kho_err)KHO_ERR_INIT;
		} else if (ret < 0 && ret != -EAGAIN) {
			return ret;
		}
	}
}

void kho_agent_init(struct kho_agent *a, const struct kho_agent_conf *conf)
{
	*a = (struct kho_agent){ .conf = conf };
	kho_link_faults_init(&a->faults, kho_agent_fault_fired, a);
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->machine_lock, NULL);
	pthread_mutex_init(&a->journal_lock, NULL);
	a->env = (struct kho_env){ .ops = &kho_agent_env_ops, .arg = a, .incoming = true, .sysroot = "" };
}

void kho_agent_done(struct kho_agent *a)
{
	kho_agent_files_drop(a);
	while (a->sers) {
		struct kho_ser_slot *s = a->sers;

		a->sers = s->next;
		pthread_mutex_destroy(&s->busy);
		free(s);
	}
	while (a->told) {
		struct kho_agent_told *t = a->told;

		a->told = t->earlier;
		kho_agent_told_free(t);
	}
	kho_entrusted_done(&a->trust);
	kho_link_faults_done(&a->faults);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->machine_lock);
	pthread_mutex_destroy(&a->journal_lock);
}

/* What the outgoing kernel that has ended has not asked for any more. */
static void go_on(struct kho_agent *a)
{
	if (!a->outgoing_end && a->ledger)
		a->outgoing_end = kho_agent_ended(a->ledger);
	if (!a->outgoing_end)
		return;
	if (!a->committed && (!strcmp(a->outgoing_end, "panicked") || !strcmp(a->outgoing_end, "silent")))
		kho_agent_complete(a);
	else if (a->committed && strcmp(a->outgoing_end, "retired"))
		kho_agent_rest(a, "the outgoing kernel ended before it had sent its last words");
}

/* The link is over. With a commit, what the outgoing kernel leaves is ours, told or not. */
static void settle(struct kho_agent *a)
{
	struct kho_err err = KHO_ERR_INIT;
	bool join;

	go_on(a);
	if (a->committed && kho_agent_take_over(a, &err) < 0)
		a->conf->say("take-over: %s", err.msg);
	kho_pool_done(&a->pool);
	pthread_mutex_lock(&a->lock);
	join = a->retiring;
	pthread_mutex_unlock(&a->lock);
	if (join)
		pthread_join(a->retire_thread, NULL);
	else
		a->conf->say("the outgoing kernel is gone, and nothing was committed");
	kho_agent_deputy_end(a);
}

/* What an agent does, and its deputy after it (alone: nobody is left on the link): 0, or why the link broke. */
static int to_the_end(struct kho_agent *a, struct kho_err *err)
{
	int ret = a->alone ? 0 : serve(a, err);

	settle(a);
	return ret;
}

static void carry_on(struct kho_agent *a)
{
	struct kho_err err = KHO_ERR_INIT;

	if (to_the_end(a, &err) < 0)
		a->conf->say("%s", err.msg);
	kho_stream_done(&a->s);
}

int kho_agent_run(const struct kho_agent_conf *conf, struct kho_err *err)
{
	struct kho_agent a;
	int ret;

	kho_agent_init(&a, conf);
	ret = kho_stream_init(&a.s, &conf->transport, false, err);
	if (ret < 0) {
		kho_agent_done(&a);
		return ret;
	}
	a.s.faults = &a.faults;
	a.carry_on = carry_on;
	ret = kho_pool_init(&a.pool, err);
	if (!ret) {
		struct kho_err state = KHO_ERR_INIT;

		if (conf->machine->state(conf->machine->arg, KHO_STATE_READY, &state) < 0)
			conf->say("cannot say in the ledger that we are ready: %s", state.msg);
		a.ledger = conf->machine->ledger(conf->machine->arg, &state);
		kho_agent_hello(&a);
		ret = to_the_end(&a, err);
	}
	kho_stream_done(&a.s);
	kho_agent_done(&a);
	return ret;
}
