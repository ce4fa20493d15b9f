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
#include "khoctl/progress.h"
#include "khoctl/text.h"
#include "khoctl/worker.h"
#include "lib/cleanup.h"
#include "lib/json.h"
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

struct watch {
	const struct kho_cli *c;
	struct kho_progress progress;
	int code; /* exit code once the result is known, or -1 */
	char *buf;
	size_t len, room;
};

static void ask(void)
{
	char line[16] = "";
	int go = KHO_WORKER_GO, no = SIGINT;

	fputs("Go on with these losses? [y/N] ", stdout);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		line[0] = 'n';
	(void)!write(to_worker, line[0] == 'y' || line[0] == 'Y' ? &go : &no, sizeof(int));
}

static void on_result(struct watch *w, const struct json_object *o)
{
	struct json_object *report = kho_json_get(o, "report");
	const char *msg = kho_json_get_str(o, "msg");
	int64_t out = kho_json_get_int(o, "outcome_code");

	if (w->code >= 0)
		return;
	w->code = kho_cli_exit((enum kho_outcome)out);
	if (w->c->json)
		return;
	kho_progress_clear(&w->progress);
	if (out == KHO_OUT_UPGRADED && report) {
		fputs("\n", stdout);
		kho_text_report(report, stdout);
		return;
	}
	fflush(stdout);
	fprintf(stderr, "khoctl: %s: %s\n", kho_json_get_str(o, "outcome"), msg);
}

static void on_line(struct watch *w, const char *line, size_t len)
{
	_cleanup_json_ struct json_object *o = NULL;
	const char *kind;

	if (kho_json_parse(line, len, &o, NULL) < 0)
		return;
	kind = kho_json_get_str(o, "event");
	if (w->c->json && (strcmp(kind, "result") || w->code < 0)) {
		printf("%.*s\n", (int)len, line);
		fflush(stdout);
	}
	if (!strcmp(kind, "result"))
		on_result(w, o);
	else if (!strcmp(kind, "plan") && !w->c->json) {
		kho_text_verdicts(kho_json_get(o, "plan"), 1, stdout);
		fflush(stdout);
		if (json_object_get_boolean(kho_json_get(o, "confirm")))
			ask();
	} else if (!w->c->json)
		kho_progress_line(&w->progress, line, len);
}

/* More bytes from the worker; false at the end. */
static bool take_bytes(struct watch *w, int fd)
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

		on_line(w, w->buf, used - 1);
		memmove(w->buf, nl + 1, w->len - used);
		w->len -= used;
	}
	return true;
}

static int watch_worker(const struct kho_cli *c, int fd)
{
	struct watch w = { .c = c, .code = -1, .progress = { .f = stdout, .live = isatty(1) } };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (w.code < 0) {
		int n = poll(&p, 1, TICK_MS);

		if (n == 0)
			kho_progress_tick(&w.progress, TICK_MS * 1000);
		else if (n > 0 && !take_bytes(&w, fd))
			break;
	}
	free(w.buf);
	if (w.code >= 0)
		return w.code;
	fprintf(stderr, "khoctl: the upgrade's process ended without a result; see khoctl status, "
			"then khoctl rollback\n");
	return KHO_EXIT_PERSON;
}

static int start(const struct kho_cli *c)
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
			.confirm = !c->yes && !c->json && isatty(0) && isatty(1),
		};

		close(events[0]);
		(void)fcntl(events[1], F_SETFL, O_NONBLOCK);
		_exit(kho_worker_main(c, &pipes));
	}
	close(events[1]);
	close(stop[0]);
	to_worker = stop[1];
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, forward);
	signal(SIGTERM, forward);
	return watch_worker(c, events[0]);
}

static int dry_run(const struct kho_cli *c)
{
	struct kho_plan_request rq = kho_cli_request(c);
	struct kho_err err = KHO_ERR_INIT;
	struct kho_engine *e = NULL;
	struct kho_plan *p = NULL;
	struct json_object *j;
	int rc = kho_plan_make(kho_cli_world(), &rq, &p, &e, &err);

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
	struct kho_err err = KHO_ERR_INIT;
	int hold = c->hold_before ? kho_step_find(c->hold_before) : 0;

	if (!c->to)
		return usage(c, "--to FILE (or --to latest) is missing");
	if (c->sysroot && !c->dry_run)
		return usage(c, "--sysroot is for --dry-run only");
	if (c->exec && !c->hold_before)
		return usage(c, "--exec needs --hold-before");
	if (hold < 0 || hold > kho_step_find("freeze"))
		return usage(c, "--hold-before wants a step up to freeze");
	if (c->dry_run)
		return dry_run(c);
	if (geteuid() != 0) {
		(void)kho_fail(&err, -EPERM, "upgrade must be run as root");
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	return start(c);
}
