// SPDX-License-Identifier: GPL-2.0-only
/* The blackout's threads.  See orchestrator/lanes.h. */
#include "orchestrator/lanes.h"

#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "orchestrator/context.h"
#include "orchestrator/fire.h"

/* An operation that ignores stop gets this long before its lane is given up. */
#define STUCK_US 10000000ull

enum lane_state { LANE_IDLE, LANE_FROZEN, LANE_DRAINED, LANE_RETRIEVED };

struct lane {
	struct kho_lanes *all;
	const struct kho_serializer *s;
	pthread_t thread;
	bool made;
	/* below: under all->lock */
	enum lane_state state;
	bool busy, ended;
	bool may_be_frozen, may_be_retrieved; /* begun: the inverse has to run */
	struct kho_blob blob;
	struct kho_err err;
};

struct kho_lanes {
	struct kho_upgrade *u;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started, quit;
	_Atomic bool stop;
	const struct lane *failed; /* the first one: others end because it has */
	struct lane *lane;
	size_t n;
};

static bool stopped(void *lanes)
{
	const struct kho_lanes *l = lanes;

	return l->stop || atomic_load(&l->u->stop);
}

/* cond_wait that also wakes for u->stop, which nobody signals */
static void wait_changed(struct kho_lanes *l)
{
	const struct timespec ts = kho_clock_in(20000);

	(void)pthread_cond_timedwait(&l->changed, &l->lock, &ts);
}

static bool have_reached(const struct lane *me, const char *const *names, enum lane_state state)
{
	const struct kho_lanes *l = me->all;

	for (const char *const *name = names; name && *name; name++)
		for (size_t i = 0; i < l->n; i++)
			if (!strcmp(l->lane[i].s->name, *name) && l->lane[i].state < state)
				return false;
	return true;
}

static bool needs_met(const struct lane *me)
{
	return have_reached(me, me->s->needs, LANE_FROZEN);
}

static bool drain_needs_met(const struct lane *me)
{
	const struct kho_env *env = &me->all->u->engine->env;

	return have_reached(me, me->s->drain_needs, LANE_FROZEN) &&
	       (env->root_in_ram || have_reached(me, me->s->root_needs, LANE_DRAINED));
}

static bool others_retrieved(const struct lane *me)
{
	const struct kho_lanes *l = me->all;

	for (size_t i = 0; me->s->flags & KHO_SER_LAST && i < l->n; i++)
		if (!(l->lane[i].s->flags & KHO_SER_LAST) && l->lane[i].state < LANE_RETRIEVED)
			return false;
	return true;
}

/* Wait for a condition, then mark the lane busy; false when the lanes shall stop. */
static bool enter(struct lane *me, bool (*ready)(const struct lane *), bool *mark)
{
	struct kho_lanes *l = me->all;
	bool go;

	pthread_mutex_lock(&l->lock);
	while (!stopped(l) && !ready(me))
		wait_changed(l);
	go = !stopped(l);
	if (go) {
		me->busy = true;
		if (mark)
			*mark = true;
	}
	pthread_mutex_unlock(&l->lock);
	return go;
}

