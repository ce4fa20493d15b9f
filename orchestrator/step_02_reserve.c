// SPDX-License-Identifier: GPL-2.0-only
/*
 * reserve: watchdogs must not speak up while CPUs come and go; who is pinned to CPUs is noted, because a thread whose last CPU leaves is pinned
 * no more (lib/affinity.h); then memory and CPUs leave this kernel.  What a
 * panic of it leads to stays as it is: the module keeps it from resetting the machine under a kernel that has taken over, or is
 * about to (handover/module/leave.c), and tells the next one (in the region's ledger) what kernel.panic is to be when that is alone.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

static const struct {
	const char *path, *value;
} quiet[] = {
	{ "/proc/sys/kernel/hung_task_timeout_secs", "0" },
	{ "/proc/sys/kernel/watchdog", "0" },
};

/* A sysctl that this kernel does not have needs no quieting. */
static void read_old(struct kho_upgrade *u, struct json_object *old)
{
	for (size_t i = 0; i < sizeof(quiet) / sizeof(*quiet); i++) {
		_cleanup_free_ char *path = kho_sysroot_path(u->plan->sysroot, quiet[i].path),
				    *text = NULL;

		if (path && kho_read_line(path, &text, NULL) == 0)
			kho_json_str(old, path, text);
	}
}

static int be_quiet(const struct kho_upgrade *u, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(quiet) / sizeof(*quiet) && rc == 0; i++) {
		_cleanup_free_ char *path = kho_sysroot_path(u->plan->sysroot, quiet[i].path);

		if (path && kho_json_get(u->sysctls, path))
			rc = kho_write_existing(path, quiet[i].value, err);
	}
	return rc;
}

static int note_pinned(struct kho_upgrade *u, struct kho_err *err)
{
	int rc;

	kho_affinity_done(&u->affinity);
	rc = kho_affinity_read(u->plan->sysroot, &u->affinity, err);
	return rc < 0 || !u->affinity.n ? rc : kho_journal_add(u->journal, kho_affinity_record(&u->affinity), err);
}

/* No reason to call the machine not undone, but told. */
static void pin_again(struct kho_upgrade *u)
{
	const char *sysroot = u->plan->sysroot;
	struct kho_err why = KHO_ERR_INIT;
	unsigned pinned = 0, failed = 0;

	/* those of a recorded tree are none of this system */
	if (!sysroot || !*sysroot)
		failed = kho_affinity_put_back(&u->affinity, &pinned, &why);
	if (pinned)
		kho_context_note(u, "threads that are pinned to their CPUs again: %u", pinned);
	if (failed)
		kho_context_note(u, "threads that run on all CPUs now: %u; the first: %s", failed, why.msg);
	kho_affinity_done(&u->affinity);
}

int kho_step_reserve(struct kho_upgrade *u, struct kho_err *err)
{
	struct json_object *rec = kho_record_new("sysctls");
	int rc;

	json_object_put(u->sysctls);
	u->sysctls = json_object_new_object();
	read_old(u, u->sysctls);
	json_object_object_add(rec, "old", json_object_get(u->sysctls));
	/* on record before the first is changed */
	rc = kho_journal_add(u->journal, rec, err);
	if (rc == 0)
		rc = be_quiet(u, err);
	if (rc == 0)
		rc = note_pinned(u, err);
	return rc < 0 ? rc : u->engine->ops->reserve(u->engine, &u->plan->engine_plan, err);
}

int kho_undo_reserve(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	kho_first_failure(u->engine->ops->unreserve(u->engine, &one), &one, &first, err);
	pin_again(u);
	if (!u->sysctls)
		return first;
	json_object_object_foreach (u->sysctls, path, text)
		kho_first_failure(kho_write_existing(path, json_object_get_string(text), &one),
				  &one, &first, err);
	json_object_put(u->sysctls);
	u->sysctls = NULL;
	return first;
}
