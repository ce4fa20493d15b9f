// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl status: from lock and journal, no daemon needed.
 */
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

/* What to type next, by how the last upgrade ended. */
static const char *advice(const char *state, const char *outcome)
{
	if (!strcmp(state, "running"))
		return "khoctl status --follow, or khoctl rollback to stop it";
	if (!strcmp(state, "interrupted"))
		return "khoctl rollback";
	if (!strcmp(outcome, "needs a person"))
		return "khoctl report, khoctl list; then khoctl rollback";
	return "";
}

static bool was_signed(const struct json_object *records)
{
	for (size_t i = 0; i < json_object_array_length(records); i++)
		if (!strcmp(kho_json_get_str(json_object_array_get_idx(records, i), "rec"), "signe"
											    "d"))
			return true;
	return false;
}

static struct json_object *gather(void)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct json_object *o = json_object_new_object();
	const char *state = "none", *outcome = "";
	char step[32];
	pid_t pid = kho_lock_holder(KHO_RUN_DIR, step);

	if (kho_journal_read(KHO_RUN_DIR, KHO_STATE_DIR, &records, NULL, NULL) == 0) {
		report = kho_report_of_journal(records);
		outcome = kho_json_get_str(report, "outcome");
		state = strcmp(outcome, "interrupted") ? "ended"
			: was_signed(records)	       ? "committed"
						       : "interrupted";
		kho_json_str(o, "from", kho_json_get_str(report, "from"));
		kho_json_str(o, "to", kho_json_get_str(report, "to"));
	}
	if (pid) {
		state = "running";
		outcome = "";
		kho_json_int(o, "pid", pid);
		kho_json_str(o, "step", step);
	}
	kho_json_str(o, "state", state);
	kho_json_str(o, "outcome", outcome);
	kho_json_str(o, "msg", report ? kho_json_get_str(report, "msg") : "");
	kho_json_str(o, "next", advice(state, outcome));
	return o;
}

static void print(const struct json_object *o)
{
	const char *state = kho_json_get_str(o, "state"), *msg = kho_json_get_str(o, "msg"),
		   *next = kho_json_get_str(o, "next");

	if (!strcmp(state, "none")) {
		puts("no upgrade has been run");
		return;
	}
	printf("%s -> %s: ", kho_json_get_str(o, "from"), kho_json_get_str(o, "to"));
	if (!strcmp(state, "running"))
		printf("running, step %s (pid %lld)", kho_json_get_str(o, "step"),
		       (long long)kho_json_get_int(o, "pid"));
	else if (!strcmp(state, "ended"))
		printf("%s%s%s", kho_json_get_str(o, "outcome"), *msg ? ": " : "", msg);
	else
		printf("%s", !strcmp(state, "committed") ? "committed"
							 : "INTERRUPTED: khoctl died in the "
							   "middle");
	printf("%s%s\n", *next ? "; next: " : "", next);
}

/* events.jsonl in RAM grows until the result; a new upgrade begins a new file. */
static int follow(const struct kho_cli *c)
{
	_cleanup_fclose_ FILE *f = fopen(KHO_RUN_DIR "/events.jsonl", "re");
	struct kho_progress p = { .f = stdout, .live = isatty(1) };
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	char step[32];

	if (!f)
		return KHO_EXIT_OK;
	for (;;) {
		ssize_t n = getline(&line, &room, f);

		if (n > 0) {
			if (c->json) {
				fputs(line, stdout);
				fflush(stdout);
			} else {
				kho_progress_line(&p, line, (size_t)n - 1);
			}
			if (strstr(line, "\"event\":\"result\""))
				return KHO_EXIT_OK;
			continue;
		}
		clearerr(f);
		if (!kho_lock_holder(KHO_RUN_DIR, step))
			return KHO_EXIT_OK;
		usleep(100000);
		if (!c->json)
			kho_progress_tick(&p, 100000);
	}
}

int kho_verb_status(const struct kho_cli *c)
{
	_cleanup_json_ struct json_object *o = NULL;

	if (c->follow)
		(void)follow(c);
	o = gather();
	if (c->json)
		kho_cli_json(json_object_get(o));
	else
		print(o);
	return KHO_EXIT_OK;
}
