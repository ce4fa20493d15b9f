// SPDX-License-Identifier: GPL-2.0-only
/* What runner, steps and lanes share.  See orchestrator/context.h. */
#include "orchestrator/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/fire.h"

#define AGENTS 16 /* that may end one after the other while one thing is asked */

/* env is a member of the engine; event_arg is ours */
static struct kho_upgrade *upgrade_of(struct kho_env *env)
{
	struct kho_engine *e =
		(struct kho_engine *)((char *)env - offsetof(struct kho_engine, env));

	return e->event_arg;
}

static int env_put_file(struct kho_env *env, const char *local, const char *name,
			struct kho_err *err)
{
	struct kho_upgrade *u = upgrade_of(env);
	struct stat st;
	int rc = u->engine_env_ops->put_file(env, local, name, err);

	if (rc == 0 && stat(local, &st) == 0)
		atomic_fetch_add(&u->put_bytes, (uint64_t)st.st_size);
	return rc;
}

static int env_put_files(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, uint64_t *out_bytes,
			 struct kho_err *err)
{
	struct kho_upgrade *u = upgrade_of(env);
	int rc = u->engine_env_ops->put_files(env, dir, prefix, names, n, out_bytes, err);

	if (rc == 0)
		atomic_fetch_add(&u->put_bytes, *out_bytes);
	return rc;
}

static void env_phase(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	kho_context_phase(upgrade_of(env), name, begin_us, end_us);
}

static void env_note(struct kho_env *env, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kho_context_note(upgrade_of(env), "%s", text);
}

static void engine_phase(void *arg, const char *name, uint64_t begin_us, uint64_t end_us)
{
	kho_context_phase(arg, name, begin_us, end_us);
}

static void engine_note(void *arg, const char *text)
{
	kho_context_note(arg, "%s", text);
}

void kho_context_wire(struct kho_upgrade *u)
{
	struct kho_engine *e = u->engine;

	u->engine_env_ops = e->env.ops;
	if (e->env.ops)
		u->env_ops = *e->env.ops;
	u->env_ops.phase = env_phase;
	u->env_ops.note = env_note;
	if (u->env_ops.put_file)
		u->env_ops.put_file = env_put_file;
	if (u->env_ops.put_files)
		u->env_ops.put_files = env_put_files;
	e->env.ops = &u->env_ops;
	e->env.workloads = &u->plan->workloads;
	e->env.copy = u->plan->canary.shadow;
	e->env.sysroot = u->plan->sysroot;
	e->env.affinity = &u->affinity;
	if (!e->env.run_dir)
		e->env.run_dir = u->plan->world.run_dir;
	if (!e->env.images_dir)
		e->env.images_dir = "/run/khoctl/images";
	e->phase = engine_phase;
	e->note = engine_note;
	e->fault_struck = kho_fault_struck;
	e->event_arg = u;
}

void kho_context_unwire(struct kho_upgrade *u)
{
	if (!u->engine || u->engine->event_arg != u)
		return;
	u->engine->env.ops = u->engine_env_ops;
	u->engine->env.affinity = NULL;
	u->engine->env.workloads = &u->plan->workloads;
	u->engine->phase = NULL;
	u->engine->note = NULL;
	u->engine->fault_struck = NULL;
	u->engine->event_arg = NULL;
}

static void fill_phase(struct json_object *o, const char *name, uint64_t begin_us, uint64_t end_us)
{
	kho_json_str(o, "name", name);
	kho_json_int(o, "begin_us", (int64_t)begin_us);
	kho_json_int(o, "us", (int64_t)(end_us - begin_us));
}

void kho_context_phase(struct kho_upgrade *u, const char *name, uint64_t begin_us, uint64_t end_us)
{
	struct json_object *ev = kho_event_new("phase"), *rec = kho_record_new("phase");

	fill_phase(ev, name, begin_us, end_us);
	fill_phase(rec, name, begin_us, end_us);
	kho_events_emit(u->events, ev);
	/* a measurement that cannot be kept is no reason to fail an upgrade */
	(void)!kho_journal_add(u->journal, rec, NULL);
}

struct json_object *kho_context_signed(uint64_t at_us)
{
	struct json_object *rec = kho_record_new("signed");

	kho_json_int(rec, "at_us", (int64_t)at_us);
	return rec;
}

void kho_context_note(struct kho_upgrade *u, const char *fmt, ...)
{
	struct json_object *ev = kho_event_new("note");
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kho_json_str(ev, "text", text);
	kho_events_emit(u->events, ev);
}

bool kho_context_stopped(void *arg)
{
	struct kho_upgrade *u = arg;

	return atomic_load(&u->stop);
}

int kho_context_check(struct kho_upgrade *u, struct kho_err *err)
{
	if (!kho_context_stopped(u))
		return 0;
	return kho_fail(err, u->stop_why.code, "%s", u->stop_why.msg);
}

