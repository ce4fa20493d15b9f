// SPDX-License-Identifier: GPL-2.0-only
/*
 * One upgrade: set up what the steps share, let the runner go through them, say how it ended.
 */
#include "orchestrator/upgrade.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/canary.h"
#include "orchestrator/context.h"
#include "orchestrator/fire.h"
#include "orchestrator/history.h"
#include "orchestrator/lanes.h"
#include "orchestrator/lock.h"
#include "orchestrator/report.h"
#include "orchestrator/runner.h"

#define GRACE_US     15000000ull
#define RECONNECT_US 30000000ull

const char *kho_outcome_name(enum kho_outcome o)
{
	static const char *const names[] = {
		[KHO_OUT_UPGRADED] = "upgraded",       [KHO_OUT_REFUSED] = "refused",
		[KHO_OUT_ROLLED_BACK] = "rolled back", [KHO_OUT_PERSON] = "needs a person",
		[KHO_OUT_INTERNAL] = "internal error", [KHO_OUT_BUSY] = "busy",
		[KHO_OUT_DECLINED] = "declined",       [KHO_OUT_PASSED] = "passed",
		[KHO_OUT_FAILED] = "failed",	       [KHO_OUT_UNDECIDED] = "undecided",
	};

	_Static_assert(sizeof(names) / sizeof(*names) == KHO_NOUTCOMES, "a name for each outcome");
	return (unsigned)o < KHO_NOUTCOMES ? names[o] : "?";
}

bool kho_outcome_is_as_before(const char *name)
{
	static const enum kho_outcome all[] = { KHO_OUT_REFUSED, KHO_OUT_ROLLED_BACK, KHO_OUT_PASSED, KHO_OUT_FAILED, KHO_OUT_UNDECIDED };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(name, kho_outcome_name(all[i])))
			return true;
	return false;
}

static int open_logs(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_world *w = &u->plan->world;
	int rc;

	kho_history_keep(w->run_dir, w->state_dir, u->plan->from, u->plan->generation);
	rc = kho_journal_create(w->run_dir, w->state_dir, &u->journal, err);

	if (rc == 0)
		rc = kho_events_create(w->run_dir, w->state_dir, u->opt->on_event,
				       u->opt->event_arg, &u->events, err);
	return rc;
}

static void context_done(struct kho_upgrade *u)
{
	kho_fault_done(u);
	kho_context_unwire(u);
	kho_journal_free(u->journal);
	kho_events_free(u->events);
	json_object_put(u->sysctls);
	json_object_put(u->modules);
	kho_affinity_done(&u->affinity);
	free(u->canary);
	kho_workloads_done(&u->copied);
	free(u->usual);
	kho_closep(&u->lock_fd);
	free(u);
}

static int journal_begin(struct kho_upgrade *u, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("begin"), *ev = kho_event_new("begin");
	const struct kho_plan *p = u->plan;
	int rc;

	kho_json_int(rec, "format", 1);
	kho_json_int(rec, "pid", getpid());
	kho_json_str(rec, "from", p->from);
	kho_json_str(rec, "to", p->image.release);
	kho_json_int(rec, "generation", p->generation);
	kho_json_str(rec, "engine", p->engine_name);
	kho_json_bool(rec, "jumps", u->engine->ops->jumps);
	if (p->canary.on)
		kho_json_bool(rec, "canary", true);
	if (p->canary.shadow)
		kho_json_str(rec, "shadow", p->canary.shadow);
	kho_json_str(rec, "image", p->image_path);
	kho_json_str(rec, "old_image", p->old_image);
	if (p->previous_image)
		kho_json_str(rec, "previous_image", p->previous_image);
	if (p->carry_dir)
		kho_json_str(rec, "state_dir", p->carry_dir);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	kho_json_int(rec, "time", (int64_t)time(NULL));
	kho_json_str(ev, "from", p->from);
	kho_json_str(ev, "to", p->image.release);
	kho_json_int(ev, "generation", p->generation);
	kho_json_str(ev, "engine", p->engine_name);
	kho_events_emit(u->events, ev);
	rc = kho_journal_add(u->journal, rec, err);
	return rc < 0 ? rc : kho_journal_add(u->journal, kho_plan_record(p), err);
}

