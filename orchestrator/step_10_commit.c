// SPDX-License-Identifier: GPL-2.0-only
/*
 * commit: both sides sign; from then on there is no way back but another upgrade.  Then everything
 * becomes visible on the incoming kernel: first of all the network.  THE BLACKOUT ENDS when the
 * serializer with KHO_SER_GATE has finished; each of the others would be a round trip before that.
 *
 * A failed signature is a failure before the commit: the engine returns an error only when the peer
 * has not signed.
 */
#include "handover/uapi/khoctl_region.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/context.h"
#include "orchestrator/fire.h"
#include "orchestrator/step_list.h"

static int sign(struct kho_upgrade *u, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	struct json_object *rec = kho_context_signed(begin);
	struct kho_blob record = { 0 };
	int rc = kho_context_check(u, err);

	/* the peer keeps it only if it signs, and this may be the last that it gets */
	if (rc == 0)
		rc = kho_journal_bytes_with(u->journal, rec, &record, err);
	if (rc == 0)
		rc = u->engine->ops->commit(u->engine, &record, err);
	kho_blob_done(&record);
	if (rc < 0) {
		json_object_put(rec);
		return kho_wrap(err, "sign");
	}
	(void)!kho_fault_fire(u, KHO_STEP_SIGNS, KHO_FAULT_SIGNED, NULL);
	atomic_store(&u->committed, true);
	(void)!kho_journal_add(u->journal, rec, NULL);
	kho_context_phase(u, "sign", begin, kho_clock_us());
	return 0;
}

static void finish_all(struct kho_upgrade *u, bool gate, int *first, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;

	for (size_t i = 0; u->serializers[i]; i++) {
		const struct kho_serializer *s = u->serializers[i];

		if (s->finish && gate == !!(s->flags & KHO_SER_GATE))
			kho_first_failure(kho_context_peer_twice(u, s, "finish", KHO_FAULT_FINISH, &one), &one, first, err);
	}
}

static void end_of_blackout(struct kho_upgrade *u)
{
	u->blackout_end_us = kho_clock_us();
}

static void journal_blackout(struct kho_upgrade *u)
{
	struct json_object *rec = kho_record_new("blackout"), *ev = kho_event_new("blackout");

	kho_json_int(rec, "begin_us", (int64_t)u->blackout_begin_us);
	kho_json_int(rec, "end_us", (int64_t)u->blackout_end_us);
	(void)!kho_journal_add(u->journal, rec, NULL);
	kho_json_int(ev, "us", (int64_t)(u->blackout_end_us - u->blackout_begin_us));
	kho_events_emit(u->events, ev);
}

int kho_step_commit(struct kho_upgrade *u, struct kho_err *err)
{
	/* signed already: somebody else's upgrade is being resumed; what was finished is not finished twice there */
	int first = 0, rc = atomic_load(&u->committed) ? 0 : sign(u, err);
	bool ended = u->blackout_end_us;

	if (rc < 0)
		return rc;
	finish_all(u, true, &first, err);
	if (!ended)
		end_of_blackout(u);
	finish_all(u, false, &first, err);
	if (!ended)
		journal_blackout(u);
	return first;
}