/* What the peer has done is a phase; what it has not, says which operation it was. */
static int peer_until(struct kho_upgrade *u, const struct kho_serializer *s, const char *op,
		      const struct kho_blob *in, struct kho_report *r, const struct kho_until *until, uint64_t deadline_us, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	char name[64];
	int rc = u->engine->ops->peer_op(u->engine, s->name, op, in, r, until, deadline_us, err);

	snprintf(name, sizeof(name), "%s %s", op, s->name);
	if (rc < 0)
		return kho_wrap(err, "%s", name);
	kho_context_phase(u, name, begin, kho_clock_us());
	return 0;
}

int kho_context_retrieve(struct kho_upgrade *u, const struct kho_serializer *s, const struct kho_blob *in, bool (*stop)(void *arg), void *arg,
			 struct kho_err *err)
{
	const struct kho_until until = { stop, arg };

	return peer_until(u, s, "retrieve", in, NULL, &until, atomic_load(&u->deadline_us), err);
}

int kho_context_peer(struct kho_upgrade *u, const struct kho_serializer *s, const char *op,
		     const struct kho_blob *in, struct kho_report *r, struct kho_err *err)
{
	return peer_until(u, s, op, in, r, NULL, atomic_load(&u->deadline_us), err);
}

int kho_context_peer_twice(struct kho_upgrade *u, const struct kho_serializer *s, const char *op, enum kho_fault_place place,
			   struct kho_err *err)
{
	uint64_t now, first, deadline = atomic_load(&u->deadline_us);
	int rc = kho_fault_fire(u, s->name, place, err);

	if (rc < 0)
		return rc;
	now = kho_clock_us();
	first = deadline > now ? now + (deadline - now) / 3 : deadline;
	rc = peer_until(u, s, op, NULL, NULL, NULL, first, err);
	if (rc < 0)
		rc = peer_until(u, s, op, NULL, NULL, NULL, deadline, err);
	/* its agent has ended, and perhaps the next one, too */
	for (unsigned i = 0; rc == -ECONNRESET && i < AGENTS; i++)
		rc = peer_until(u, s, op, NULL, NULL, NULL, deadline, err);
	return rc;
}

int kho_context_peer_undo(struct kho_upgrade *u, const struct kho_serializer *s, const char *op,
			  struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	int rc;

	if (!u->engine->ops->peer_alive(u->engine, &why))
		return 0;
	rc = kho_context_peer(u, s, op, NULL, NULL, err);
	return rc < 0 && u->engine->ops->peer_alive(u->engine, &why) ? rc : 0;
}

static int verdict(const struct kho_serializer *s, const struct kho_report *r, struct kho_err *err)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].verdict == KHO_V_NO)
			return kho_fail(err, -EBADMSG, "verify %s: %s: %s", s->name,
					r->items[i].subject, r->items[i].what);
	return 0;
}

static int verify_one(struct kho_upgrade *u, const struct kho_serializer *s, struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	int rc = kho_context_peer(u, s, "verify", NULL, &r, err);

	if (rc == 0)
		rc = verdict(s, &r, err);
	kho_report_done(&r);
	return rc;
}

int kho_context_verify(struct kho_upgrade *u, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; u->serializers[i] && rc == 0; i++) {
		if (!u->serializers[i]->verify)
			continue;
		rc = kho_context_check(u, err);
		if (rc == 0)
			rc = verify_one(u, u->serializers[i], err);
	}
	return rc;
}

int kho_context_unfreeze(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (size_t turn = 0; u->serializers[turn]; turn++) {
		const struct kho_serializer *s = u->serializers[kho_context_thaw(u, turn)];

		if (s->unfreeze)
			kho_first_failure(s->unfreeze(&u->engine->env, &one), &one, &first, err);
	}
	return first;
}

size_t kho_context_thaw(const struct kho_upgrade *u, size_t turn)
{
	size_t n = kho_serializers_count(u->serializers), i = 0;

	for (unsigned thaw = KHO_SER_THAW;; thaw = 0) {
		for (i = n; i-- > 0;)
			if ((u->serializers[i]->flags & KHO_SER_THAW) == thaw && turn-- == 0)
				return i;
		if (!thaw)
			return 0;
	}
}

void kho_context_disk_away(struct kho_upgrade *u)
{
	kho_logfile_away(kho_journal_file(u->journal));
	kho_logfile_away(kho_events_file(u->events));
}

int kho_context_disk_back(struct kho_upgrade *u, struct kho_err *err)
{
	int rc = kho_logfile_back(kho_journal_file(u->journal), err);
	int rc2 = kho_logfile_back(kho_events_file(u->events), rc < 0 ? NULL : err);

	return rc < 0 ? rc : rc2;
}
