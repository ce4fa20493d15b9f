// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl rollback: before the commit stop and undo (the running khoctl does it, or this one from
 * the journal of one that died); after the commit say how to go back, and with --yes do it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "khoctl/recover.h"
#include "khoctl/watch.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "orchestrator/lock.h"

#define WAIT_S 600

static int as_before(const struct kho_cli *c, const char *why)
{
	return kho_cli_tell(c, KHO_EXIT_OK, kho_outcome_name(KHO_OUT_ROLLED_BACK), why);
}

/* How the one that was asked to stop has ended. */
static int tell_end(const struct kho_cli *c, pid_t pid)
{
	_cleanup_past_ struct kho_past p;
	const char *outcome;

	kho_past_read(&p, "");
	outcome = p.report ? kho_json_get_str(p.report, "outcome") : "";
	if (p.state == KHO_PAST_RUNNING)
		return kho_cli_tell(c, KHO_EXIT_PERSON, "it does not end", "see khoctl status");
	if (p.state != KHO_PAST_ENDED)
		return kho_cli_tell(c, KHO_EXIT_PERSON, "its khoctl died", kho_past_advice(&p));
	/* stopped before it had begun its journal: the last one is of an upgrade before it */
	if (p.author != pid)
		return as_before(c, "it had not begun; nothing was touched");
	if (!strcmp(outcome, kho_outcome_name(KHO_OUT_UPGRADED)) || p.is_signed)
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "too late", "it was committed");
	if (kho_outcome_is_as_before(outcome))
		return as_before(c, "the machine is as before");
	return kho_cli_tell(c, KHO_EXIT_PERSON, outcome, kho_json_get_str(p.report, "msg"));
}

/* Ask the running one and wait for the end of its undo. */
static int stop_running(const struct kho_cli *c, const struct kho_past *p)
{
	struct kho_err err = KHO_ERR_INIT;
	char step[32];

	if (p->is_signed)
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "too late",
			    "it is committed and about to end; then khoctl rollback --yes, on the "
			    "other kernel, goes back");
	if (kill(p->pid, SIGTERM) < 0) {
		(void)kho_fail_errno(&err, "signal khoctl (pid %d)", p->pid);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	for (int i = 0; i < WAIT_S * 10 && kho_lock_holder(KHO_RUN_DIR, step) == p->pid; i++)
		usleep(100000);
	return tell_end(c, p->pid);
}

/* What nobody reads is not shown: workloads stand still meanwhile. */
static void show_line(void *arg, const char *line, size_t len)
{
	(void)!write(*(const int *)arg, line, len);
}

static void __attribute__((noreturn)) show_lines(const struct kho_cli *c, int fd)
{
	struct kho_progress progress = { .f = c->json ? stderr : stdout };
	_cleanup_fclose_ FILE *f = fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while (f && (n = getline(&line, &room, f)) > 0)
		kho_progress_line(&progress, line, (size_t)n - 1);
	_exit(0);
}

/*
 * Progress is printed by another process: a terminal that stands still, or a file on a file system that is frozen, must not keep
 * this one from the undo. *out_pid -1 and *out_fd -1: there is none, nothing is shown.
 */
static void start_showing(const struct kho_cli *c, pid_t *out_pid, int *out_fd)
{
	int p[2];

	*out_pid = *out_fd = -1;
	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	fflush(NULL);
	*out_pid = fork();
	if (!*out_pid) {
		close(p[1]);
		show_lines(c, p[0]);
	}
	close(p[0]);
	(void)fcntl(p[1], F_SETFL, O_NONBLOCK);
	*out_fd = p[1];
}

static void end_showing(pid_t pid, int fd)
{
	if (fd >= 0)
		close(fd);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

/* khoctl died in the middle: undo from its journal. */
static int recover(const struct kho_cli *c, const struct kho_past *past)
{
	struct kho_err err = KHO_ERR_INIT;
	pid_t pid;
	int rc, fd;

	start_showing(c, &pid, &fd);
	kho_recover_steady();
	rc = kho_recover(past, show_line, &fd, &err);
	end_showing(pid, fd);
	if (rc == -EBUSY || rc == -ENOENT)
		return kho_cli_error(c, KHO_EXIT_BUSY, &err);
	return rc < 0 ? kho_cli_error(c, KHO_EXIT_PERSON, &err)
		      : as_before(c, "the machine is as before");
}

/* The kernel that runs is the one which the last upgrade led to: the machine was not restarted into another one since. */
static bool led_here(const struct json_object *report)
{
	struct utsname u;

	return uname(&u) == 0 && !strcmp(u.release, kho_json_get_str(report, "to"));
}

static int go_back(const struct kho_cli *c, const struct json_object *report)
{
	const char *old_image = kho_json_get_str(report, "old_image");
	struct kho_cli again = kho_cli_way_back(c, old_image);
	char text[512];

	if (!led_here(report)) {
		snprintf(text, sizeof(text), "the last upgrade led to %s, and another kernel runs; khoctl upgrade --to RELEASE goes to one",
			 kho_json_get_str(report, "to"));
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to undo", text);
	}

	if (!c->yes) {
		snprintf(text, sizeof(text),
			 "the way back is another upgrade: khoctl rollback --yes, or khoctl "
			 "upgrade --to %s",
			 old_image);
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "committed", text);
	}
	return kho_verb_upgrade(&again);
}

int kho_verb_rollback(const struct kho_cli *c)
{
	_cleanup_past_ struct kho_past p;

	if (kho_cli_need_root(c, "rollback"))
		return KHO_EXIT_REFUSED;
	kho_past_read(&p, "");
	switch (p.state) {
	case KHO_PAST_RUNNING:
		return stop_running(c, &p);
	case KHO_PAST_INTERRUPTED:
		return recover(c, &p);
	case KHO_PAST_HANDED:
	case KHO_PAST_WAITING:
		return kho_cli_tell(c, KHO_EXIT_PERSON, "committed", kho_past_advice(&p));
	case KHO_PAST_NONE:
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to undo", "no upgrade has been run");
	case KHO_PAST_REBOOTED:
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to undo",
			    "the machine was restarted since");
	case KHO_PAST_ENDED:
		break;
	}
	if (!strcmp(kho_json_get_str(p.report, "outcome"), kho_outcome_name(KHO_OUT_UPGRADED)))
		return go_back(c, p.report);
	if (p.is_signed)
		return kho_cli_tell(c, KHO_EXIT_PERSON, "committed", kho_past_advice(&p));
	if (!strcmp(kho_json_get_str(p.report, "outcome"), kho_outcome_name(KHO_OUT_PERSON)))
		return recover(c, &p);
	return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to undo",
			    "the last upgrade was undone already; khoctl upgrade --to previous goes to the kernel before this one");
}
