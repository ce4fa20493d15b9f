// SPDX-License-Identifier: GPL-2.0-only
/* The process an upgrade runs in.  See khoctl/worker.h. */
#include "khoctl/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "khoctl/guard.h"
#include "khoctl/past.h"
#include "khoctl/recover.h"
#include "lib/cleanup.h"
#include "lib/fs_freeze.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/sched_events.h"
#include "lib/spawn.h"
#include "orchestrator/lock.h"

#define RETIRE_DELAY_US 1500000
#define STACK_BYTES	(1u << 20)

static int stop_write_fd = -1;

static void on_signal(int sig)
{
	int keep = errno;

	(void)!write(stop_write_fd, &sig, sizeof(sig));
	errno = keep;
}

static void catch_signals(int fd)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	stop_write_fd = fd;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

/* Progress may be dropped when the terminal does not read; the result waits for a reader, for a
 * while. */
static void send_line(void *arg, const char *line, size_t len)
{
	const int *fd = arg;
	struct pollfd p = { .fd = *fd, .events = POLLOUT };
	bool result = strstr(line, "\"event\":\"result\"") || strstr(line, "\"event\":\"plan\"");

	while (len) {
		ssize_t n = write(*fd, line, len);

		if (n > 0) {
			line += n;
			len -= (size_t)n;
			result = true; /* never half a line */
			continue;
		}
		if (errno != EAGAIN || !result || poll(&p, 1, 2000) <= 0)
			return;
	}
}

static void send_object(int fd, struct json_object *o)
{
	size_t len;
	_cleanup_free_ char *line = kho_json_line(o, false, &len);

	if (line)
		send_line(&fd, line, len);
	json_object_put(o);
}

static int send_result(int fd, enum kho_outcome out, const struct kho_err *err)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "event", "result");
	kho_json_int(o, "outcome_code", out);
	kho_json_str(o, "outcome", kho_outcome_name(out));
	kho_json_str(o, "msg", err->msg);
	send_object(fd, o);
	return kho_cli_exit(out);
}

/* No standard stream may keep the caller's pipe open, no page of ours may have to come from a
 * frozen disk. */
static int settle_down(const struct kho_cli *c, struct kho_err *err)
{
	pthread_attr_t attr;
	int null;

	setsid();
	if (chdir("/") < 0)
		return kho_fail_errno(err, "chdir /");
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return kho_fail_errno(err, "open /dev/null");
	dup2(null, 0);
	if (!c->exec) {
		dup2(null, 1);
		dup2(null, 2);
	}
	if (null > 2)
		close(null);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
	return mlockall(MCL_CURRENT | MCL_FUTURE) < 0 ? kho_fail_errno(err, "lock khoctl's memory")
						      : 0;
}

/*
 * The person at the terminal agrees to it; a signal that came while the plan was made is a no, and
 * so is a terminal that is gone.
 */
static bool agreed(const struct kho_worker_pipes *pipes)
{
	struct pollfd p[2] = { { .fd = pipes->stop_read, .events = POLLIN },
			       { .fd = pipes->events } };
	int value;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!(p[0].revents & POLLIN))
		return false;
	return read(pipes->stop_read, &value, sizeof(value)) == sizeof(value) &&
	       value == KHO_WORKER_GO;
}

static enum kho_outcome run_plan(const struct kho_cli *c, const struct kho_worker_pipes *pipes,
				 int lock, const struct kho_plan *p, struct kho_engine *e,
				 struct kho_err *err)
{
	_cleanup_free_ char *text = c->exec ? strdup(c->exec) : NULL;
	_cleanup_free_ char **words = text ? kho_split_words(text) : NULL;
	int events = pipes->events;
	struct kho_upgrade_options o = {
		.plan = p,
		.engine = e,
		.hold_before = c->hold_before,
		.retire_delay_us = RETIRE_DELAY_US,
		.on_event = send_line,
		.event_arg = &events,
		.stop_fd = pipes->stop_read,
		.lock_fd = lock,
	};

