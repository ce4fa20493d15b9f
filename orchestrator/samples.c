// SPDX-License-Identifier: GPL-2.0-only
/*
 * What earlier upgrades of this machine have measured: the last one's journal, and those before it
 * in the history.  See orchestrator/predict.h.
 */
#include <string.h>

#include "lib/json.h"
#include "orchestrator/history.h"
#include "orchestrator/journal.h"
#include "orchestrator/predict.h"
#include "orchestrator/report.h"

#define HOUR_US 3600000000ll /* no part of a blackout takes so long: a report that says so is damaged */

static bool in_range(int64_t us)
{
	return us > 0 && us < HOUR_US;
}

/* Where a phase ends, from the first freeze on; 0, which no phase of a sample does: it is not recorded, or damaged. */
static int64_t end_of(const struct json_object *phase)
{
	int64_t at = kho_json_get_int(phase, "at_us"), us = kho_json_get_int(phase, "us");

	return at > -HOUR_US && at < HOUR_US && in_range(us) ? at + us : 0;
}

bool kho_sample_of_report(const struct json_object *report, struct kho_sample *out)
{
	static const char *const steps[] = { "step freeze", "step shift", "step restore" };
	struct json_object *facts = kho_json_get(report, "facts"),
			   *phases = kho_json_get(report, "phases");
	int64_t ends[KHO_NPARTS] = { 0 }, before = 0; /* counted from the first freeze, like all phases */

	*out = (struct kho_sample){ 0 };
	ends[KHO_PART_COMMIT] = kho_json_get_int(report, "blackout_us");
	/* one whose kernel boots in the blackout says nothing of others */
	if (strcmp(kho_json_get_str(report, "outcome"), "upgraded") || json_object_get_boolean(kho_json_get(report, "jumps")) || !facts || !in_range(ends[KHO_PART_COMMIT]) ||
	    !json_object_is_type(phases, json_type_array))
		return false;
	kho_facts_read(facts, &out->facts);
	for (size_t i = 0; i < json_object_array_length(phases); i++) {
		struct json_object *p = json_object_array_get_idx(phases, i);

		for (int k = 0; k < 3; k++)
			if (!strcmp(kho_json_get_str(p, "name"), steps[k]))
				ends[k] = end_of(p);
	}
	for (int k = 0; k < KHO_NPARTS; k++) {
		if (!in_range(ends[k] - before))
			return false;
		out->us[k] = (uint64_t)(ends[k] - before);
		before = ends[k];
	}
	return true;
}

/* At the end, and the oldest goes when there are too many. */
static void put(struct kho_sample *list, size_t *n, const struct kho_sample *s)
{
	if (*n == KHO_SAMPLES_MAX)
		memmove(list, list + 1, --*n * sizeof(*list));
	list[(*n)++] = *s;
}

size_t kho_samples_load(const char *state_dir, struct kho_sample *out)
{
	_cleanup_json_ struct json_object *list = NULL, *records = NULL, *last = NULL;
	struct kho_sample s;
	size_t n = 0;

	if (kho_history_load(state_dir, &list, NULL, NULL) < 0)
		list = NULL;
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (kho_sample_of_report(json_object_array_get_idx(list, i), &s))
			put(out, &n, &s);
	if (kho_journal_read(state_dir, state_dir, &records, NULL, NULL) < 0)
		return n;
	last = kho_report_of_journal(records);
	if (kho_sample_of_report(last, &s))
		put(out, &n, &s);
	return n;
}
