// SPDX-License-Identifier: GPL-2.0-only
/*
 * What earlier upgrades of this machine have measured: the last one's journal, and those before it
 * in history.jsonl, one line each.  See orchestrator/predict.h.
 */
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/predict.h"
#include "orchestrator/report.h"

#define HISTORY	    "history.jsonl"
#define HISTORY_MAX (1u << 20)
#define HOUR_US	    3600000000ll /* no part of a blackout takes so long: a report that says so is damaged */

static bool in_range(int64_t us)
{
	return us > 0 && us < HOUR_US;
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
				ends[k] = kho_json_get_int(p, "at_us") + kho_json_get_int(p, "us");
	}
	for (int k = 0; k < KHO_NPARTS; k++) {
		if (!in_range(ends[k] - before))
			return false;
		out->us[k] = (uint64_t)(ends[k] - before);
		before = ends[k];
	}
	return true;
}

/* A report without what a sample does not need: a line of the history. */
static struct json_object *digest(const struct json_object *report)
{
	static const char *const keep[] = { "from", "to", "generation", "blackout_us", "facts", "outcome", "jumps" };
	struct json_object *o = json_object_new_object(), *few = json_object_new_array(),
			   *phases = kho_json_get(report, "phases");

	for (size_t i = 0; i < sizeof(keep) / sizeof(*keep); i++)
		json_object_object_add(o, keep[i], json_object_get(kho_json_get(report, keep[i])));
	for (size_t i = 0; i < json_object_array_length(phases); i++) {
		struct json_object *p = json_object_array_get_idx(phases, i);

		if (!strncmp(kho_json_get_str(p, "name"), "step ", 5))
			json_object_array_add(few, json_object_get(p));
	}
	json_object_object_add(o, "phases", few);
	return o;
}

/* The last upgrade's report, or NULL. */
static struct json_object *last_report(const char *state_dir)
{
	_cleanup_json_ struct json_object *records = NULL;

	return kho_journal_read(state_dir, state_dir, &records, NULL, NULL) < 0
		       ? NULL
		       : kho_report_of_journal(records);
}

static char *history_read(const char *state_dir, char **out_path)
{
	char *text = NULL;

	if (asprintf(out_path, "%s/" HISTORY, state_dir) < 0) {
		*out_path = NULL;
		return NULL;
	}
	return kho_read_file(*out_path, HISTORY_MAX, &text, NULL, NULL) < 0 ? NULL : text;
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
	_cleanup_free_ char *path = NULL, *text = history_read(state_dir, &path);
	_cleanup_json_ struct json_object *last = last_report(state_dir);
	struct kho_sample s;
	size_t n = 0;

	for (char *line = text, *end; line && *line; line = end) {
		_cleanup_json_ struct json_object *o = NULL;

		end = line + strcspn(line, "\n");
		if (kho_json_parse(line, (size_t)(end - line), &o, NULL) == 0 && kho_sample_of_report(o, &s))
			put(out, &n, &s);
		end += *end == '\n';
	}
	if (last && kho_sample_of_report(last, &s))
		put(out, &n, &s);
	return n;
}

/* Where the newest lines begin, so many that one more makes KHO_SAMPLES_MAX. */
static const char *newest(const char *text)
{
	size_t lines = 0;

	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	for (; lines >= KHO_SAMPLES_MAX; lines--)
		text = strchr(text, '\n') + 1;
	return text;
}

void kho_samples_keep(const char *state_dir)
{
	_cleanup_free_ char *path = NULL, *text = history_read(state_dir, &path), *all = NULL;
	_cleanup_json_ struct json_object *last = last_report(state_dir), *line = NULL;
	struct kho_sample s;
	int len;

	if (!path || !last || !kho_sample_of_report(last, &s))
		return;
	line = digest(last);
	len = asprintf(&all, "%s%s\n", text ? newest(text) : "",
		       json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	if (len < 0)
		all = NULL;
	else
		(void)!kho_write_file(path, all, (size_t)len, NULL);
}
