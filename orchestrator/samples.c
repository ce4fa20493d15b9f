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

/* Where a phase begins and ends, from the first freeze on; 0, which none of a sample does: it is not recorded, or damaged. */
static int64_t begin_of(const struct json_object *phase)
{
	int64_t at = kho_json_get_int(phase, "at_us");

	return at > -HOUR_US && at < HOUR_US ? at : 0;
}

static int64_t end_of(const struct json_object *phase)
{
	int64_t us = kho_json_get_int(phase, "us");

	return in_range(us) ? begin_of(phase) + us : 0;
}

/* Which phase a part ends with. */
static const struct mark {
	bool stays, jumps; /* of which kind of upgrade */
	enum kho_part part;
	const char *phase;
	bool many, begin; /* many: each that begins so, the last one ends it; begin: it ends where that begins */
} marks[] = {
	{ .stays = true, .jumps = true, .part = KHO_PART_FREEZE, .phase = "step freeze" },
	{ .stays = true, .part = KHO_PART_SHIFT, .phase = "step shift" },
	{ .stays = true, .part = KHO_PART_RESTORE, .phase = "step restore" },
	{ .jumps = true, .part = KHO_PART_SHIFT, .phase = "shutdown and jump", .begin = true },
	{ .jumps = true, .part = KHO_PART_JUMP, .phase = "boot" },
	{ .jumps = true, .part = KHO_PART_RESTORE, .phase = "verify ", .many = true },
};

static const struct mark *mark_of(const char *phase, bool jumps)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++) {
		const struct mark *m = &marks[i];

		if ((jumps ? m->jumps : m->stays) && (m->many ? !strncmp(phase, m->phase, strlen(m->phase)) : !strcmp(phase, m->phase)))
			return m;
	}
	return NULL;
}

bool kho_sample_needs(const char *phase, bool jumps)
{
	return mark_of(phase, jumps);
}

/* Where each part ends, as far as the phases tell. */
static void find_ends(const struct json_object *phases, bool jumps, int64_t ends[KHO_NPARTS])
{
	for (size_t i = 0; i < json_object_array_length(phases); i++) {
		const struct json_object *p = json_object_array_get_idx(phases, i);
		const struct mark *m = mark_of(kho_json_get_str(p, "name"), jumps);

		if (m)
			ends[m->part] = m->begin ? begin_of(p) : end_of(p);
	}
}

bool kho_sample_of_report(const struct json_object *report, struct kho_sample *out)
{
	struct json_object *facts = kho_json_get(report, "facts"),
			   *phases = kho_json_get(report, "phases");
	int64_t ends[KHO_NPARTS] = { 0 }, before = 0; /* counted from the first freeze, like all phases */

	*out = (struct kho_sample){ .jumps = json_object_get_boolean(kho_json_get(report, "jumps")) };
	ends[KHO_PART_COMMIT] = kho_json_get_int(report, "blackout_us");
	if (strcmp(kho_json_get_str(report, "outcome"), "upgraded") || !facts || !in_range(ends[KHO_PART_COMMIT]) ||
	    !json_object_is_type(phases, json_type_array))
		return false;
	kho_facts_read(facts, &out->facts);
	find_ends(phases, out->jumps, ends);
	for (int k = 0; k < KHO_NPARTS; k++) {
		if (k == KHO_PART_JUMP && !out->jumps)
			continue;
		if (!in_range(ends[k] - before))
			return false;
		out->us[k] = (uint64_t)(ends[k] - before);
		before = ends[k];
	}
	return true;
}

/* At the end, when it is one of that kind, and the oldest goes when there are too many. */
static void put(struct kho_sample *list, size_t *n, const struct json_object *report, bool jumps)
{
	struct kho_sample s;

	if (!kho_sample_of_report(report, &s) || s.jumps != jumps)
		return;
	if (*n == KHO_SAMPLES_MAX)
		memmove(list, list + 1, --*n * sizeof(*list));
	list[(*n)++] = s;
}

size_t kho_samples_load(const char *state_dir, bool jumps, struct kho_sample *out)
{
	_cleanup_json_ struct json_object *list = NULL, *records = NULL, *last = NULL;
	size_t n = 0;

	if (kho_history_load(state_dir, &list, NULL, NULL) < 0)
		list = NULL;
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		put(out, &n, json_object_array_get_idx(list, i), jumps);
	if (kho_journal_read(state_dir, state_dir, &records, NULL, NULL) < 0)
		return n;
	last = kho_report_of_journal(records);
	put(out, &n, last, jumps);
	return n;
}
