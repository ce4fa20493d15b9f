// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl rollback: before the commit stop and undo (the running khoctl does it, or this one from
 * the journal of one that died); after the commit say how to go back, and with --yes do it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/progress.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/lock.h"
#include "orchestrator/report.h"

#define WAIT_S 600

static int tell(const struct kho_cli *c, enum kho_exit code, const char *outcome, const char *msg)
{
	if (c->json) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "outcome", outcome);
		kho_json_str(o, "msg", msg);
		kho_json_int(o, "exit", code);
		kho_cli_json(o);
	} else {
		printf("%s%s%s\n", outcome, *msg ? ": " : "", msg);
	}
	return code;
}

static struct json_object *read_report(struct kho_err *err)
{
	_cleanup_json_ struct json_object *records = NULL;

	if (kho_journal_read(KHO_RUN_DIR, KHO_STATE_DIR, &records, NULL, err) < 0)
		return NULL;
	return kho_report_of_journal(records);
}

/* Ask the running one and wait for the end of its undo. */
static int stop_running(const struct kho_cli *c, pid_t pid)
{
	_cleanup_json_ struct json_object *report = NULL;
	struct kho_err err = KHO_ERR_INIT;
	const char *outcome;
	char step[32];

	if (kill(pid, SIGTERM) < 0) {
		(void)kho_fail_errno(&err, "signal khoctl (pid %d)", pid);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	for (int i = 0; i < WAIT_S * 10 && kho_lock_holder(KHO_RUN_DIR, step) == pid; i++)
		usleep(100000);
	report = read_report(&err);
	if (!report)
		return kho_cli_error(c, KHO_EXIT_PERSON, &err);
	outcome = kho_json_get_str(report, "outcome");
	if (!strcmp(outcome, "upgraded"))
		return tell(c, KHO_EXIT_REFUSED, "too late",
			    "the upgrade had been committed; khoctl rollback once more says how to "
			    "go back");
	if (!strcmp(outcome, "rolled back") || !strcmp(outcome, "refused"))
		return tell(c, KHO_EXIT_OK, "rolled back", "the machine is as before");
	return tell(c, KHO_EXIT_PERSON, outcome, kho_json_get_str(report, "msg"));
}

static void show_line(void *arg, const char *line, size_t len)
{
	kho_progress_line(arg, line, len);
}

/* khoctl died in the middle: undo from its journal. */
static int recover(const struct kho_cli *c, const char *image)
{
	struct kho_plan_request rq = kho_cli_request(c);
	struct kho_progress progress = { .f = c->json ? stderr : stdout };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_plan *p = NULL;
	struct kho_engine *e = NULL;
	int rc;

	rq.to = image;
	rc = kho_plan_make(kho_cli_world(), &rq, &p, &e, &err);
	if (rc == 0 && !e)
		rc = kho_fail(&err, -EOPNOTSUPP, "no engine can undo it");
	if (rc == 0) {
		struct kho_upgrade_options o = {
			.plan = p,
			.engine = e,
			.stop_fd = -1,
			.on_event = show_line,
			.event_arg = &progress,
		};

		rc = kho_upgrade_recover(&o, &err);
	}
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
	return rc < 0 ? kho_cli_error(c, KHO_EXIT_PERSON, &err)
		      : tell(c, KHO_EXIT_OK, "rolled back", "the machine is as before");
}

static int go_back(const struct kho_cli *c, const char *old_image)
{
	struct kho_cli again = *c;
	char text[512];

	if (!c->yes) {
		snprintf(text, sizeof(text),
			 "the way back is another upgrade: khoctl upgrade --to %s", old_image);
		return tell(c, KHO_EXIT_REFUSED, "committed", text);
	}
	again.to = old_image;
	return kho_verb_upgrade(&again);
}

static const char *begun_image(const struct json_object *records, bool *out_signed, bool *out_ended)
{
	const char *image = "";

	for (size_t i = 0; i < json_object_array_length(records); i++) {
		const struct json_object *o = json_object_array_get_idx(records, i);
		const char *kind = kho_json_get_str(o, "rec");

		if (!strcmp(kind, "begin"))
			image = kho_json_get_str(o, "image");
		*out_signed |= !strcmp(kind, "signed");
		*out_ended |= !strcmp(kind, "end");
	}
	return image;
}

int kho_verb_rollback(const struct kho_cli *c)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct kho_err err = KHO_ERR_INIT;
	bool is_signed = false, ended = false;
	const char *image;
	char step[32];
	pid_t pid;

	if (geteuid() != 0) {
		(void)kho_fail(&err, -EPERM, "rollback must be run as root");
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	pid = kho_lock_holder(KHO_RUN_DIR, step);
	if (pid)
		return stop_running(c, pid);
	if (kho_journal_read(KHO_RUN_DIR, KHO_STATE_DIR, &records, NULL, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	image = begun_image(records, &is_signed, &ended);
	report = kho_report_of_journal(records);
	if (is_signed || !strcmp(kho_json_get_str(report, "outcome"), "upgraded"))
		return go_back(c, kho_json_get_str(report, "old_image"));
	if (!ended)
		return recover(c, image);
	return tell(c, KHO_EXIT_REFUSED, "nothing to undo", "the last upgrade was undone already");
}
