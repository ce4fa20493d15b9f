// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl upgrade: start the worker process, show what it tells, exit with its result.  This process
 * only watches.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "khoctl/watch.h"
#include "khoctl/worker.h"
#include "lib/json.h"
#include "orchestrator/events.h"
#include "orchestrator/steps.h"

#define PIPE_BYTES (1 << 20)
#define TICK_MS	   100

static int to_worker = -1;

static void forward(int sig)
{
	int keep = errno;

	(void)!write(to_worker, &sig, sizeof(sig));
	errno = keep;
}

struct stream {
	struct kho_watch w;
	char *buf;
	size_t len, room;
};

static void answer(struct stream *s, bool yes)
{
	int value = yes ? KHO_WORKER_GO : KHO_WORKER_NO;

	s->w.ask = false;
	(void)!write(to_worker, &value, sizeof(value));
}

/* The person has typed a line, or closed the terminal, which is no yes. */
static void take_answer(struct stream *s)
{
	char line[64];
	ssize_t n = read(0, line, sizeof(line));

	if (n < 0 && errno == EINTR)
		return;
	answer(s, n > 0 && (line[0] == 'y' || line[0] == 'Y'));
}

/* More bytes from the worker; false at the end. */
static bool take_bytes(struct stream *w, int fd)
{
	char *nl;
	ssize_t n;

	if (w->room - w->len < 4096) {
		char *bigger = realloc(w->buf, w->room = (w->room + 4096) * 2);

		if (!bigger)
			return false;
		w->buf = bigger;
	}
	n = read(fd, w->buf + w->len, w->room - w->len);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0)
		return false;
	w->len += (size_t)n;
	while ((nl = memchr(w->buf, '\n', w->len))) {
		size_t used = (size_t)(nl - w->buf) + 1;

		kho_watch_line(&w->w, w->buf, used - 1);
		memmove(w->buf, nl + 1, w->len - used);
		w->len -= used;
	}
	return true;
}

/* The worker ended without telling a result: it is told for it, as everything else that comes from there. */
static int died(struct kho_watch *w)
{
	struct json_object *o = kho_event_new("result");
	const char *line;

	kho_json_int(o, "outcome_code", KHO_OUT_PERSON);
	kho_json_str(o, "outcome", kho_outcome_name(KHO_OUT_PERSON));
	kho_json_str(o, "msg", "its process ended without a result; see khoctl status, then khoctl rollback");
	line = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	kho_watch_line(w, line, strlen(line));
	json_object_put(o);
	return w->code;
}

static int watch_worker(const struct kho_cli *c, int fd)
{
	struct stream s = { 0 };
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = 0, .events = POLLIN } };

	kho_watch_init(&s.w, c);
	while (s.w.code < 0) {
		int n = poll(p, s.w.ask ? 2 : 1, TICK_MS);

		if (n == 0 && !s.w.ask)
			kho_progress_tick(&s.w.progress, TICK_MS * 1000);
		if (n <= 0)
			continue;
		if (s.w.ask && p[1].revents)
			take_answer(&s);
		if (p[0].revents && !take_bytes(&s, fd))
			break;
	}
	free(s.buf);
	if (s.w.code >= 0)
		return s.w.code;
	return died(&s.w);
}

int kho_worker_watch(const struct kho_cli *c, kho_worker_fn *child)
{
	struct kho_err err = KHO_ERR_INIT;
	int events[2], stop[2];
	pid_t pid;

	if (pipe2(events, O_CLOEXEC) < 0 || pipe2(stop, O_CLOEXEC) < 0) {
		(void)kho_fail_errno(&err, "make a pipe");
		return kho_cli_error(c, KHO_EXIT_INTERNAL, &err);
	}
	(void)fcntl(events[1], F_SETPIPE_SZ, PIPE_BYTES);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		(void)kho_fail_errno(&err, "start a process");
		return kho_cli_error(c, KHO_EXIT_INTERNAL, &err);
	}
	if (pid == 0) {
		struct kho_worker_pipes pipes = {
			.events = events[1],
			.stop_read = stop[0],
			.stop_write = stop[1],
			.confirm = !c->yes && !c->json && !c->kernel && isatty(0) && isatty(1), /* a canary takes nothing */
		};

		close(events[0]);
		(void)fcntl(events[1], F_SETFL, O_NONBLOCK);
		_exit(child(c, &pipes));
	}
	close(events[1]);
	close(stop[0]);
	to_worker = stop[1];
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, forward);
	signal(SIGTERM, forward);
	return watch_worker(c, events[0]);
}

int kho_cli_dry_run(const struct kho_cli *c, const struct kho_plan_request *rq)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_engine *e = NULL;
	struct kho_plan *p = NULL;
	struct json_object *j;
	int rc = kho_cli_need_no_upgrade(c);

	if (rc)
		return rc;
	rc = kho_plan_make(kho_cli_world(), rq, &p, &e, &err);
	if (rc < 0)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	j = kho_plan_json(p);
	rc = p->can ? KHO_EXIT_OK : KHO_EXIT_REFUSED;
	if (c->json)
		kho_cli_json(json_object_get(j));
	else
		kho_text_plan(j, stdout);
	json_object_put(j);
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
	return rc;
}

static int usage(const struct kho_cli *c, const char *text)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)kho_fail(&err, -EINVAL, "upgrade: %s", text);
	return kho_cli_error(c, KHO_EXIT_USAGE, &err);
}

int kho_verb_upgrade(const struct kho_cli *c)
{
	int hold = c->hold_before ? kho_step_find(c->hold_before) : 0, rc;
	struct kho_plan_request rq = kho_cli_request(c);

	if (!c->to)
		return usage(c, "--to KERNEL (latest, previous, a release or a file) is missing");
	if (c->sysroot && !c->dry_run)
		return usage(c, "--sysroot is for --dry-run only");
	if (c->exec && !c->hold_before)
		return usage(c, "--exec needs --hold-before");
	if (hold < 0 || hold > kho_step_find(KHO_STEP_HELD))
		return usage(c, "--hold-before wants a step up to freeze");
	rc = kho_cli_request_check(c, &rq);
	if (rc)
		return rc;
	if (c->dry_run)
		return kho_cli_dry_run(c, &rq);
	if (kho_cli_need_root(c, "upgrade"))
		return KHO_EXIT_REFUSED;
	return kho_worker_watch(c, kho_worker_main);
}