/* The operator wants to look (or measure) here: run the command, or wait for a signal; then
 * everything is undone. */
static int hold(struct kho_upgrade *u, const char *step, struct kho_err *err)
{
	struct pollfd p = { .fd = u->opt->stop_fd, .events = POLLIN };
	char where[32];
	pid_t pid;
	int st;

	snprintf(where, sizeof(where), "hold-before-%s", step);
	kho_lock_step(u->lock_fd, where);
	kho_context_note(u, "held before %s", step);
	if (!u->opt->hold_exec) {
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		(void)!read(p.fd, &st, sizeof(st)); /* the signal: it is heard */
		return kho_fail(err, -EINTR, "held before %s and stopped", step);
	}
	pid = fork();
	if (pid == 0) {
		execvp(u->opt->hold_exec[0], u->opt->hold_exec);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &st, 0) < 0)
		return kho_fail_errno(err, "run %s", u->opt->hold_exec[0]);
	return kho_fail(err, -EINTR, "held before %s: %s ended with status %d", step,
			u->opt->hold_exec[0], WIFEXITED(st) ? WEXITSTATUS(st) : -1);
}

/* Committed, and our root went with it: a write to it would wait for ever. The incoming kernel has the journal. */
static bool disk_is_gone(const struct kho_upgrade *u)
{
	return atomic_load(&u->committed) && !u->engine->env.root_in_ram;
}

static void finish_result(struct kho_upgrade *u, enum kho_outcome out, const struct kho_err *err)
{
	struct json_object *rec = kho_record_new("end"), *ev = kho_event_new("result"), *report;
	_cleanup_(kho_blob_done) struct kho_blob bytes = { 0 };
	struct json_object *records = NULL;

	kho_json_str(rec, "outcome", kho_outcome_name(out));
	kho_json_str(rec, "msg", err->code ? err->msg : "");
	(void)!kho_journal_add(u->journal, rec, NULL);
	kho_json_int(ev, "outcome_code", out);
	kho_json_str(ev, "outcome", kho_outcome_name(out));
	kho_json_str(ev, "msg", err->code ? err->msg : "");
	if (kho_logfile_bytes(kho_journal_file(u->journal), &bytes, NULL) == 0 &&
	    kho_journal_parse(bytes.data, bytes.len, &records, NULL, NULL) == 0) {
		report = kho_report_of_journal(records);
		json_object_object_add(ev, "report", report);
		if (out == KHO_OUT_UPGRADED && !disk_is_gone(u))
			(void)!kho_report_save(u->plan->world.state_dir, report, NULL);
		json_object_put(records);
	}
	kho_events_emit(u->events, ev);
}

static enum kho_outcome go(struct kho_runner *r, size_t first, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	size_t last = (size_t)kho_step_find("retire");
	enum kho_outcome out = KHO_OUT_UPGRADED;
	struct kho_err late = KHO_ERR_INIT;

	for (size_t i = first; i < kho_nsteps; i++) {
		int rc = 0;

		/* told before the last CPU goes: nobody is left to tell it afterwards */
		if (i == last)
			finish_result(u, out, &late);
		if (u->opt->hold_before && !strcmp(u->opt->hold_before, kho_steps[i].name)) {
			rc = hold(u, kho_steps[i].name, err);
			if (rc < 0 && i > 0)
				return kho_runner_undo(r, i - 1, err);
		}
		if (rc == 0)
			rc = kho_runner_step(r, i, err);
		if (rc == 0)
			continue;
		if (!atomic_load(&u->committed))
			return kho_runner_undo(r, i, err);
		if (!disk_is_gone(u))
			(void)!kho_context_disk_back(u, NULL);
		if (!disk_is_gone(u) || i == last)
			return KHO_OUT_PERSON;
		/* nothing can be done from here without a root; the other kernel is the machine now */
		late = *err;
		*err = (struct kho_err)KHO_ERR_INIT;
		out = KHO_OUT_PERSON;
	}
	if (out != KHO_OUT_UPGRADED)
		*err = late;
	return out;
}

