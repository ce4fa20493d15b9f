/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A world for tests of the orchestrator: three serializers and an engine whose "incoming kernel" is
 * the same process.  Each act and its inverse is counted, so that a test can ask whether all is as
 * before.
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "handover/uapi/khoctl_region.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "orchestrator/plan.h"
#include "tests/unit/fake_serializers.h"

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

static int e_gates(struct kho_engine *e, const struct kho_gate_ask *ask, const struct kho_gate_policy *p, struct kho_gate_list *out, uint64_t deadline_us,
		   struct kho_err *err)
{
	(void)e;
	*out = (struct kho_gate_list){ 0 };
	if (ask->moment == KHO_GATES_DARK)
		kho_gate_measured(out, p, KHO_GATE_ERRORS, fake.storm ? 97 : 0, "process 400: 970 calls of 1000, at last: Function not implemented");
	if (ask->moment == KHO_GATES_DARK && fake.tell_signals)
		kho_gate_measured(out, p, KHO_GATE_SIGNALS, fake.crashed, "%s", fake.crashed ? "process 400: Segmentation fault" : "of 1 processes");
	if (ask->moment != KHO_GATES_READY)
		return act("engine", ask->moment == KHO_GATES_DARK ? "dark" : "restored", err);
	kho_gate_measured(out, p, KHO_GATE_OOPS, 0, "%s", "");
	kho_gate_measured(out, p, KHO_GATE_WARN, fake.warn_later && fake.measured++, "%s", fake.warn_later ? "first: WARNING: at x.c:1" : "");
	kho_gate_measured(out, p, KHO_GATE_TIMER, fake.late ? 250000 : 90, "CPU 1 of 2");
	if (fake.no_btf)
		kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "no BTF");
	else
		kho_gate_measured(out, p, KHO_GATE_WAKEUP, 40, "%s", "");
	return deadline_us ? act("engine", "gates", err) : -EINVAL;
}

/* The "incoming kernel" is this process: the load really runs, and then looks as the test wants it. */
static int e_load(struct kho_engine *e, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out, uint64_t deadline_us,
		  struct kho_err *err)
{
	int rc = deadline_us ? act("engine", "load", err) : -EINVAL;

	(void)e;
	fake.loads++;
	if (rc == 0)
		rc = kho_load_run(l, NULL, stop, arg, out, err);
	out->errors += fake.wrong;
	if (fake.wrong)
		strcpy(out->what, "SHA-256 is wrong");
	if (fake.no_load) {
		*out = (struct kho_load_result){ 0 };
		strcpy(out->what, "no such module");
	}
	if (fake.slow) { /* by powers of two: that many times four slots */
		memmove(out->ns.slot + 4 * fake.slow, out->ns.slot, (KHO_HIST_SLOTS - 4 * fake.slow) * sizeof(out->ns.slot[0]));
		memset(out->ns.slot, 0, 4 * fake.slow * sizeof(out->ns.slot[0]));
	}
	return rc;
}

/* The last file that was put, in memory; -1: none. */
static int put_fd = -1;

static int env_put(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int rc = kho_read_file(local, 64u << 20, &data, &len, err);

	(void)env;
	if (rc < 0)
		return rc;
	if (put_fd >= 0)
		close(put_fd);
	put_fd = kho_memfd(name, 0, err);
	return put_fd < 0 ? put_fd : kho_write_all(put_fd, data, len);
}

/* What was recorded is really sent, to this process: its copy is itself. */
static int e_replay(struct kho_engine *e, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us, struct kho_err *err)
{
	int rc = deadline_us ? act("engine", "replay", err) : -EINVAL;

	(void)e;
	(void)stop;
	(void)arg;
	return rc < 0 ? rc : kho_replay_run(put_fd, getpid(), out, err);
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

static int e_peer_op(struct kho_engine *e, const char *name, const char *op, const struct kho_blob *in, struct kho_report *r,
		     const struct kho_until *until, uint64_t deadline, struct kho_err *err)
{
	const struct kho_serializer *s = NULL;

	char what[64];

	while (until && fake.hangs && kho_clock_us() < deadline) {
		if (until->stop(until->arg))
			return kho_fail(err, -EINTR, "stopped while the agent works on it");
		usleep(1000);
	}
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
	e_stop,	      e_connect, e_disconnect, e_connect,    e_peer_op,    e_gates,      e_load,	 e_replay,     e_entrust,    e_commit,
	e_shift_rest, e_retire,	 e_set_state,  e_peer_alive, NULL,
	NULL,	      NULL,	 e_free, false,
};

static const struct kho_env_ops fake_env_ops = { .put_file = env_put };

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
