/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Three serializers for tests of the orchestrator, and what they and the engine (fake_world.h) note of themselves.
 */
#ifndef FAKE_SERIALIZERS_H
#define FAKE_SERIALIZERS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "handover/uapi/khoctl_region.h"
#include "lib/clock.h"
#include "orchestrator/plan.h"

#define NSER 3

struct fake {
	/* the machine, as left behind */
	atomic_int reserved, spawned, connected, retired, commits, shifted, state;
	atomic_int preserved[NSER], frozen[NSER], prepared[NSER], retrieved[NSER], finished[NSER],
		forgotten[NSER];
	/* what shall go wrong */
	const char *fail_op; /* "freeze beta" */
	const char *lost_op; /* the peer's answer does not come, once */
	atomic_bool peer_dead;
	const char *die_in; /* the peer dies in this operation */
	bool stuck_freeze;
	unsigned rounds;
	bool entrusted; /* names and a journal, and the word to complete */
	bool first_is_signed; /* the record that the peer was given with the first commit */
	bool probe_no, engine_no;
	/* omega's memory: what copying it takes until `calm_after` rounds were made, and how many rounds it takes in all */
	uint64_t copy_us, rate;
	unsigned asked, looks; /* rounds of omega, and how often it was looked at */
	unsigned last_rounds; /* of which it was told that none comes behind them */
	int calm_after, again;
	bool dirty_unknown;
	int interrupt; /* a descriptor: the second look sends SIGINT there */
	int running, requests; /* what is under way when all is frozen, and when all is across; -1: not known */
	bool late, no_btf, storm; /* what the gates find */
	bool tell_signals;	  /* those of the dark tell also of signals: so many have ended something */
	int crashed;
	bool hangs; /* no retrieve comes back before it is told to */
	bool warn_later; /* a warning, from the second measurement on */
	unsigned measured, loads;
	unsigned slow; /* its operations take so many powers of two longer */
	unsigned wrong; /* operations that fail there, each time */
	bool no_load; /* the canary cannot run it */
	bool judge; /* the first one says something of the first workload, and counts */
	/* the order in which things began */
	pthread_mutex_t lock;
	char log[4096];
	char record[65536];
	size_t record_len;
	char blob[NSER][16];
};

static struct fake fake;

static inline void fake_judge(struct kho_env *e, struct kho_report *r)
{
	r->workload = e->workloads->w[0].name;
	for (int i = 0; i < 2; i++)
		(void)!kho_report_add(r, KHO_V_LOSS, "unit", "one", NULL, "moves; its socket does not");
	(void)!kho_report_add(r, KHO_V_OK, "process", "one", NULL, "moves");
	r->workload = NULL;
	(void)!kho_report_restarted(r, "cron.service");
	r->facts[KHO_FACT_SELFTEST_US] = 100000;
	r->facts[KHO_FACT_MOUNTS] = 2;
}

/* A workload's own phase, 1 ms long. */
static inline void fake_workload(struct kho_env *e, const char *what)
{
	uint64_t begin = kho_clock_us();
	char name[64];

	if (!e->workloads || !e->workloads->n)
		return;
	usleep(1000);
	snprintf(name, sizeof(name), "%s %s", what, e->workloads->w[0].name);
	e->ops->phase(e, name, begin, kho_clock_us());
}

static int act(const char *op, const char *name, struct kho_err *err)
{
	char what[64];

	snprintf(what, sizeof(what), "%s %s", op, name);
	pthread_mutex_lock(&fake.lock);
	strcat(fake.log, what);
	strcat(fake.log, ";");
	pthread_mutex_unlock(&fake.lock);
	if (fake.die_in && !strcmp(fake.die_in, what)) {
		fake.peer_dead = true;
		usleep(400000);
		return kho_fail(err, -EPIPE, "peer gone");
	}
	if (fake.fail_op && !strcmp(fake.fail_op, what))
		return kho_fail(err, -EIO, "%s went wrong", what);
	return 0;
}

