// SPDX-License-Identifier: GPL-2.0-only
/* The upgrades of this machine.  See orchestrator/history.h. */
#include "orchestrator/history.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/predict.h"
#include "orchestrator/report.h"

#define FILE_MAX     (4u << 20)
#define LONGEST_LINE (32u << 10) /* none of ours is a tenth of it */

static void copy(struct json_object *to, const struct json_object *from, const char *key)
{
	json_object_object_add(to, key, json_object_get(kho_json_get(from, key)));
}

/* Those of the steps: what a sample is made of. */
static struct json_object *step_phases(struct json_object *phases)
{
	struct json_object *few = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(phases); i++) {
		struct json_object *p = json_object_array_get_idx(phases, i);

		if (!strncmp(kho_json_get_str(p, "name"), "step ", 5))
			json_object_array_add(few, json_object_get(p));
	}
	return few;
}

static bool is_entry(const struct json_object *o)
{
	return *kho_json_get_str(o, "from") && *kho_json_get_str(o, "to") && *kho_json_get_str(o, "outcome");
}

struct json_object *kho_history_entry(const struct json_object *report)
{
	static const char *const keep[] = { "time", "from", "to", "generation", "engine", "jumps", "outcome", "msg", "back", "blackout_us" };
	struct json_object *o;
	struct kho_sample s;

	if (!is_entry(report))
		return NULL;
	o = json_object_new_object();
	for (size_t i = 0; i < sizeof(keep) / sizeof(*keep); i++)
		copy(o, report, keep[i]);
	if (kho_sample_of_report(report, &s)) {
		copy(o, report, "facts");
		json_object_object_add(o, "phases", step_phases(kho_json_get(report, "phases")));
	}
	return o;
}

int kho_history_line(const char *line, size_t len, struct json_object **out, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	int rc = len > LONGEST_LINE ? kho_fail(err, -EINVAL, "a line of %zu bytes", len) : kho_json_parse(line, len, &o, err);

	if (rc == 0 && !is_entry(o))
		rc = kho_fail(err, -EINVAL, "a line that names no kernels");
	if (rc == 0)
		*out = steal_ptr(o);
	return rc;
}

int kho_history_load(const char *state_dir, struct json_object **out, unsigned *out_bad, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	struct json_object *list, *o;
	unsigned bad = 0;
	size_t len;
	int rc;

	if (asprintf(&path, "%s/" KHO_HISTORY_NAME, state_dir) < 0)
		return kho_fail(err, -ENOMEM, "history: out of memory");
	rc = kho_read_file(path, FILE_MAX, &text, &len, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	list = json_object_new_array();
	for (char *line = text, *end; text && line < text + len; line = end + 1) {
		end = memchr(line, '\n', (size_t)(text + len - line));
		if (!end)
			end = text + len;
		if (kho_history_line(line, (size_t)(end - line), &o, NULL) == 0)
			json_object_array_add(list, o);
		else
			bad += end > line;
	}
	if (out_bad)
		*out_bad = bad;
	*out = list;
	return 0;
}

static const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* The last upgrade, as this kernel knows that it came out; or NULL. */
static struct json_object *last_entry(const char *run_dir, const char *state_dir, const char *running, uint32_t generation)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	int64_t led_to;

	if (kho_journal_read(run_dir, state_dir, &records, NULL, NULL) < 0)
		return NULL;
	report = kho_report_of_journal(records);
	led_to = kho_json_get_int(report, "generation");
	if (!strcmp(kho_json_get_str(report, "outcome"), "interrupted") && led_to > 1 && led_to == (int64_t)generation - 1 &&
	    !strcmp(kho_json_get_str(report, "to"), running))
		kho_report_taken_over(report);
	return kho_history_entry(report);
}

/* The newest lines of it, with this one; NULL: it is the newest already (an upgrade that did not get as far as its journal). */
static char *with_line(struct json_object *list, struct json_object *line)
{
	size_t n = json_object_array_length(list), i = n < KHO_HISTORY_MAX ? 0 : n + 1 - KHO_HISTORY_MAX, len = 0;
	const char *more = text_of(line);
	char *text = NULL;
	FILE *f;

	if (n && !strcmp(text_of(json_object_array_get_idx(list, n - 1)), more))
		return NULL;
	f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	for (; i < n; i++)
		fprintf(f, "%s\n", text_of(json_object_array_get_idx(list, i)));
	fprintf(f, "%s\n", more);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

void kho_history_keep(const char *run_dir, const char *state_dir, const char *running, uint32_t generation)
{
	_cleanup_json_ struct json_object *list = NULL, *line = last_entry(run_dir, state_dir, running, generation);
	_cleanup_free_ char *path = NULL, *text = NULL;

	if (!line || kho_history_load(state_dir, &list, NULL, NULL) < 0)
		return;
	text = with_line(list, line);
	if (text && asprintf(&path, "%s/" KHO_HISTORY_NAME, state_dir) >= 0)
		(void)!kho_write_file(path, text, strlen(text), NULL);
}
