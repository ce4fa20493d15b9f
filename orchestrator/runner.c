// SPDX-License-Identifier: GPL-2.0-only
/* The runner.  See orchestrator/runner.h. */
#include "orchestrator/runner.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "orchestrator/fire.h"
#include "orchestrator/lock.h"

#define TICK_US		 50000ull
#define PEER_TICK_US	 100000ull
#define UNDO_DEADLINE_US 300000000ull

struct job {
	struct kho_upgrade *u;
	const struct kho_step *step;
	bool undo;
};

static int run_job(void *arg, struct kho_err *err)
{
	const struct job *j = arg;
	struct kho_err injected = KHO_ERR_INIT;
	int rc, rc2;

	if (j->undo) {
		/* an undo that fails has done all it can: the injected failure comes on top */
		rc2 = kho_fault_fire(j->u, j->step->name, KHO_FAULT_UNDO, &injected);
		rc = j->step->undo(j->u, err);
		return rc < 0 ? rc : rc2 < 0 ? kho_fail(err, rc2, "%s", injected.msg) : 0;
	}
	rc = kho_fault_arm(j->u, j->step->name, err);
	if (rc == 0)
		rc = kho_fault_fire(j->u, j->step->name, KHO_FAULT_BEFORE, err);
	if (rc == 0)
		rc = j->step->run(j->u, err);
	return rc < 0 ? rc : kho_fault_fire(j->u, j->step->name, KHO_FAULT_AFTER, err);
}

static int journal_step(struct kho_upgrade *u, const char *step, const char *act, const char *state,
			int rc, const char *msg, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("step");

	kho_json_str(rec, "step", step);
	kho_json_str(rec, "act", act);
	kho_json_str(rec, "state", state);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	if (!strcmp(state, "end")) {
		kho_json_int(rec, "rc", rc);
		kho_json_str(rec, "msg", rc < 0 ? msg : "");
	}
	return kho_journal_add(u->journal, rec, err);
}

static void emit_step(struct kho_upgrade *u, const char *step, const char *act, const char *state,
		      int rc, const char *msg, uint64_t us)
{
	struct json_object *ev = kho_event_new("step");

	kho_json_str(ev, "step", step);
	kho_json_str(ev, "act", act);
	kho_json_str(ev, "state", state);
	if (!strcmp(state, "end")) {
		kho_json_int(ev, "us", (int64_t)us);
		kho_json_int(ev, "rc", rc);
		kho_json_str(ev, "msg", rc < 0 ? msg : "");
	}
	kho_events_emit(u->events, ev);
}

/* First reason wins; the running step sees it. */
static void ask_to_stop(struct kho_upgrade *u, int code, const char *text)
{
	if (atomic_load(&u->stop))
		return;
	kho_fail(&u->stop_why, code, "%s", text);
	atomic_store(&u->stop, true);
}

static void look_for_signal(struct kho_upgrade *u)
{
	struct pollfd p = { .fd = u->opt->stop_fd, .events = POLLIN };
	char text[64];
	int sig;

	if (p.fd < 0 || poll(&p, 1, 0) <= 0 || read(p.fd, &sig, sizeof(sig)) != sizeof(sig))
		return;
	if (atomic_load(&u->undoing) || atomic_load(&u->committed)) {
		kho_context_note(u, "%s: %s", strsignal(sig),
				 atomic_load(&u->undoing) ? "being undone already, please wait"
							  : "too late to stop, the upgrade is "
							    "committed");
		return;
	}
	snprintf(text, sizeof(text), "stopped by %s",
		 sig == SIGINT	  ? "SIGINT"
		 : sig == SIGTERM ? "SIGTERM"
				  : "a signal");
	ask_to_stop(u, -EINTR, text);
}

static void look_at_peer(struct kho_runner *r, uint64_t *next_us)
{
	struct kho_err why = KHO_ERR_INIT;
	char text[sizeof(why.msg)];

	if (!r->watch_peer || kho_clock_us() < *next_us)
		return;
	*next_us = kho_clock_us() + PEER_TICK_US;
	if (r->u->engine->ops->peer_alive(r->u->engine, &why))
		return;
	snprintf(text, sizeof(text), "the incoming kernel is lost: %.460s", why.msg);
	ask_to_stop(r->u, -EPIPE, text);
}

/* Wait for the worker under all watches; false when it does not come back. */
static bool supervise(struct kho_runner *r, uint64_t deadline)
{
	struct kho_upgrade *u = r->u;
	uint64_t peer_us = 0, give_up = deadline + r->grace_us;

	while (!kho_worker_wait(r->worker, TICK_US)) {
		uint64_t now = kho_clock_us();

		look_for_signal(u);
		look_at_peer(r, &peer_us);
		if (now > deadline)
			ask_to_stop(u, -ETIMEDOUT, "took longer than its deadline");
		if (now > give_up)
			return false;
	}
	look_for_signal(u);
	return true;
}

