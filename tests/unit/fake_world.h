/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A world for tests of the orchestrator: three serializers and an engine whose "incoming kernel" is
 * the same process.  Each act and its inverse is counted, so that a test can ask whether all is as
 * before.
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include <pthread.h>
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
	bool late, no_btf; /* what the gates find */
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
		*more = round + 1 < fake.rounds;                                                   \
		b->data = strdup(#id "-warm");                                                     \
		b->len = strlen(#id "-warm");                                                      \
		e->ops->note(e, "round %u", round);                                                \
		return act("preserve", #id, err);                                                  \
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
	static const struct kho_serializer ser_##id = { #id,                                       \
							ord,                                       \
							fl,                                        \
							needs_,                                    \
							NULL,                                      \
							NULL,                                      \
							id##_probe,                                \
							id##_preserve,                             \
							id##_unpreserve,                           \
							id##_freeze,                               \
							id##_drain,                                \
							id##_unfreeze,                             \
							id##_forget,                               \
							id##_prepare,                              \
							id##_unprepare,                            \
							id##_retrieve,                             \
							id##_verify,                               \
							id##_discard,                              \
							id##_finish,                               \
							NULL,                                      \
							NULL,                                      \
							NULL };

static const char *const beta_needs[] = { "omega", NULL };
SERIALIZER(0, alpha, 10, KHO_SER_GATE, NULL)
SERIALIZER(1, beta, 20, 0, beta_needs)
SERIALIZER(2, omega, 30, KHO_SER_LAST, NULL)

static const struct kho_serializer *const fake_serializers[] = { &ser_alpha, &ser_beta, &ser_omega,
								 NULL };

/* their names, for the parser of faults */
static const char *const fake_names[] = { "alpha", "beta", "omega", NULL };

static int e_probe(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r,
		   struct kho_err *err)
{
	(void)e;
	(void)err;
	out->region_bytes = 1 << 30;
	out->cmdline = strdup("maxcpus=1");
	return kho_report_add(r, fake.engine_no ? KHO_V_NO : KHO_V_OK, "memory", "region",
			      "add memory", "1 GiB");
}
static int e_reserve(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err)
{
	(void)e;
	(void)p;
	fake.reserved = 1;
	return act("engine", "reserve", err);
}
static int e_unreserve(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.reserved = 0;
	return act("engine", "unreserve", err);
}
static int e_spawn(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.spawned = 1;
	return act("engine", "spawn", err);
}
static int e_stop(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.spawned = 0;
	return act("engine", "stop", err);
}
static int e_connect(struct kho_engine *e, uint64_t d, struct kho_err *err)
{
	(void)e;
	(void)d;
	fake.connected = 1;
	return act("engine", "connect", err);
}
static int e_disconnect(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.connected = 0;
	return act("engine", "disconnect", err);
}
static int e_shift_rest(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.shifted = 1;
	return act("engine", "shift_rest", err);
}
static int e_retire(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	fake.retired = 1;
	return act("engine", "retire", err);
}
static int e_set_state(struct kho_engine *e, unsigned s, struct kho_err *err)
{
	(void)e;
	(void)err;
	fake.state = (int)s;
	return 0;
}

static int e_gates(struct kho_engine *e, const struct kho_gate_policy *p, struct kho_gate_list *out, uint64_t deadline_us, struct kho_err *err)
{
	(void)e;
	*out = (struct kho_gate_list){ 0 };
	kho_gate_measured(out, p, KHO_GATE_OOPS, 0, "%s", "");
	kho_gate_measured(out, p, KHO_GATE_TIMER, fake.late ? 250000 : 90, "CPU 1 of 2");
	if (fake.no_btf)
		kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "no BTF");
	else
		kho_gate_measured(out, p, KHO_GATE_WAKEUP, 40, "%s", "");
	return deadline_us ? act("engine", "gates", err) : -EINVAL;
}

static int e_entrust(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete,
		     struct kho_err *err)
{
	(void)e;
	fake.entrusted = record->len && complete && !strcmp(names[0], "alpha") && !strcmp(names[2], "omega") && !names[3];
	return act("engine", "entrust", err);
}

static int e_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err)
{
	(void)e;
	fake.commits++;
	fake.record_len = record->len;
	memcpy(fake.record, record->data, record->len);
	if (fake.commits == 1)
		fake.first_is_signed = memmem(record->data, record->len, "\"signed\"", 8);
	return act("engine", "commit", err);
}

