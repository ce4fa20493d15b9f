// SPDX-License-Identifier: GPL-2.0-only
/* Where an upgrade is.  See khoctl/past.h. */
#include "khoctl/past.h"

#include <stdio.h>
#include <string.h>

#include "khoctl/cli.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/lock.h"
#include "orchestrator/report.h"
#include "orchestrator/upgrade.h"

const char *kho_past_name(enum kho_past_state state)
{
	static const char *const names[] = {
		[KHO_PAST_NONE] = "none",
		[KHO_PAST_RUNNING] = "running",
		[KHO_PAST_INTERRUPTED] = "interrupted",
		[KHO_PAST_HANDED] = "committed",
		[KHO_PAST_WAITING] = "waiting",
		[KHO_PAST_REBOOTED] = "rebooted",
		[KHO_PAST_ENDED] = "ended",
	};

	return names[state];
}

const char *kho_past_advice(const struct kho_past *p)
{
	switch (p->state) {
	case KHO_PAST_RUNNING:
		if (p->is_signed)
			return "wait: the incoming kernel has taken over, this one is about to end";
		if (p->undoing)
			return "khoctl status --follow: it is being undone";
		return "khoctl status --follow to watch it, khoctl rollback to stop and undo it";
	case KHO_PAST_INTERRUPTED:
		return "khoctl rollback";
	case KHO_PAST_HANDED:
		return "khoctl resume";
	case KHO_PAST_WAITING:
		return "wait; khoctl resume ends the outgoing kernel now";
	case KHO_PAST_ENDED:
		if (strcmp(kho_json_get_str(p->report, "outcome"), "needs a person"))
			return p->panicked ? "khoctl log shows what the outgoing kernel said last" : "";
		return p->is_signed ? "khoctl report, khoctl list"
				    : "khoctl rollback tries once more to undo the rest";
	default:
		return "";
	}
}

/* What the records tell beyond the report: the last step begun, who works on it. */
static pid_t scan(struct kho_past *p)
{
	pid_t pid = 0;

	for (size_t i = 0; i < json_object_array_length(p->records); i++) {
		const struct json_object *o = json_object_array_get_idx(p->records, i);
		const char *kind = kho_json_get_str(o, "rec");

		if (!strcmp(kind, "begin") || !strcmp(kind, "recover") || !strcmp(kind, "resume"))
			pid = (pid_t)kho_json_get_int(o, "pid");
		else if (!strcmp(kind, "signed"))
			p->is_signed = true;
		else if (!strcmp(kind, "takeover"))
			p->panicked = !strcmp(kho_json_get_str(o, "why"), "panicked");
		else if (!strcmp(kind, "reset"))
			p->lost = kho_json_get_str(o, "lost");
		else if (!strcmp(kind, "step") && !strcmp(kho_json_get_str(o, "state"), "begin")) {
			snprintf(p->step, sizeof(p->step), "%s", kho_json_get_str(o, "step"));
			p->undoing = !strcmp(kho_json_get_str(o, "act"), "undo");
		}
	}
	return pid;
}

int64_t kho_own_generation(const char *sysroot)
{
	struct kho_instance_info *list = NULL;
	int64_t generation = 0;
	size_t n = 0;

	if (kho_instances(sysroot, &list, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (list[i].self)
			generation = list[i].generation;
	kho_instances_free(list, n);
	return generation;
}

/* Did this kernel become what that upgrade made? */
static bool is_outcome(const struct json_object *report, const char *sysroot)
{
	_cleanup_free_ char *running = NULL;

	return kho_plan_running(sysroot, &running, NULL) == 0 && kho_report_led_to(report, kho_own_generation(sysroot), running);
}

static enum kho_past_state state_of(struct kho_past *p, const char *sysroot, const char *run_dir)
{
	_cleanup_json_ struct json_object *here = NULL;
	bool of_this_boot = kho_journal_read(run_dir, run_dir, &here, NULL, NULL) == 0;

	/* khoctl died before it could note that the other kernel has signed */
	if (of_this_boot && kho_upgrade_died_signing(p->records))
		p->is_signed |= kho_instance_other_signed(sysroot);

	/* whatever its end says: who has handed over is to be gone by now */
	if (of_this_boot && p->is_signed && !is_outcome(p->report, sysroot))
		return KHO_PAST_HANDED;
	if (!of_this_boot && p->is_signed && is_outcome(p->report, sysroot) && kho_instance_other_signed(sysroot))
		return KHO_PAST_WAITING;
	if (strcmp(kho_json_get_str(p->report, "outcome"), "interrupted"))
		return KHO_PAST_ENDED;
	if (of_this_boot)
		return KHO_PAST_INTERRUPTED;
	if (!is_outcome(p->report, sysroot))
		return KHO_PAST_REBOOTED;
	kho_report_taken_over(p->report);
	return KHO_PAST_ENDED;
}

void kho_past_read(struct kho_past *p, const char *sysroot)
{
	_cleanup_free_ char *run = kho_sysroot_path(sysroot, KHO_RUN_DIR), *kept = kho_sysroot_path(sysroot, KHO_STATE_DIR);
	struct kho_err err = KHO_ERR_INIT;
	char step[32] = "";

	*p = (struct kho_past){ .pid = run ? kho_lock_holder(run, step) : 0, .lost = "" };
	if (run && kept && kho_journal_read(run, kept, &p->records, NULL, &err) == 0) {
		p->report = kho_report_of_journal(p->records);
		p->author = scan(p);
	}
	p->hidden = err.code == -EACCES;
	if (!p->pid) {
		p->state = p->records ? state_of(p, sysroot, run) : KHO_PAST_NONE;
		return;
	}
	p->state = KHO_PAST_RUNNING;
	p->planning = p->author != p->pid;
	if (p->planning)
		p->undoing = p->is_signed = false;
	snprintf(p->step, sizeof(p->step), "%s", step);
}

void kho_past_done(struct kho_past *p)
{
	json_object_put(p->records);
	json_object_put(p->report);
	p->records = p->report = NULL;
}