/* Run one job under supervision; a worker that does not come back is replaced. */
static int do_job(struct kho_runner *r, struct job *j, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	uint64_t cap = u->opt->deadline_cap_us;
	uint64_t deadline = kho_clock_us() + (cap && cap < deadline_us ? cap : deadline_us);
	struct kho_err fresh = KHO_ERR_INIT;
	char where[96];

	atomic_store(&u->deadline_us, deadline);
	kho_worker_start(r->worker, run_job, j);
	if (supervise(r, deadline))
		return kho_worker_result(r->worker, err);
	r->stuck = true;
	kho_worker_where(r->worker, where, sizeof(where));
	if (kho_worker_new(&r->worker, &fresh) < 0)
		return kho_fail(err, fresh.code, "%s", fresh.msg);
	return kho_fail(err, -ETIMEDOUT, "does not come back%s%s%s", *where ? " (its thread: " : "", where, *where ? ")" : "");
}

static int run_watched(struct kho_runner *r, const struct kho_step *s, struct kho_err *err)
{
	/* heap: a job that never comes back keeps using it */
	struct job *j = malloc(sizeof(*j));
	uint64_t now = 0;
	int rc;

	if (!j)
		return kho_fail(err, -ENOMEM, "out of memory");
	*j = (struct job){ .u = r->u, .step = s };
	r->watch_peer = s->flags & KHO_STEP_PEER;
	rc = do_job(r, j, s->deadline_us + (s->flags & KHO_STEP_LOAD ? 4 * r->u->plan->canary.us : 0), err);
	/* a step may fail of the peer's death before the watch sees it */
	if (rc < 0)
		look_at_peer(r, &now);
	r->watch_peer = false;
	if (!r->stuck)
		free(j);
	/* the reason for stopping says more than what the stopped step makes of it */
	if (!atomic_load(&r->u->committed) && (rc < 0 || atomic_load(&r->u->stop))) {
		int why = kho_context_check(r->u, err);

		rc = why < 0 ? why : rc;
	}
	return rc;
}

int kho_runner_step(struct kho_runner *r, size_t i, struct kho_err *err)
{
	const struct kho_step *s = &r->u->steps[i];
	struct kho_upgrade *u = r->u;
	uint64_t begin = kho_clock_us();
	struct kho_err late = KHO_ERR_INIT;
	int rc;

	kho_lock_step(u->lock_fd, s->name);
	emit_step(u, s->name, "run", "begin", 0, "", 0);
	rc = journal_step(u, s->name, "run", "begin", 0, "", err);
	if (rc == 0)
		rc = run_watched(r, s, err);
	if (journal_step(u, s->name, "run", "end", rc, err->msg, &late) < 0 && rc == 0)
		rc = kho_fail(err, late.code, "%s", late.msg);
	emit_step(u, s->name, "run", "end", rc, err->msg, kho_clock_us() - begin);
	return rc < 0 ? kho_wrap(err, "%s", s->name) : 0;
}

static int undo_one(struct kho_runner *r, const struct kho_step *s, struct kho_err *err)
{
	struct job *j = malloc(sizeof(*j));
	int rc;

	if (!j)
		return kho_fail(err, -ENOMEM, "out of memory");
	*j = (struct job){ .u = r->u, .step = s, .undo = true };
	atomic_store(&r->u->stop, false);
	rc = do_job(r, j, UNDO_DEADLINE_US, err);
	if (!r->stuck)
		free(j);
	return rc;
}

int kho_runner_unwind(struct kho_runner *r, size_t i, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	int first = 0;

	atomic_store(&u->undoing, true);
	for (size_t k = i + 1; k-- > 0;) {
		const struct kho_step *s = &u->steps[k];
		struct kho_err one = KHO_ERR_INIT;
		uint64_t begin = kho_clock_us();
		int rc;

		if (!s->undo)
			continue;
		kho_lock_step(u->lock_fd, s->name);
		emit_step(u, s->name, "undo", "begin", 0, "", 0);
		/* what cannot be journaled is undone all the same */
		(void)!journal_step(u, s->name, "undo", "begin", 0, "", NULL);
		rc = undo_one(r, s, &one);
		(void)!journal_step(u, s->name, "undo", "end", rc, one.msg, NULL);
		emit_step(u, s->name, "undo", "end", rc, one.msg, kho_clock_us() - begin);
		kho_first_failure(rc < 0 ? kho_wrap(&one, "undo %s", s->name) : 0, &one, &first,
				  err);
	}
	return first;
}

enum kho_outcome kho_runner_undo(struct kho_runner *r, size_t i, struct kho_err *err)
{
	struct kho_err undo_err = KHO_ERR_INIT;
	int rc = kho_runner_unwind(r, i, &undo_err);

	if (kho_context_disk_back(r->u, rc < 0 ? NULL : &undo_err) < 0 && rc == 0)
		rc = undo_err.code;
	if (rc < 0) {
		char was[sizeof(err->msg)];

		memcpy(was, err->msg, sizeof(was));
		kho_fail(err, err->code, "%.250s; and undoing it: %.250s", was, undo_err.msg);
		return KHO_OUT_PERSON;
	}
	/* a thread that hangs in the kernel: all is undone, but somebody should look */
	if (r->stuck)
		return KHO_OUT_PERSON;
	return i == 0 ? KHO_OUT_REFUSED : KHO_OUT_ROLLED_BACK;
}