/* How far a dead upgrade got. */
struct progress {
	int last;	       /* index of the last step begun, -1: none */
	bool committed, ended; /* ended: and nothing is left that was not undone */
	bool unsaid;	       /* committed, but khoctl died before it wrote so: the ledger tells */
	uint64_t begin_us, blackout_begin_us, blackout_end_us;
	struct json_object *sysctls, *modules, *affinity; /* borrowed */
};

/* An end that leaves nothing to be done. */
static bool is_end(const struct json_object *rec)
{
	return !strcmp(kho_json_get_str(rec, "rec"), "end") && strcmp(kho_json_get_str(rec, "outcome"), kho_outcome_name(KHO_OUT_PERSON));
}

bool kho_upgrade_died_signing(const struct json_object *records)
{
	bool signs = false;

	for (size_t i = 0; i < json_object_array_length(records); i++) {
		const struct json_object *o = json_object_array_get_idx(records, i);
		const char *kind = kho_json_get_str(o, "rec");

		if (!strcmp(kind, "signed") || is_end(o))
			return false;
		if (strcmp(kind, "step"))
			continue;
		if (strcmp(kho_json_get_str(o, "act"), "run"))
			return false;
		signs |= !strcmp(kho_json_get_str(o, "step"), KHO_STEP_SIGNS);
	}
	return signs;
}

static struct progress how_far(struct json_object *records)
{
	struct progress p = { .last = -1 };
	const struct kho_step *list = kho_steps;
	size_t n = kho_nsteps;

	for (size_t i = 0; i < json_object_array_length(records); i++) {
		struct json_object *o = json_object_array_get_idx(records, i);
		const char *kind = kho_json_get_str(o, "rec");

		if (!strcmp(kind, "end"))
			p.ended = is_end(o);
		else if (!strcmp(kind, "begin")) {
			p.begin_us = (uint64_t)kho_json_get_int(o, "at_us");
			if (json_object_get_boolean(kho_json_get(o, "canary"))) {
				list = kho_canary_steps;
				n = kho_ncanary_steps;
			}
		}
		else if (!strcmp(kind, "signed"))
			p.committed = true;
		else if (!strcmp(kind, "blackout")) {
			p.blackout_begin_us = (uint64_t)kho_json_get_int(o, "begin_us");
			p.blackout_end_us = (uint64_t)kho_json_get_int(o, "end_us");
		}
		else if (!strcmp(kind, "sysctls"))
			p.sysctls = kho_json_get(o, "old");
		else if (!strcmp(kind, "modules"))
			p.modules = kho_json_get(o, "old");
		else if (!strcmp(kind, "affinity"))
			p.affinity = o;
		else if (!strcmp(kind, "step") && !strcmp(kho_json_get_str(o, "act"), "run"))
			p.last = kho_step_find_in(list, n, kho_json_get_str(o, "step"));
	}
	p.unsaid = kho_upgrade_died_signing(records) && kho_instance_other_signed("");
	p.committed |= p.unsaid;
	return p;
}

int kho_upgrade_may_begin(const struct kho_world *w, struct kho_err *err)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct progress p;

	if (kho_journal_read(w->run_dir, w->run_dir, &records, NULL, NULL) < 0)
		return 0;
	p = how_far(records);
	/* not even a look: its disks and workloads are the other kernel's */
	if (p.committed)
		return kho_fail(err, -EBUSY,
				"this kernel has handed over to another one and waits for its end; "
				"khoctl resume does the rest");
	if (p.last <= 0 || p.ended)
		return 0;
	return kho_fail(err, -EBUSY,
			"an upgrade was interrupted half-way, or not wholly undone; run khoctl "
			"rollback first");
}

