// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the agent: sequence numbers, waiting, slots of the bulk area.
 * Everything here runs inside the blackout too: no allocation beyond the message itself.
 */
#include "handover/link/peer_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

#define STOP_LOOK_US 20000 /* a blackout may wait for it */

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
	ts = kho_clock_in(left);
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
	kho_fail(&p->why, -EPIPE, "the incoming kernel's agent has been silent for %" PRIu64 " ms", (kho_clock_us() - p->heard_us) / 1000);
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

void kho_peer_slot_free(struct kho_peer *p, int64_t slot)
{
	if (slot >= 0)
		p->free_slots[p->nfree++] = slot;
}

void kho_peer_slot_put(struct kho_peer *p, int64_t slot)
{
	pthread_mutex_lock(&p->lock);
	kho_peer_slot_free(p, slot);
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

bool kho_peer_unlink(struct kho_peer *p, struct kho_pending *w)
{
	struct kho_pending **at = &p->pending;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = w->next;
	return true;
}

void kho_peer_pending_free(struct kho_pending *w)
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
	if (kho_peer_unlink(p, w)) {
		kho_peer_slot_free(p, w->slot);
		if (w->transfer)
			w->transfer->flying--;
		kho_peer_pending_free(w);
	} else if (!orphan) {
		kho_peer_pending_free(w);
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
static int post(struct kho_peer *p, KhoLink__Msg *m, struct kho_pending *w, uint64_t deadline_us, struct kho_err *err)
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
		kho_peer_slot_free(p, w->slot);
	}
	pthread_mutex_unlock(&p->lock);
	if (ret) {
		kho_peer_pending_free(w);
		return ret;
	}
	ret = kho_stream_send(&p->s, m, 0, deadline_us, err);
	if (ret < 0)
		unpost(p, w, orphan, ret, err);
	return ret;
}

static struct kho_pending *new_pending(struct kho_peer *p, const KhoLink__Msg *m, int64_t slot, struct kho_err *err)
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

int kho_peer_post(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, struct kho_transfer *tr, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_pending *w = new_pending(p, m, slot, err);

	if (!w)
		return -ENOMEM;
	w->transfer = tr;
	w->orphan = true;
	return post(p, m, w, deadline_us, err);
}

int kho_peer_wait_posts(struct kho_peer *p, struct kho_transfer *tr, unsigned left, uint64_t deadline_us, struct kho_err *err)
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

int kho_peer_result(const KhoLink__Msg *m, struct kho_err *err)
{
	const KhoLink__Reply *r = m->reply;

	if (!r->error)
		return 0;
	return kho_fail(err, r->error, "%s",
			r->text[0] ? r->text : strerror(r->error < 0 ? -r->error : EIO));
}

/* Why a call has no answer. */
static int no_answer(const struct kho_peer *p, const struct kho_pending *w, bool stopped, uint64_t begin_us, struct kho_err *err)
{
	if (p->dead)
		return dead_error(p, err);
	if (w->seq < p->deaf_seq)
		return kho_fail(err, -ECONNRESET, "the agent has ended without an answer to '%s'; another process took its place", w->what);
	if (stopped)
		return kho_fail(err, -EINTR, "stopped while the agent works on '%s'", w->what);
	return kho_fail(err, -ETIMEDOUT, "the agent has not answered '%s' within %" PRIu64 " ms", w->what, (kho_clock_us() - begin_us) / 1000);
}

/* Who may be told to stop looks now and then; everybody else waits for an answer. */
static uint64_t next_look(const struct kho_until *until, uint64_t deadline_us)
{
	uint64_t soon = kho_clock_us() + STOP_LOOK_US;

	return until && until->stop && (!deadline_us || soon < deadline_us) ? soon : deadline_us;
}

int kho_peer_call_with(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, const struct kho_until *until, uint64_t deadline_us,
		       KhoLink__Msg **out_reply, struct kho_err *err)
{
	bool stopped = false;
	struct kho_pending *w = new_pending(p, m, slot, err);
	uint64_t begin = kho_clock_us();
	int ret;

	if (!w)
		return -ENOMEM;
	ret = post(p, m, w, deadline_us, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&p->lock);
	while (!w->reply && !p->dead && !stopped && w->seq >= p->deaf_seq) {
		if (!wait_agent(p, next_look(until, deadline_us)) && deadline_us && kho_clock_us() >= deadline_us)
			break;
		stopped = until && until->stop && until->stop(until->arg);
	}
	if (w->reply) {
		ret = kho_peer_result(w->reply, err);
		if (!ret && out_reply) {
			*out_reply = w->reply;
			w->reply = NULL;
		}
		kho_peer_pending_free(w);
	} else {
		ret = no_answer(p, w, stopped, begin, err);
		w->orphan = true;
	}
	pthread_mutex_unlock(&p->lock);
	if (ret == -ETIMEDOUT)
		doubt(p);
	return ret;
}