	if (!e)
		return kho_fail(err, -EOPNOTSUPP, "no engine can: see the verdicts above")
			       ? KHO_OUT_REFUSED
			       : KHO_OUT_INTERNAL;
	if (kho_cli_faults(e, &o.faults, &o.deadline_cap_us, err) < 0)
		return KHO_OUT_REFUSED;
	if (words && words[0])
		o.hold_exec = words;
	return kho_upgrade_run(&o, err);
}

/* The lock before the plan: who waits for an answer, or measures for a plan, is not to be
 * overtaken.
 */
static enum kho_outcome begin(int *lock, struct kho_err *err)
{
	int rc = kho_lock_take(KHO_RUN_DIR, err);

	if (rc < 0)
		return rc == -EBUSY ? KHO_OUT_BUSY : KHO_OUT_INTERNAL;
	*lock = rc;
	kho_lock_step(*lock, "plan");
	return kho_upgrade_may_begin(kho_cli_world(), err) < 0 ? KHO_OUT_BUSY : KHO_OUT_UPGRADED;
}

static void send_plan(int fd, const struct kho_plan *p, bool confirm)
{
	struct json_object *ev = json_object_new_object();

	kho_json_str(ev, "event", "plan");
	kho_json_bool(ev, "confirm", confirm);
	json_object_object_add(ev, "plan", kho_plan_json(p));
	send_object(fd, ev);
}

/* A file as the operator names it, from where he stands: this process leaves for the root. NULL: it is no such name. */
static char *file_of(const char *to)
{
	bool word = !strcmp(to, "latest") || !strcmp(to, "previous");

	return word || !kho_exists(to) ? NULL : realpath(to, NULL);
}

int kho_worker_main(const struct kho_cli *c, const struct kho_worker_pipes *pipes)
{
	struct kho_plan_request rq = kho_cli_request(c);
	_cleanup_free_ char *file = file_of(rq.to);
	_cleanup_close_ int quiet = kho_sched_events_hold();
	struct kho_err err = KHO_ERR_INIT;
	struct kho_plan *p = NULL;
	struct kho_engine *e = NULL;
	enum kho_outcome out;
	bool confirm;
	int lock = -1;

	rq.to = file ? file : rq.to;
	catch_signals(pipes->stop_write);
	if (settle_down(c, &err) < 0)
		return send_result(pipes->events, KHO_OUT_INTERNAL, &err);
	if (kho_guard_start(&err) < 0)
		return send_result(pipes->events, KHO_OUT_INTERNAL, &err);
	out = begin(&lock, &err);
	if (out != KHO_OUT_UPGRADED)
		return send_result(pipes->events, out, &err);
	if (kho_plan_make(kho_cli_world(), &rq, &p, &e, &err) < 0)
		return send_result(pipes->events, KHO_OUT_REFUSED, &err);
	confirm = pipes->confirm && p->can;
	send_plan(pipes->events, p, confirm);
	if (confirm && !agreed(pipes)) {
		kho_fail(&err, -ECANCELED, "not agreed to; nothing was touched");
		return send_result(pipes->events, KHO_OUT_DECLINED, &err);
	}
	out = run_plan(c, pipes, lock, p, e, &err);
	/* an upgrade that began has told its result itself; telling it twice does no harm */
	if (out != KHO_OUT_UPGRADED)
		send_result(pipes->events, out, &err);
	/* a disk that did not answer: who gave it up has the result, and is not waited for any more (the lock is still there with what that thread uses) */
	if (kho_fs_freeze_waits())
		kho_lock_step(lock, "wait-for-disk");
	if (kho_fs_freeze_settle())
		return kho_cli_exit(out);
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
	return kho_cli_exit(out);
}

int kho_worker_resume(const struct kho_cli *c, const struct kho_worker_pipes *pipes)
{
	_cleanup_past_ struct kho_past past = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	int events = pipes->events;
	enum kho_outcome out;

	catch_signals(pipes->stop_write);
	if (settle_down(c, &err) < 0)
		return send_result(pipes->events, KHO_OUT_INTERNAL, &err);
	kho_past_read(&past, "");
	out = kho_resume(&past, RETIRE_DELAY_US, send_line, &events, &err);
	if (out != KHO_OUT_UPGRADED)
		send_result(pipes->events, out, &err);
	return kho_cli_exit(out);
}