static bool e_peer_alive(struct kho_engine *e, struct kho_err *why)
{
	(void)e;
	if (fake.peer_dead)
		kho_fail(why, -EPIPE, "no heartbeat for 3.1 s");
	return !fake.peer_dead;
}

static int retrieve(struct kho_engine *e, const struct kho_serializer *s, const struct kho_blob *in,
		    struct kho_err *err)
{
	if (!fake_serializers[1] || s == fake_serializers[0])
		fake_workload(&e->env, "resume");
	return s->retrieve(&e->env, in, err);
}

static int e_peer_op(struct kho_engine *e, const char *name, const char *op,
		     const struct kho_blob *in, struct kho_report *r, uint64_t deadline,
		     struct kho_err *err)
{
	const struct kho_serializer *s = NULL;

	char what[64];

	if (fake.peer_dead)
		return kho_fail(err, -EPIPE, "the peer is gone");
	snprintf(what, sizeof(what), "%s %s", op, name);
	if (fake.lost_op && !strcmp(fake.lost_op, what)) {
		fake.lost_op = NULL;
		while (kho_clock_us() < deadline)
			usleep(1000);
		return kho_fail(err, -ETIMEDOUT, "no answer to %s", what);
	}
	for (size_t i = 0; fake_serializers[i]; i++)
		if (!strcmp(fake_serializers[i]->name, name))
			s = fake_serializers[i];
	if (!strcmp(op, "prepare"))
		return s->prepare(&e->env, in, err);
	if (!strcmp(op, "unprepare"))
		return s->unprepare(&e->env, err);
	if (!strcmp(op, "retrieve"))
		return retrieve(e, s, in, err);
	if (!strcmp(op, "discard"))
		return s->discard(&e->env, err);
	if (!strcmp(op, "verify"))
		return s->verify(&e->env, r, err);
	return s->finish(&e->env, err);
}

static void e_free(struct kho_engine *e)
{
	free(e);
}

static const struct kho_engine_ops fake_ops = {
	"fake",	      e_probe,	 e_reserve,    e_unreserve,  e_spawn,
	e_stop,	      e_connect, e_disconnect, e_connect,    e_peer_op,    e_gates,      e_entrust,    e_commit,
	e_shift_rest, e_retire,	 e_set_state,  e_peer_alive, NULL,
	NULL,	      NULL,	 e_free, false,
};

static const struct kho_env_ops fake_env_ops;

static inline int fake_new(const struct kho_engine_request *req, struct kho_engine **out,
			   struct kho_err *err)
{
	struct kho_engine *e = calloc(1, sizeof(*e));

	(void)err;
	e->ops = &fake_ops;
	e->req = req;
	e->env.ops = &fake_env_ops;
	e->env.root_in_ram = true;
	*out = e;
	return 0;
}

static inline void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	pthread_mutex_init(&fake.lock, NULL);
	fake.rounds = 1;
}

/* Nothing is left of an upgrade on either side. */
static inline bool fake_as_before(void)
{
	bool clean = !fake.reserved && !fake.spawned && !fake.connected && !fake.retired &&
		     !fake.shifted &&
		     (fake.state == KHO_STATE_NONE || fake.state == KHO_STATE_RUNNING);

	for (int i = 0; i < NSER; i++)
		clean = clean && !fake.preserved[i] && !fake.frozen[i] && !fake.finished[i] &&
			!fake.forgotten[i] &&
			(fake.peer_dead || (!fake.prepared[i] && !fake.retrieved[i]));
	return clean;
}

/* b began after a did (both must have happened) */
static inline bool fake_order(const char *a, const char *b)
{
	const char *pa = strstr(fake.log, a), *pb = strstr(fake.log, b);

	return pa && pb && pa < pb;
}

#endif