/* A workload that writes: what a round takes is written again, as often as dirty_for says. */
static inline int fake_dirty(struct kho_dirty *d, struct kho_err *err)
{
	*d = (struct kho_dirty){ .how = "fake" };
	fake.looks++;
	if (fake.looks == 2 && fake.interrupt)
		(void)!write(fake.interrupt, &(int){ SIGINT }, sizeof(int));
	if (fake.dirty_unknown)
		return kho_fail(err, -EOPNOTSUPP, "this kernel does not tell");
	d->w = calloc(1, sizeof(*d->w));
	d->w[0] = (struct kho_dirty_workload){ "omega's", 1 << 20, fake.rate };
	d->n = 1;
	d->bytes = 1 << 20;
	d->copy_us = (int)fake.asked > fake.calm_after ? 0 : fake.copy_us;
	d->again = (int)fake.asked < fake.again ? (unsigned)fake.again - fake.asked : 0;
	return 0;
}

#define SERIALIZER(N, id, ord, fl, needs_)                                                         \
	static int id##_probe(struct kho_env *e, struct kho_report *r, struct kho_err *err)        \
	{                                                                                          \
		(void)err;                                                                         \
		if (N == 0 && fake.judge)                                                          \
			fake_judge(e, r);                                                          \
		return kho_report_add(r, fake.probe_no ? KHO_V_NO : KHO_V_OK, "process", #id,      \
				      "close it",                                                  \
				      fake.probe_no ? "io_uring cannot be carried" : "moves");     \
	}                                                                                          \
	static int id##_preserve(struct kho_env *e, unsigned round, struct kho_blob *b,            \
				 bool *more, struct kho_err *err)                                  \
	{                                                                                          \
		fake.preserved[N] = 1;                                                             \
		fake.asked += N == 2;                                                              \
		fake.last_rounds += N == 2 && e->last_round;                                       \
		*more = round + 1 < fake.rounds;                                                   \
		b->data = strdup(#id "-warm");                                                     \
		b->len = strlen(#id "-warm");                                                      \
		e->ops->note(e, "round %u", round);                                                \
		return act("preserve", #id, err);                                                  \
	}                                                                                          \
	static int id##_dirty(struct kho_env *e, struct kho_dirty *d, struct kho_err *err)         \
	{                                                                                          \
		(void)e;                                                                           \
		return fake_dirty(d, err);                                                         \
	}                                                                                          \
	static int id##_unpreserve(struct kho_env *e, struct kho_err *err)                         \
	{                                                                                          \
		(void)e;                                                                           \
		fake.preserved[N] = 0;                                                             \
		return act("unpreserve", #id, err);                                                \
	}                                                                                          \
	static int id##_freeze(struct kho_env *e, struct kho_err *err)                             \
	{                                                                                          \
		(void)e;                                                                           \
		fake.frozen[N] = 1;                                                                \
		if (N == 0)                                                                        \
			fake_workload(e, "stop");                                                  \
		if (N == 1 && fake.stuck_freeze)                                                   \
			sleep(3600);                                                               \
		usleep(2000);                                                                      \
		return act("freeze", #id, err);                                                    \
	}                                                                                          \
	static int id##_drain(struct kho_env *e, struct kho_blob *b, struct kho_err *err)          \
	{                                                                                          \
		(void)e;                                                                           \
		b->data = strdup(#id "-data");                                                     \
		b->len = strlen(#id "-data");                                                      \
		return act("drain", #id, err);                                                     \
	}                                                                                          \
	static void id##_quiet(struct kho_env *e, bool shifted, struct kho_quiet_list *q)          \
	{                                                                                          \
		(void)e;                                                                           \
		(void)!act(shifted ? "quiet shifted" : "quiet", #id, NULL);                        \
		if (!shifted)                                                                      \
			kho_quiet_add(q, "running", fake.running, "4711 (R) of omega's");          \
		else                                                                               \
			kho_quiet_add(q, "requests", fake.requests, "3 on vda");                   \
	}                                                                                          \
	static int id##_unfreeze(struct kho_env *e, struct kho_err *err)                           \
	{                                                                                          \
		(void)e;                                                                           \
		fake.frozen[N] = 0;                                                                \
		return act("unfreeze", #id, err);                                                  \
	}                                                                                          \
	static int id##_forget(struct kho_env *e, struct kho_err *err)                             \
	{                                                                                          \
		(void)e;                                                                           \
		fake.forgotten[N] = 1;                                                             \
		return act("forget", #id, err);                                                    \
	}                                                                                          \
	static int id##_prepare(struct kho_env *e, const struct kho_blob *b, struct kho_err *err)  \
	{                                                                                          \
		(void)e;                                                                           \
		fake.prepared[N] = b->len == strlen(#id "-warm");                                  \
		return act("prepare", #id, err);                                                   \
	}                                                                                          \
	static int id##_unprepare(struct kho_env *e, struct kho_err *err)                          \
	{                                                                                          \
		(void)e;                                                                           \
		fake.prepared[N] = 0;                                                              \
		return act("unprepare", #id, err);                                                 \
	}                                                                                          \
	static int id##_retrieve(struct kho_env *e, const struct kho_blob *b, struct kho_err *err) \
	{                                                                                          \
		(void)e;                                                                           \
		fake.retrieved[N] = 1;                                                             \
		memcpy(fake.blob[N], b->data, b->len);                                             \
		return act("retrieve", #id, err);                                                  \
	}                                                                                          \
	static int id##_verify(struct kho_env *e, struct kho_report *r, struct kho_err *err)       \
	{                                                                                          \
		bool bad = act("verdict", #id, NULL) < 0;                                          \
		(void)e;                                                                           \
		kho_report_add(r, bad ? KHO_V_NO : KHO_V_OK, "health", #id, NULL, "no answer");    \
		return act("verify", #id, err);                                                    \
	}                                                                                          \
	static int id##_discard(struct kho_env *e, struct kho_err *err)                            \
	{                                                                                          \
		(void)e;                                                                           \
		fake.retrieved[N] = 0;                                                             \
		return act("discard", #id, err);                                                   \
	}                                                                                          \
	static int id##_finish(struct kho_env *e, struct kho_err *err)                             \
	{                                                                                          \
		(void)e;                                                                           \
		fake.finished[N] = 1;                                                              \
		return act("finish", #id, err);                                                    \
	}                                                                                          \
	static const struct kho_serializer ser_##id = {                                            \
		.name = #id,                                                                       \
		.order = ord,                                                                      \
		.flags = fl,                                                                       \
		.needs = needs_,                                                                   \
		.probe = id##_probe,                                                               \
		.preserve = id##_preserve,                                                         \
		.dirty = N == 2 ? id##_dirty : NULL,                                               \
		.unpreserve = id##_unpreserve,                                                     \
		.freeze = id##_freeze,                                                             \
		.drain = id##_drain,                                                               \
		.quiet = N == 2 ? id##_quiet : NULL,                                               \
		.unfreeze = id##_unfreeze,                                                         \
		.forget = id##_forget,                                                             \
		.prepare = id##_prepare,                                                           \
		.unprepare = id##_unprepare,                                                       \
		.retrieve = id##_retrieve,                                                         \
		.verify = id##_verify,                                                             \
		.discard = id##_discard,                                                           \
		.finish = id##_finish,                                                             \
	};

static const char *const beta_needs[] = { "omega", NULL };
SERIALIZER(0, alpha, 10, KHO_SER_GATE, NULL)
SERIALIZER(1, beta, 20, KHO_SER_COPY, beta_needs)
SERIALIZER(2, omega, 30, KHO_SER_LAST | KHO_SER_COPY, NULL)

static const struct kho_serializer *const fake_serializers[] = { &ser_alpha, &ser_beta, &ser_omega,
								 NULL };

/* their names, for the parser of faults */
static const char *const fake_names[] = { "alpha", "beta", "omega", NULL };

#endif
