// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alone: the outgoing side ends before the upgrade is through, and this side does what is left.
 *
 *   not committed   the outgoing KERNEL has panicked or is silent.  With everything that was entrusted retrieved and
 *                   verified it is fenced first (so that nothing is done twice), then this side signs for
 *                   both, and what the other one would have asked for is done.  With anything missing this
 *                   kernel keeps quiet: nobody may see half of a machine.
 *   committed       it has panicked, or only its khoctl is gone: the rest is done, too; a kernel whose khoctl does not come
 *                   back (khoctl resume there) is ended by fencing, as everything is here.
 *
 * What is known of the other side's undo: it discards here before it lets anything go there, or stops this
 * kernel.  So who still has everything may complete it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handover/incoming/agent_impl.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/record.h"

#define REQUESTS_US 100000000 /* what was asked for before the end may take so long */
#define SILENT_TICKS 40	      /* of KHO_AGENT_TICK_US, looked at as often: a machine that stood still as a whole is not silent */
#define REST_TICKS 12	      /* committed, and its khoctl is gone: what is left is done then ... */
#define FENCE_TICKS 240	      /* ... and its kernel ended */

/* --- what the other side has told us for this case --- */

void kho_entrusted_done(struct kho_entrusted *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->names[i]);
	free(t->names);
	free(t->journal);
	*t = (struct kho_entrusted){ 0 };
}

int kho_agent_keep_journal(struct kho_agent *a, const void *data, size_t len, struct kho_err *err)
{
	void *copy = malloc(len + 1);

	if (!copy)
		return kho_fail(err, -ENOMEM, "keep the journal");
	if (len)
		memcpy(copy, data, len);
	free(a->trust.journal);
	a->trust.journal = copy;
	a->trust.len = len;
	return 0;
}

int kho_agent_entrust(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__Entrust *e = rq->m->entrust;
	struct kho_entrusted *t = &a->trust;

	if (a->committed)
		return kho_fail(err, -EPERM, "entrust: the upgrade is committed");
	kho_entrusted_done(t);
	t->names = calloc(e->n_serializer + 1, sizeof(*t->names));
	for (size_t i = 0; t->names && i < e->n_serializer; i++, t->n++) {
		if (!a->conf->find(e->serializer[i]))
			return kho_fail(err, -ENOENT, "entrust: no serializer '%s' here", e->serializer[i]);
		t->names[i] = strdup(e->serializer[i]);
		if (!t->names[i])
			break;
	}
	if (!t->names || t->n < e->n_serializer)
		return kho_fail(err, -ENOMEM, "entrust");
	t->complete = e->complete;
	return kho_agent_keep_journal(a, e->record.data, e->record.len, err);
}

/* --- operations of serializers that nobody asks for --- */

int kho_agent_one_op(struct kho_agent *a, const char *name, const char *what, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Op o = KHO_LINK__OP__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_request rq = { .m = &m, .begin_us = kho_clock_us() };
	char phase[64];
	int ret;

	kho_link__reply__init(&rq.reply);
	o.serializer = (char *)name;
	o.op = (char *)what;
	m.body_case = KHO_LINK__MSG__BODY_OP;
	m.op = &o;
	m.deadline_us = deadline_us;
	ret = kho_agent_op(a, &rq, err);
	for (size_t i = 0; !ret && i < rq.report.n; i++)
		if (rq.report.items[i].verdict == KHO_V_NO)
			ret = kho_fail(err, -EBADMSG, "%s: %s", rq.report.items[i].subject, rq.report.items[i].what);
	free(rq.reply.items);
	kho_report_done(&rq.report);
	if (ret < 0)
		return kho_wrap(err, "%s %s", what, name);
	snprintf(phase, sizeof(phase), "%s %s", what, name);
	kho_agent_note_phase(a, phase, rq.begin_us, kho_clock_us());
	return 0;
}

/* What has been done is not done again (kho_agent_op()). */
int kho_agent_op_all(struct kho_agent *a, const char *what, unsigned flag, bool with, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < a->trust.n; i++) {
		const struct kho_serializer *s = a->conf->find(a->trust.names[i]);

		if (!flag || !!(s->flags & flag) == with)
			kho_first_failure(kho_agent_one_op(a, s->name, what, 0, &one), &one, &first, err);
	}
	return first;
}

int kho_agent_do_rest(struct kho_agent *a, uint64_t *gate_us, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	kho_first_failure(kho_agent_op_all(a, "finish", KHO_SER_GATE, true, &one), &one, &first, err);
	*gate_us = kho_clock_us();
	kho_first_failure(kho_agent_op_all(a, "finish", KHO_SER_GATE, false, &one), &one, &first, err);
	kho_first_failure(kho_agent_op_all(a, "tidy", 0, true, &one), &one, &first, err);
	return first;
}

/* --- not committed --- */

static int is_all_here(struct kho_agent *a, struct kho_err *err)
{
	for (size_t i = 0; i < a->trust.n; i++) {
		const struct kho_serializer *s = a->conf->find(a->trust.names[i]);
		bool here = !s->retrieve;

		pthread_mutex_lock(&a->lock);
		for (struct kho_ser_slot *o = a->sers; o; o = o->next)
			here |= o->ser == s && o->done->retrieved;
		pthread_mutex_unlock(&a->lock);
		if (!here)
			return kho_fail(err, -ENODATA, "not everything has come across: %s has not", s->name);
	}
	return 0;
}