static int prepare(struct kho_upgrade *u, const struct kho_upgrade_options *o, struct kho_err *err)
{
	*u = (struct kho_upgrade){
		.opt = o,
		.plan = o->plan,
		.engine = o->engine,
		.serializers = o->plan->world.serializers,
		.steps = o->plan->canary.on ? kho_canary_steps : kho_steps,
		.nsteps = o->plan->canary.on ? kho_ncanary_steps : kho_nsteps,
		.lock_fd = o->lock_fd,
	};
	if (u->lock_fd < 0)
		u->lock_fd = kho_lock_take(o->plan->world.run_dir, err);
	return u->lock_fd < 0 ? u->lock_fd : 0;
}

enum kho_outcome kho_upgrade_run(const struct kho_upgrade_options *o, struct kho_err *err)
{
	/* heap: a thread that hangs in the kernel may come back to it later */
	struct kho_upgrade *u = malloc(sizeof(*u));
	struct kho_runner r = { .u = u,
				.grace_us = o->deadline_cap_us ? o->deadline_cap_us : GRACE_US };
	enum kho_outcome out;
	int rc = u ? prepare(u, o, err) : kho_fail(err, -ENOMEM, "upgrade: out of memory");
	int no;

	/* refused before the journal of the last upgrade is replaced */
	if (rc == 0)
		rc = kho_upgrade_may_begin(&o->plan->world, err);
	no = rc < 0 ? 0 : kho_plan_refusal(o->plan, err);
	if (no < 0) {
		context_done(u);
		return KHO_OUT_REFUSED;
	}
	if (rc == 0)
		rc = open_logs(u, err);
	if (rc == 0)
		rc = journal_begin(u, err);
	if (rc == 0)
		rc = kho_worker_new(&r.worker, err);
	if (rc < 0) {
		if (u)
			context_done(u);
		return rc == -EBUSY ? KHO_OUT_BUSY : KHO_OUT_INTERNAL;
	}
	kho_context_wire(u);
	out = kho_fault_arm(u, "", err) < 0 ? KHO_OUT_REFUSED : u->plan->canary.on ? kho_canary_go(&r, err) : go(&r, 0, err);
	/* an error of retire itself was preceded by the result; it is told all the same: this
	 * kernel still lives */
	if (out != KHO_OUT_UPGRADED)
		finish_result(u, out, err);
	kho_worker_free(r.worker);
	/* a thread that is stuck may come back to them */
	if (!r.stuck && kho_lanes_free(u->lanes))
		context_done(u);
	return out;
}

/* Whether there is something to undo, and how far it goes. */
static int to_recover(const struct kho_world *w, struct json_object *records, struct progress *p,
		      struct kho_err *err)
{
	*p = how_far(records);
	if (p->ended || p->last < 0)
		return kho_fail(err, -ENOENT, "nothing to undo in %s: the last upgrade has ended",
				w->run_dir);
	if (p->committed)
		return kho_fail(err, -EALREADY,
				"the upgrade was committed; the way back is another upgrade");
	return 0;
}

/* The journal goes on: with who undoes it from here ("recover"), or does the rest ("resume"). */
static int resume_logs(struct kho_upgrade *u, const char *kind, const struct progress *p, struct kho_err *err)
{
	const struct kho_world *w = &u->plan->world;
	struct json_object *rec;
	int rc = kho_journal_resume(w->run_dir, w->state_dir, &u->journal, err);

	if (rc == 0)
		rc = kho_events_resume(w->run_dir, w->state_dir, p->begin_us, u->opt->on_event,
				       u->opt->event_arg, &u->events, err);
	if (rc < 0)
		return rc;
	rec = kho_record_new(kind);
	kho_json_int(rec, "pid", getpid());
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	return kho_journal_add(u->journal, rec, err);
}

