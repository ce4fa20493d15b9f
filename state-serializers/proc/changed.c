// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the blackout would still have to copy if it began now: memory that was written since the last round, as the kernel tells it
 * (dirty.h), and how long that takes, as the rounds have shown.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "state-serializers/proc/dirty.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/thaw.h"

#define LOOK_US 5000000ull /* CRIU looks through the same memory in the blackout: more than that is none to be had */

void kho_proc_copied(struct kho_proc_out *o, uint64_t bytes, uint64_t us)
{
	if (!o->all_bytes) {
		o->first_bytes = bytes;
		o->first_us = us;
	}
	o->all_bytes += bytes;
	o->last_bytes = bytes;
	o->last_us = us;
	for (size_t i = 0; i < o->n; i++)
		o->w[i].dirty_us = 0;
}

/*
 * Two rounds that differ tell what a byte costs; what a round costs by itself the blackout's model has already. From one round, or two
 * like each other, the whole of it is laid on its bytes.
 */
uint64_t kho_proc_copy_us(const struct kho_proc_out *o, uint64_t bytes)
{
	double cost;

	if (!o->first_bytes)
		return 0;
	if (o->first_bytes / 2 > o->last_bytes && o->first_us > o->last_us)
		cost = (double)(o->first_us - o->last_us) / (double)(o->first_bytes - o->last_bytes);
	else
		cost = (double)(o->first_us + o->last_us) / (double)(o->first_bytes + o->last_bytes);
	return (uint64_t)((double)bytes * cost);
}

static int count(const struct kho_proc_out_wl *w, enum kho_dirty_way way, uint64_t deadline_us, uint64_t *out, struct kho_err *err)
{
	struct kho_dirty_count c = { 0 };
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(w->root, &pids);
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = kho_dirty_add(&c, pids[i], way, deadline_us, err);
	*out = kho_dirty_bytes(&c);
	kho_dirty_count_done(&c);
	return rc < 0 ? kho_wrap(err, "workload %s", w->name) : 0;
}

/* Since it was looked at last, or else since the last round. */
static uint64_t rate(const struct kho_proc_out_wl *w, uint64_t bytes, uint64_t now_us)
{
	uint64_t from = w->dirty_us ? w->dirty_us : w->cleared_us, had = w->dirty_us ? w->dirty_bytes : 0;

	return bytes > had && now_us > from ? (uint64_t)((double)(bytes - had) * 1e6 / (double)(now_us - from)) : 0;
}

/* All rounds stay with the peer until their pages are in the processes: its memory is the limit, and how long a chain of images may be. */
unsigned kho_proc_rounds_left(const struct kho_proc_out *o, uint64_t bytes)
{
	uint64_t used = o->paid_bytes ? o->all_bytes - o->paid_bytes : 0, left = o->first_bytes > used && bytes ? (o->first_bytes - used) / bytes : 0;
	unsigned most = 0;

	for (size_t i = 0; i < o->n; i++)
		most = o->w[i].rounds > most ? o->w[i].rounds : most;
	if (bytes <= KHO_PROC_CONVERGED || most >= KHO_PROC_AGAIN_MAX)
		return 0;
	return left < KHO_PROC_AGAIN_MAX - most ? (unsigned)left : KHO_PROC_AGAIN_MAX - most;
}

int kho_proc_dirty(struct kho_env *env, struct kho_dirty *out, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	uint64_t deadline = kho_clock_us() + LOOK_US;
	enum kho_dirty_way way = KHO_DIRTY_SCAN;
	int rc = o->n ? kho_dirty_choose(&way, err) : 0;

	(void)env;
	*out = (struct kho_dirty){ 0 };
	if (!rc && o->n && !o->mem_track)
		rc = kho_fail(err, -EOPNOTSUPP, "CRIU cannot tell which pages were changed");
	out->w = calloc(o->n + 1, sizeof(*out->w));
	if (!rc && !out->w)
		rc = kho_fail(err, -ENOMEM, "changed pages: out of memory");
	for (size_t i = 0; !rc && i < o->n; i++) {
		struct kho_dirty_workload *w = &out->w[out->n++];
		uint64_t now = kho_clock_us();

		w->name = o->w[i].name;
		rc = count(&o->w[i], way, deadline, &w->bytes, err);
		w->bytes_per_s = rate(&o->w[i], w->bytes, now);
		o->w[i].dirty_bytes = w->bytes;
		o->w[i].dirty_us = now;
		out->bytes += w->bytes;
	}
	if (rc) {
		kho_dirty_done(out);
		return rc;
	}
	out->how = kho_dirty_way_name(way);
	out->copy_us = kho_proc_copy_us(o, out->bytes);
	if (!o->paid_bytes)
		o->paid_bytes = o->all_bytes;
	out->again = kho_proc_rounds_left(o, out->bytes);
	return 0;
}