static int may_complete(struct kho_agent *a, struct kho_err *err)
{
	int ret;

	if (!a->trust.n)
		return kho_fail(err, -ENODATA, "it ended before the workloads were frozen");
	if (!a->trust.complete)
		return kho_fail(err, -ECANCELED, "outgoing-panic = wait: a person decides");
	if (kho_pool_wait(&a->pool, kho_clock_us() + REQUESTS_US) < 0)
		return kho_fail(err, -ETIMEDOUT, "a request that was under way does not come back");
	ret = is_all_here(a, err);
	return ret < 0 ? ret : kho_agent_op_all(a, "verify", 0, true, err);
}

int kho_agent_sign_alone(struct kho_agent *a, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("signed");
	int ret;

	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	kho_json_bool(rec, "alone", true);
	kho_agent_note(a, rec);
	ret = kho_agent_save(a, err);
	return ret < 0 ? ret : kho_agent_sign(a, err);
}

static int sign(struct kho_agent *a, uint64_t begin_us, struct kho_err *err)
{
	if (begin_us)
		kho_agent_note_blackout(a, begin_us, 0);
	kho_agent_note_takeover(a, a->outgoing_end);
	return kho_agent_sign_alone(a, err);
}

/* Signed by this side alone: what is left of the upgrade. */
static void complete(struct kho_agent *a, uint64_t begin_us)
{
	struct kho_err err = KHO_ERR_INIT, late = KHO_ERR_INIT;
	uint64_t gate_us = 0;
	char msg[600];
	int ret = kho_agent_do_rest(a, &gate_us, &err);

	if (begin_us)
		kho_agent_note_blackout(a, begin_us, gate_us);
	snprintf(msg, sizeof(msg), "the outgoing kernel %s in the blackout; this one has completed the upgrade alone%s%s",
		 strcmp(a->outgoing_end, "silent") ? "panicked" : "hung", ret < 0 ? ": " : "", ret < 0 ? err.msg : "");
	kho_agent_note_end(a, KHO_OUTCOME(ret), msg);
	if (kho_agent_save(a, &late) < 0)
		a->conf->say("journal: %s", late.msg);
	a->conf->say("%s", msg);
}

void kho_agent_complete(struct kho_agent *a)
{
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT, state = KHO_ERR_INIT;
	uint64_t begin_us = kho_agent_frozen_us(a->ledger);
	int ret;

	a->alone = true;
	ret = may_complete(a, &err);
	if (!ret && !strcmp(a->outgoing_end, "panicked"))
		kho_agent_wait_log(a);
	if (!ret)
		ret = m->fence ? m->fence(m->arg, &err) : kho_fail(&err, -ENOSYS, "this machine has no fence");
	if (!ret)
		ret = sign(a, begin_us, &err);
	if (ret < 0) {
		a->conf->say("the outgoing kernel %s; this one keeps quiet: %s", a->outgoing_end, err.msg);
		/* who waits there for us waits no longer, and resets the machine if it was told so */
		if (m->state(m->arg, KHO_STATE_READY, &state) < 0)
			a->conf->say("state in the ledger: %s", state.msg);
		return;
	}
	complete(a, begin_us);
}

/* --- committed --- */

void kho_agent_rest(struct kho_agent *a, const char *why)
{
	struct kho_err err = KHO_ERR_INIT;
	bool left = false;
	uint64_t gate_us;
	int ret;

	pthread_mutex_lock(&a->lock);
	for (struct kho_ser_slot *s = a->sers; s; s = s->next)
		left |= s->done->retrieved && ((s->ser->finish && !s->done->finished) || (s->ser->tidy && !s->done->tidied));
	pthread_mutex_unlock(&a->lock);
	if (!left && a->conf->shared->told_end)
		return;
	a->alone = true;
	kho_agent_note_takeover(a, why);
	ret = kho_agent_do_rest(a, &gate_us, &err);
	if (ret < 0)
		a->conf->say("%s: %s", why, err.msg);
	if (left && kho_agent_frozen_us(a->ledger))
		kho_agent_note_blackout(a, kho_agent_frozen_us(a->ledger), gate_us);
	kho_agent_note_end(a, KHO_OUTCOME(ret), ret < 0 ? err.msg : why);
	a->conf->shared->told_end = true;
	if (kho_agent_save(a, &err) < 0)
		a->conf->say("journal: %s", err.msg);
}

/* --- watching --- */

static bool is_silent(struct kho_agent *a)
{
	uint64_t beats = a->ledger->side[KHO_SIDE_OUTGOING].heartbeat;

	a->still = beats == a->beats ? a->still + 1 : 0;
	a->beats = beats;
	return a->still >= SILENT_TICKS;
}

/* Its khoctl has closed the link after the commit, and has not come back. */
static void look_for_khoctl(struct kho_agent *a)
{
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT;

	a->closed = a->ledger->side[KHO_SIDE_OUTGOING].link_open ? 0 : a->closed + 1;
	if (a->closed == REST_TICKS)
		kho_agent_rest(a, "its khoctl ended after the commit; this kernel did what was left");
	if (a->closed != FENCE_TICKS || !m->fence)
		return;
	a->conf->say("the outgoing kernel was left behind by its khoctl: it is ended");
	if (m->fence(m->arg, &err) < 0)
		a->conf->say("%s", err.msg);
}

bool kho_agent_watch(struct kho_agent *a)
{
	bool dark = false;

	if (!a->ledger)
		return false;
	if (a->committed) {
		look_for_khoctl(a);
		return false;
	}
	pthread_mutex_lock(&a->lock);
	for (struct kho_ser_slot *s = a->sers; s; s = s->next)
		dark |= s->dark;
	pthread_mutex_unlock(&a->lock);
	return is_silent(a) && dark && a->trust.n;
}