int kho_upgrade_recover(const struct kho_upgrade_options *o, struct kho_err *err)
{
	const struct kho_world *w = &o->plan->world;
	struct kho_upgrade *u = malloc(sizeof(*u));
	struct kho_runner r = { .u = u,
				.grace_us = o->deadline_cap_us ? o->deadline_cap_us : GRACE_US };
	_cleanup_json_ struct json_object *records = NULL;
	struct progress p = { 0 };
	int rc = u ? prepare(u, o, err) : kho_fail(err, -ENOMEM, "upgrade: out of memory");

	/* only what this boot of the machine has seen can be undone */
	if (rc == 0)
		rc = kho_journal_read(w->run_dir, w->run_dir, &records, NULL, err);
	if (rc == 0)
		rc = to_recover(w, records, &p, err);
	if (rc == 0)
		rc = resume_logs(u, "recover", &p, err);
	if (rc == 0)
		rc = kho_worker_new(&r.worker, err);
	if (rc == 0) {
		enum kho_outcome out;

		u->sysctls = json_object_get(p.sysctls);
		u->modules = json_object_get(p.modules);
		/* out of memory: then nobody is pinned again */
		(void)!kho_affinity_from_record(p.affinity, &u->affinity, NULL);
		kho_context_wire(u);
		kho_fail(err, -EINTR, "khoctl died in step %s", u->steps[p.last].name);
		out = kho_runner_undo(&r, (size_t)p.last, err);
		out = out == KHO_OUT_REFUSED ? KHO_OUT_ROLLED_BACK : out;
		finish_result(u, out, err);
		rc = out == KHO_OUT_ROLLED_BACK ? 0 : err->code;
		kho_worker_free(r.worker);
	}
	if (u && !r.stuck)
		context_done(u);
	return rc;
}

static int to_resume(const struct progress *p, struct kho_err *err)
{
	return p->committed ? 0
			    : kho_fail(err, -ECANCELED, "the upgrade was not committed: it can only be undone");
}

static enum kho_outcome resume(struct kho_runner *r, const struct progress *p, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	enum kho_outcome out;
	int rc;

	if (p->unsaid)
		(void)!kho_journal_add(u->journal, kho_context_signed(kho_clock_us()), NULL);
	atomic_store(&u->committed, true);
	u->blackout_begin_us = p->blackout_begin_us;
	u->blackout_end_us = p->blackout_end_us;
	u->sysctls = json_object_get(p->sysctls);
	kho_context_wire(u);
	rc = u->engine->ops->reconnect(u->engine, kho_clock_us() + RECONNECT_US, err);
	out = rc < 0 ? KHO_OUT_PERSON : go(r, (size_t)kho_step_find("commit"), err);
	if (out != KHO_OUT_UPGRADED)
		finish_result(u, out, err);
	return out;
}

enum kho_outcome kho_upgrade_resume(const struct kho_upgrade_options *o, struct kho_err *err)
{
	const struct kho_world *w = &o->plan->world;
	struct kho_upgrade *u = malloc(sizeof(*u));
	struct kho_runner r = { .u = u, .grace_us = o->deadline_cap_us ? o->deadline_cap_us : GRACE_US };
	_cleanup_json_ struct json_object *records = NULL;
	enum kho_outcome out = KHO_OUT_REFUSED;
	struct progress p = { 0 };
	int rc = u ? prepare(u, o, err) : kho_fail(err, -ENOMEM, "upgrade: out of memory");

	if (rc == 0)
		rc = kho_journal_read(w->run_dir, w->run_dir, &records, NULL, err);
	if (rc == 0) {
		p = how_far(records);
		rc = to_resume(&p, err);
	}
	if (rc == 0)
		rc = resume_logs(u, "resume", &p, err);
	if (rc == 0)
		rc = kho_worker_new(&r.worker, err);
	if (rc == 0) {
		out = resume(&r, &p, err);
		kho_worker_free(r.worker);
	}
	if (u && !r.stuck)
		context_done(u);
	return rc == -EBUSY ? KHO_OUT_BUSY : out;
}
