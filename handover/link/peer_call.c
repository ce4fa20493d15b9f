// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the agent: sequence numbers, waiting, the receiver thread, slots of the bulk area.
 * Everything here runs inside the blackout too: no allocation beyond the message itself.
 */
#include "handover/link/peer_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"

/* Wait on the peer's condition (lock held) until the deadline; false when it has passed. */
static bool wait_until(struct kho_peer *p, uint64_t deadline_us)
{
	uint64_t now = kho_clock_us(), left;
	struct timespec ts;

	if (!deadline_us) {
		pthread_cond_wait(&p->cond, &p->lock);
		return true;
	}
	if (now >= deadline_us)
		return false;
	left = deadline_us - now;
	if (left > 3600000000ULL)
		left = 3600000000ULL;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += left / 1000000;
	ts.tv_nsec += left % 1000000 * 1000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	pthread_cond_timedwait(&p->cond, &p->lock, &ts);
	return true;
}

static int dead_error(const struct kho_peer *p, struct kho_err *err)
{
	return kho_fail(err, p->why.code, "%s", p->why.msg);
}

void kho_peer_give_up(struct kho_peer *p, const struct kho_err *why)
{
	pthread_mutex_lock(&p->lock);
	if (!p->dead) {
		p->dead = true;
		p->why = *why;
	}
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

bool kho_peer_lost(struct kho_peer *p, struct kho_err *why)
{
	bool ret;

	pthread_mutex_lock(&p->lock);
	ret = p->dead;
	if (ret)
		dead_error(p, why);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* An echo that nobody waits for: whatever comes back ends the doubt. */
static void ask(struct kho_peer *p, uint64_t seq)
{
	KhoLink__Echo echo = KHO_LINK__ECHO__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	m.seq = seq;
	m.body_case = KHO_LINK__MSG__BODY_ECHO;
	m.echo = &echo;
	(void)!kho_stream_send(&p->s, &m, 0, kho_clock_us() + 1000, NULL);
}

/* Nothing has come for too long (lock held). */
static void die_silent(struct kho_peer *p)
{
	p->dead = true;
	kho_fail(&p->why, -EPIPE,
		 "the incoming kernel's agent has been silent for %" PRIu64 " ms",
		 (kho_clock_us() - p->heard_us) / 1000);
	pthread_cond_broadcast(&p->cond);
}

/*
 * wait_until() for one that waits for the agent, which may take as long as the deadline allows, but
 * must not be silent: its receiving thread answers an echo at once, whatever the others do.
 * An operation of minutes would else hide that nobody is there.
 */
static bool wait_agent(struct kho_peer *p, uint64_t deadline_us)
{
	uint64_t now = kho_clock_us(), tick = now + p->quiet_us, seq = 0;

	if (p->asked_us > p->heard_us && now - p->asked_us > p->silent_us) {
		die_silent(p);
		return true;
	}
	if (p->asked_us <= p->heard_us && now > p->heard_us + p->quiet_us) {
		p->asked_us = now;
		seq = p->next_seq++;
	}
	if (seq) {
		pthread_mutex_unlock(&p->lock);
		ask(p, seq);
		pthread_mutex_lock(&p->lock);
		return true;
	}
	if (deadline_us && deadline_us < tick)
		return wait_until(p, deadline_us);
	(void)wait_until(p, tick);
	return true;
}

/* --- slots (lock held) --- */

static void slot_free(struct kho_peer *p, int64_t slot)
{
	if (slot >= 0)
		p->free_slots[p->nfree++] = slot;
}

void kho_peer_slot_put(struct kho_peer *p, int64_t slot)
{
	pthread_mutex_lock(&p->lock);
	slot_free(p, slot);
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

int64_t kho_peer_slot_get(struct kho_peer *p, uint64_t deadline_us, struct kho_err *err)
{
	int64_t ret;

	pthread_mutex_lock(&p->lock);
	while (!p->nfree && !p->dead)
		if (!wait_agent(p, deadline_us))
			break;
	if (p->dead)
		ret = dead_error(p, err);
	else if (!p->nfree)
		ret = kho_fail(err, -ETIMEDOUT,
			       "no room in the bulk area: the peer does not empty it");
	else
		ret = p->free_slots[--p->nfree];
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* --- sending --- */

/* false: it was not there any more. */
static bool unlink_pending(struct kho_peer *p, struct kho_pending *w)
{
	struct kho_pending **at = &p->pending;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = w->next;
	return true;
}

static void free_pending(struct kho_pending *w)
{
	kho_msg_free(w->reply);
	free(w);
}

/*
 * A call has timed out: is the peer slow, or gone?  An echo that nobody waits for tells; until
 * something arrives new calls wait for that, and no longer than it may be silent.
 */
static void doubt(struct kho_peer *p)
{
	uint64_t seq;

	pthread_mutex_lock(&p->lock);
	seq = p->doubt_us ? 0 : p->next_seq++;
	if (!p->doubt_us)
		p->doubt_us = kho_clock_us();
	pthread_mutex_unlock(&p->lock);
	if (seq)
		ask(p, seq);
}

/*
 * Lock held: fails when the link is dead, or becomes so because nothing comes after a call has
 * timed out.  The verdict must be sure: without the agent its kernel is stopped.
 */
static int check_alive(struct kho_peer *p, struct kho_err *err)
{
	while (!p->dead && p->doubt_us) {
		uint64_t least = p->doubt_us + KHO_ALIVE_US, limit = p->heard_us + p->silent_us;

		if (!wait_until(p, limit > least ? limit : least))
			die_silent(p);
	}
	return p->dead ? dead_error(p, err) : 0;
}

/*
 * The message did not leave. Whoever answered it all the same has freed w, if nobody waits for it.
 */
static void unpost(struct kho_peer *p, struct kho_pending *w, bool orphan, int code,
		   const struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;

	pthread_mutex_lock(&p->lock);
	if (unlink_pending(p, w)) {
		slot_free(p, w->slot);
		if (w->transfer)
			w->transfer->flying--;
		free_pending(w);
	} else if (!orphan) {
		free_pending(w);
	}
	pthread_mutex_unlock(&p->lock);
	if (p->s.torn || code == -EPIPE) {
		kho_fail(&why, code, "%s", err ? err->msg : "the peer is gone");
		kho_peer_give_up(p, &why);
	}
}

/*
 * Number the message, enter it into the list, send it. On failure w is freed and its slot is free.
 */
static int post(struct kho_peer *p, KhoLink__Msg *m, struct kho_pending *w, uint64_t deadline_us,
		struct kho_err *err)
{
	bool orphan = w->orphan;
	int ret;

	pthread_mutex_lock(&p->lock);
	ret = check_alive(p, err);
	if (!ret) {
		if (!p->pending && p->asked_us <= p->heard_us)
			p->heard_us = kho_clock_us(); /* nobody waited: not silent until now */
		m->seq = w->seq = p->next_seq++;
		m->deadline_us = deadline_us;
		w->next = p->pending;
		p->pending = w;
		if (w->transfer)
			w->transfer->flying++;
	} else {
		slot_free(p, w->slot);
	}
	pthread_mutex_unlock(&p->lock);
	if (ret) {
		free_pending(w);
		return ret;
	}
	ret = kho_stream_send(&p->s, m, 0, deadline_us, err);
	if (ret < 0)
		unpost(p, w, orphan, ret, err);
	return ret;
}

static struct kho_pending *new_pending(struct kho_peer *p, const KhoLink__Msg *m, int64_t slot,
				       struct kho_err *err)
{
	struct kho_pending *w = calloc(1, sizeof(*w));

	if (w) {
		w->slot = slot;
		w->what = kho_msg_name(m);
		return w;
	}
	if (slot >= 0)
		kho_peer_slot_put(p, slot);
	kho_fail(err, -ENOMEM, "call of the peer");
	return NULL;
}

int kho_peer_post(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, struct kho_transfer *tr,
		  uint64_t deadline_us, struct kho_err *err)
{
	struct kho_pending *w = new_pending(p, m, slot, err);

	if (!w)
		return -ENOMEM;
	w->transfer = tr;
	w->orphan = true;
	return post(p, m, w, deadline_us, err);
}

int kho_peer_wait_posts(struct kho_peer *p, struct kho_transfer *tr, unsigned left,
			uint64_t deadline_us, struct kho_err *err)
{
	int ret = 0;

	pthread_mutex_lock(&p->lock);
	while (!ret && !tr->err.code && tr->flying > left) {
		if (p->dead)
			ret = dead_error(p, err);
		else if (!wait_agent(p, deadline_us))
			ret = kho_fail(err, -ETIMEDOUT, "the agent did not take the data in time");
	}
	if (tr->err.code)
		ret = kho_fail(err, tr->err.code, "%s", tr->err.msg);
	pthread_mutex_unlock(&p->lock);
	if (ret == -ETIMEDOUT)
		doubt(p);
	return ret;
}

void kho_peer_drop_posts(struct kho_peer *p, struct kho_transfer *tr)
{
	pthread_mutex_lock(&p->lock);
	for (struct kho_pending *w = p->pending; w; w = w->next)
		if (w->transfer == tr)
			w->transfer = NULL;
	pthread_mutex_unlock(&p->lock);
}

/* The agent's answer as our result. */
static int result(const KhoLink__Msg *m, struct kho_err *err)
{
	const KhoLink__Reply *r = m->reply;

	if (!r->error)
		return 0;
	return kho_fail(err, r->error, "%s",
			r->text[0] ? r->text : strerror(r->error < 0 ? -r->error : EIO));
}

static int call(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, uint64_t deadline_us,
		KhoLink__Msg **out_reply, struct kho_err *err)
{
	struct kho_pending *w = new_pending(p, m, slot, err);
	uint64_t begin = kho_clock_us();
	int ret;

	if (!w)
		return -ENOMEM;
	ret = post(p, m, w, deadline_us, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&p->lock);
	while (!w->reply && !p->dead)
		if (!wait_agent(p, deadline_us))
			break;
	if (w->reply) {
		ret = result(w->reply, err);
		if (!ret && out_reply) {
			*out_reply = w->reply;
			w->reply = NULL;
		}
		free_pending(w);
	} else {
		ret = p->dead ? dead_error(p, err)
			      : kho_fail(err, -ETIMEDOUT,
					 "the agent has not answered '%s' within %" PRIu64 " ms",
					 w->what, (kho_clock_us() - begin) / 1000);
		w->orphan = true;
	}
	pthread_mutex_unlock(&p->lock);
	if (ret == -ETIMEDOUT)
		doubt(p);
	return ret;
}

int kho_peer_call(struct kho_peer *p, KhoLink__Msg *m, uint64_t deadline_us,
		  KhoLink__Msg **out_reply, struct kho_err *err)
{
	return call(p, m, -1, deadline_us, out_reply, err);
}

int kho_peer_call_slot(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, uint64_t deadline_us,
		       struct kho_err *err)
{
	return call(p, m, slot, deadline_us, NULL, err);
}

/* --- the receiver --- */

/* Takes the message over when somebody waits for it. */
static bool take_reply(struct kho_peer *p, KhoLink__Msg *m)
{
	struct kho_pending *w;
	bool kept = false;

	for (w = p->pending; w && w->seq != m->seq; w = w->next)
		;
	if (!w)
		return false;
	unlink_pending(p, w);
	slot_free(p, w->slot);
	w->slot = -1;
	if (w->transfer) {
		w->transfer->flying--;
		if (m->reply->error && !w->transfer->err.code)
			result(m, &w->transfer->err);
	}
	if (w->orphan) {
		free_pending(w);
	} else {
		w->reply = m;
		kept = true;
	}
	return kept;
}

/* The agent asks us for something: no revision so far has such a message. */
static void refuse(struct kho_peer *p, const KhoLink__Msg *asked)
{
	KhoLink__Reply r = KHO_LINK__REPLY__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	r.error = -ENOSYS;
	r.text = (char *)"the outgoing side knows no such request";
	m.seq = asked->seq;
	m.body_case = KHO_LINK__MSG__BODY_REPLY;
	m.reply = &r;
	(void)!kho_stream_send(&p->s, &m, 0, kho_clock_us() + 100000, NULL);
}

/* 0, or why the session is over. Frees m or hands it on. */
static int handle(struct kho_peer *p, KhoLink__Msg *m, struct kho_err *err)
{
	bool kept = false;
	int ret = 0;

	pthread_mutex_lock(&p->lock);
	p->doubt_us = 0;
	p->heard_us = kho_clock_us();
	if (m->body_case == KHO_LINK__MSG__BODY_REPLY)
		kept = take_reply(p, m);
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	if (kept)
		return 0;
	if (m->body_case == KHO_LINK__MSG__BODY_BYE)
		ret = kho_fail(err, m->bye->error < 0 ? m->bye->error : -EPIPE,
			       "the agent ended the link: %s", m->bye->text);
	else if (m->body_case == KHO_LINK__MSG__BODY_PHASE && p->phase)
		p->phase(p->event_arg, m->phase->name, m->phase->begin_us, m->phase->end_us);
	else if (m->body_case == KHO_LINK__MSG__BODY_NOTE && p->note)
		p->note(p->event_arg, m->note->text);
	else if (m->seq && m->body_case != KHO_LINK__MSG__BODY_REPLY)
		refuse(p, m);
	kho_msg_free(m);
	return ret;
}

/* The peer broke the rules: tell it why, if it still listens. */
static void say_bye(struct kho_peer *p, const struct kho_err *why)
{
	KhoLink__Bye bye = KHO_LINK__BYE__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	bye.error = why->code;
	bye.text = (char *)why->msg;
	m.body_case = KHO_LINK__MSG__BODY_BYE;
	m.bye = &bye;
	(void)!kho_stream_send(&p->s, &m, 0, kho_clock_us() + 100000, NULL);
}

void *kho_peer_receive(void *arg)
{
	struct kho_peer *p = arg;
	struct kho_err why = KHO_ERR_INIT;

	for (;;) {
		KhoLink__Msg *m = NULL;
		unsigned flags;
		int ret = kho_stream_recv(&p->s, p->wake, 0, &m, &flags, &why);

		if (ret == 1)
			ret = handle(p, m, &why);
		else if (!ret)
			ret = kho_fail(&why, -EPIPE, "the incoming kernel is gone");
		else if (ret == -EAGAIN)
			return NULL;
		else
			say_bye(p, &why);
		if (ret < 0)
			break;
	}
	kho_peer_give_up(p, &why);
	return NULL;
}