static void leave(struct lane *me, int rc, enum lane_state state)
{
	struct kho_lanes *l = me->all;

	pthread_mutex_lock(&l->lock);
	me->busy = false;
	if (rc == 0) {
		me->state = state;
	} else {
		l->stop = true;
		l->failed = l->failed ? l->failed : me;
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void stamp(struct lane *me, const char *op, uint64_t begin)
{
	char name[64];

	snprintf(name, sizeof(name), "%s %s", op, me->s->name);
	kho_context_phase(me->all->u, name, begin, kho_clock_us());
}

static void run_lane(struct lane *me)
{
	struct kho_upgrade *u = me->all->u;
	struct kho_env *env = &u->engine->env;
	const struct kho_serializer *s = me->s;
	uint64_t begin;
	int rc = 0;

	if (!enter(me, needs_met, &me->may_be_frozen))
		return;
	begin = kho_clock_us();
	rc = kho_fault_fire(u, s->name, KHO_FAULT_FREEZE, &me->err);
	if (rc == 0 && s->freeze) {
		rc = s->freeze(env, &me->err);
		stamp(me, "freeze", begin);
	}
	leave(me, rc < 0 ? kho_wrap(&me->err, "freeze %s", s->name) : 0, LANE_FROZEN);
	if (rc < 0 || !enter(me, drain_needs_met, NULL))
		return;
	begin = kho_clock_us();
	rc = kho_fault_fire(u, s->name, KHO_FAULT_DRAIN, &me->err);
	if (rc == 0 && s->drain) {
		rc = s->drain(env, &me->blob, &me->err);
		stamp(me, "drain", begin);
	}
	leave(me, rc < 0 ? kho_wrap(&me->err, "drain %s", s->name) : 0, LANE_DRAINED);
	if (rc < 0 || !enter(me, others_retrieved, &me->may_be_retrieved))
		return;
	rc = kho_fault_fire(u, s->name, KHO_FAULT_RETRIEVE, &me->err);
	if (rc == 0 && s->retrieve)
		rc = kho_context_retrieve(u, s, &me->blob, stopped, me->all, &me->err);
	leave(me, rc, LANE_RETRIEVED);
}

static void *lane_main(void *arg)
{
	struct lane *me = arg;
	struct kho_lanes *l = me->all;

	pthread_mutex_lock(&l->lock);
	while (!l->started && !l->quit)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	if (!l->quit)
		run_lane(me);
	pthread_mutex_lock(&l->lock);
	me->ended = true;
	pthread_cond_broadcast(&l->changed);
	while (!l->quit)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int kho_lanes_new(struct kho_upgrade *u, struct kho_lanes **out, struct kho_err *err)
{
	struct kho_lanes *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;
	size_t n = kho_serializers_count(u->serializers);

	if (l)
		l->lane = calloc(n + 1, sizeof(*l->lane));
	if (!l || !l->lane) {
		free(l);
		return kho_fail(err, -ENOMEM, "lanes: out of memory");
	}
	l->u = u;
	l->n = n;
	pthread_mutex_init(&l->lock, NULL);
	/* a wait of milliseconds whatever becomes of the machine's time */
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < n; i++) {
		int rc;

		l->lane[i].all = l;
		l->lane[i].s = u->serializers[i];
		rc = pthread_create(&l->lane[i].thread, NULL, lane_main, &l->lane[i]);
		if (rc) {
			(void)kho_lanes_free(l);
			return kho_fail(err, -rc, "lanes: thread: %s", strerror(rc));
		}
		l->lane[i].made = true;
	}
	*out = l;
	return 0;
}

void kho_lanes_start(struct kho_lanes *l)
{
	pthread_mutex_lock(&l->lock);
	l->started = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static bool all_in(const struct kho_lanes *l, enum lane_state state, unsigned without)
{
	for (size_t i = 0; i < l->n; i++)
		if (!(l->lane[i].s->flags & without) && l->lane[i].state < state)
			return false;
	return true;
}

static int wait_all(struct kho_lanes *l, enum lane_state state, unsigned without,
		    struct kho_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	while (!stopped(l) && !all_in(l, state, without))
		wait_changed(l);
	if (l->failed)
		rc = kho_fail(err, l->failed->err.code, "%s", l->failed->err.msg);
	if (rc == 0 && stopped(l))
		rc = kho_context_check(l->u, err);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

int kho_lanes_wait_frozen(struct kho_lanes *l, struct kho_err *err)
{
	return wait_all(l, LANE_FROZEN, 0, err);
}

int kho_lanes_wait_shifted(struct kho_lanes *l, struct kho_err *err)
{
	return wait_all(l, LANE_RETRIEVED, KHO_SER_LAST, err);
}

int kho_lanes_wait_restored(struct kho_lanes *l, struct kho_err *err)
{
	return wait_all(l, LANE_RETRIEVED, 0, err);
}

/* Let every lane end after the operation it is in; one that does not is left behind and named. */
static int stop_all(struct kho_lanes *l, struct kho_err *err)
{
	uint64_t now = kho_clock_us(), deadline = atomic_load(&l->u->deadline_us);
	uint64_t half = deadline > now ? (deadline - now) / 2 : 0;
	uint64_t until = now + (half < STUCK_US ? half : STUCK_US);
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	for (size_t i = 0; l->started && i < l->n; i++) {
		while (!l->lane[i].ended && kho_clock_us() < until)
			wait_changed(l);
		if (!l->lane[i].ended && rc == 0)
			rc = kho_fail(err, -ETIMEDOUT, "%s does not come back from its operation",
				      l->lane[i].s->name);
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

int kho_lanes_discard(struct kho_lanes *l, bool only_last, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	kho_first_failure(stop_all(l, &one), &one, &first, err);
	for (size_t i = l->n; i-- > 0;) {
		struct lane *me = &l->lane[i];

		if (!me->may_be_retrieved || (only_last && !(me->s->flags & KHO_SER_LAST)))
			continue;
		me->may_be_retrieved = false;
		if (me->s->discard)
			kho_first_failure(kho_context_peer_undo(l->u, me->s, "discard", &one), &one,
					  &first, err);
	}
	return first;
}

static int unfreeze_one(struct lane *me, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int rc;

	if (!me->may_be_frozen)
		return 0;
	me->may_be_frozen = false;
	if (!me->s->unfreeze)
		return 0;
	rc = me->s->unfreeze(&me->all->u->engine->env, err);
	stamp(me, "unfreeze", begin);
	return rc < 0 ? kho_wrap(err, "unfreeze %s", me->s->name) : 0;
}

int kho_lanes_unfreeze(struct kho_lanes *l, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT, early = KHO_ERR_INIT;
	int first = 0, discarded = kho_lanes_discard(l, false, &early);

	for (size_t turn = 0; turn < l->n; turn++)
		kho_first_failure(unfreeze_one(&l->lane[kho_context_thaw(l->u, turn)], &one), &one,
				  &first, err);
	/* of a lane that does not come back its inverse says more */
	kho_first_failure(discarded, &early, &first, err);
	return first;
}

bool kho_lanes_free(struct kho_lanes *l)
{
	bool stuck = false;

	if (!l)
		return true;
	pthread_mutex_lock(&l->lock);
	l->stop = l->quit = true;
	pthread_cond_broadcast(&l->changed);
	for (size_t i = 0; i < l->n; i++)
		stuck |= l->lane[i].busy;
	pthread_mutex_unlock(&l->lock);
	/* a lane that hangs in the kernel cannot be joined; what it uses must stay */
	if (stuck)
		return false;
	for (size_t i = 0; i < l->n; i++) {
		if (l->lane[i].made)
			pthread_join(l->lane[i].thread, NULL);
		kho_blob_done(&l->lane[i].blob);
	}
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l->lane);
	free(l);
	return true;
}
