// SPDX-License-Identifier: GPL-2.0-only
/*
 * precopy: every serializer preserves what it can while everything runs, in rounds until none gains
 * by another (and, with a limit of the blackout, until it can be kept: converge.h); the first round's
 * blob lets the peer warm up.  Also makes the threads of the blackout.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/context.h"
#include "orchestrator/converge.h"
#include "orchestrator/gates.h"
#include "orchestrator/lanes.h"
#include "orchestrator/precopy.h"
#include "orchestrator/step_list.h"

#define BLOBS "blobs" /* below run_dir */

struct rounds {
	struct kho_upgrade *u;
	bool more[KHO_SERIALIZERS_MAX]; /* by serializer: wants to be called in this round */
	unsigned round;
	bool again;	/* somebody gains by another round */
	bool there;	/* what failed is the peer's */
	uint64_t bytes; /* of blobs, this round */
};

/* What the peer is told, for who wants to look: khoctl image show. Nothing else reads it. */
static void keep_blob(struct kho_upgrade *u, const struct kho_serializer *s,
		      const struct kho_blob *b)
{
	_cleanup_free_ char *dir = NULL, *path = NULL;

	if (b->len && asprintf(&dir, "%s/" BLOBS, u->plan->world.run_dir) > 0 &&
	    asprintf(&path, "%s/%s.preserve", dir, s->name) > 0 && kho_mkdir(dir, NULL) == 0)
		(void)!kho_write_file(path, b->data, b->len, NULL);
}

static void drop_blobs(struct kho_upgrade *u)
{
	_cleanup_free_ char *dir = NULL;

	if (asprintf(&dir, "%s/" BLOBS, u->plan->world.run_dir) < 0)
		return;
	for (size_t i = 0; u->serializers[i]; i++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s.preserve", dir, u->serializers[i]->name) > 0)
			(void)!unlink(path);
	}
	(void)!rmdir(dir);
}

static int preserve_one(struct rounds *r, const struct kho_serializer *s, bool *more,
			struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	struct kho_blob blob = { 0 };
	int rc;

	*more = false;
	rc = s->preserve ? s->preserve(&u->engine->env, r->round, &blob, more, err) : 0;
	if (rc < 0)
		kho_wrap(err, "preserve %s", s->name);
	if (rc == 0 && r->round == 0)
		keep_blob(u, s, &blob);
	if (rc == 0 && r->round == 0 && s->prepare) {
		rc = kho_context_peer(u, s, "prepare", &blob, NULL, err);
		r->there = rc < 0;
	}
	r->bytes += blob.len;
	r->again |= *more;
	kho_blob_done(&blob);
	return rc;
}

static int tell_round(struct rounds *r, unsigned round, uint64_t bytes, uint64_t us, struct kho_err *err)
{
	struct json_object *ev = kho_event_new("progress"), *rec = kho_record_new("precopy");

	kho_json_int(ev, "round", round);
	kho_json_int(ev, "bytes", (int64_t)bytes);
	kho_json_int(ev, "us", (int64_t)us);
	kho_events_emit(r->u->events, ev);
	kho_json_int(rec, "round", round);
	kho_json_int(rec, "bytes", (int64_t)bytes);
	kho_json_int(rec, "us", (int64_t)us);
	return kho_journal_add(r->u->journal, rec, err);
}

static int one_round(struct rounds *r, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	uint64_t put = atomic_load(&u->put_bytes), begin = kho_clock_us();
	int rc = 0;

	r->again = false;
	r->bytes = 0;
	u->engine->env.last_round = r->round + 1 >= u->plan->config.precopy_rounds;
	for (size_t i = 0; u->serializers[i] && rc == 0; i++) {
		if (r->round && !r->more[i])
			continue;
		rc = kho_context_check(u, err);
		if (rc == 0)
			rc = preserve_one(r, u->serializers[i], &r->more[i], err);
	}
	r->round++;
	return rc < 0 ? rc
		      : tell_round(r, r->round - 1, r->bytes + atomic_load(&u->put_bytes) - put,
				   kho_clock_us() - begin, err);
}

/* Once more, for those whose workloads have written since; until no further round pays them, so that all is ready for the freeze again. */
static int again(void *arg, struct kho_err *err)
{
	struct rounds *r = arg;
	int rc;

	for (size_t i = 0; r->u->serializers[i]; i++)
		r->more[i] = r->u->serializers[i]->dirty;
	do {
		rc = one_round(r, err);
	} while (rc == 0 && r->again);
	return rc;
}

/* Should this kernel end while the state is across: the other one can go on alone. */
static int entrust(struct kho_upgrade *u, struct kho_err *err)
{
	const char *policy = u->plan->config.outgoing_panic;
	_cleanup_(kho_blob_done) struct kho_blob record = { 0 };
	const char *names[KHO_SERIALIZERS_MAX + 1] = { NULL };
	int rc;

	if (!u->engine->ops->entrust)
		return 0;
	for (size_t i = 0; u->serializers[i]; i++)
		names[i] = u->serializers[i]->name;
	rc = kho_logfile_bytes(kho_journal_file(u->journal), &record, err);
	return rc < 0 ? rc
		      : u->engine->ops->entrust(u->engine, names, &record, !policy || !strcmp(policy, "complete"), err);
}

static int all_rounds(struct rounds *r, struct kho_err *err)
{
	int rc;

	if (kho_serializers_count(r->u->serializers) > KHO_SERIALIZERS_MAX)
		return kho_fail(err, -E2BIG, "more than %u serializers", KHO_SERIALIZERS_MAX);
	do {
		rc = one_round(r, err);
	} while (rc == 0 && r->again && r->round < r->u->plan->config.precopy_rounds);
	return rc;
}

int kho_precopy_rounds(struct kho_upgrade *u, bool *out_there, struct kho_err *err)
{
	struct rounds r = { .u = u };
	int rc = all_rounds(&r, err);

	*out_there = r.there;
	return rc;
}

int kho_step_precopy(struct kho_upgrade *u, struct kho_err *err)
{
	struct rounds r = { .u = u };
	int rc = kho_gates_watch(u, err);

	if (rc == 0)
		rc = all_rounds(&r, err);
	if (rc == 0)
		rc = kho_converge(u, again, &r, err);
	kho_gates_watched(u);
	if (rc == 0)
		rc = kho_context_check(u, err);
	if (rc == 0)
		rc = entrust(u, err);
	return rc < 0 ? rc : kho_lanes_new(u, &u->lanes, err);
}

int kho_undo_precopy(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	size_t n = kho_serializers_count(u->serializers);
	int first = 0;

	while (n-- > 0) {
		const struct kho_serializer *s = u->serializers[n];
		int rc;

		if (s->unprepare)
			kho_first_failure(kho_context_peer_undo(u, s, "unprepare", &one), &one,
					  &first, err);
		if (!s->unpreserve)
			continue;
		rc = s->unpreserve(&u->engine->env, &one);
		kho_first_failure(rc < 0 ? kho_wrap(&one, "unpreserve %s", s->name) : 0, &one,
				  &first, err);
	}
	drop_blobs(u);
	return first;
}
