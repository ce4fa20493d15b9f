// SPDX-License-Identifier: GPL-2.0-only
/*
 * The receiver thread: answers go to who waits for them, the rest to who looks at the upgrade.
 */
#include <errno.h>

#include "handover/link/peer_impl.h"
#include "lib/clock.h"

/* Takes the message over when somebody waits for it. */
static bool take_reply(struct kho_peer *p, KhoLink__Msg *m)
{
	struct kho_pending *w;
	bool kept = false;

	for (w = p->pending; w && w->seq != m->seq; w = w->next)
		;
	if (!w)
		return false;
	kho_peer_unlink(p, w);
	kho_peer_slot_free(p, w->slot);
	w->slot = -1;
	if (w->transfer) {
		w->transfer->flying--;
		if (m->reply->error && !w->transfer->err.code)
			kho_peer_result(m, &w->transfer->err);
	}
	if (w->orphan) {
		kho_peer_pending_free(w);
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

/* The agent's deputy says hello (lock held). The second hello of one and the same agent is nothing new. */
static void replaced(struct kho_peer *p, const KhoLink__Hello *h)
{
	if (!p->agent_pid || h->pid == p->agent_pid)
		return;
	p->agent_pid = h->pid;
	p->deaf_seq = p->next_seq;
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
	if (m->body_case == KHO_LINK__MSG__BODY_HELLO)
		replaced(p, m->hello);
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
			kho_stream_bye(&p->s, why.code, why.msg, KHO_PEER_BYE_US);
		if (ret < 0)
			break;
	}
	kho_peer_give_up(p, &why);
	return NULL;
}
