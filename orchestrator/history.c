// SPDX-License-Identifier: GPL-2.0-only
/* The upgrades of this machine.  See orchestrator/history.h. */
#include "orchestrator/history.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
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

/* Those that a sample is made of. */
static struct json_object *few_phases(const struct json_object *phases, bool jumps)
{
	struct json_object *few = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(phases); i++) {
		struct json_object *p = json_object_array_get_idx(phases, i);

		if (kho_sample_needs(kho_json_get_str(p, "name"), jumps))
			json_object_array_add(few, json_object_get(p));
	}
	return few;
}

static bool is_entry(const struct json_object *o)
{
	return kho_is_word(kho_json_get_str(o, "from")) && kho_is_word(kho_json_get_str(o, "to")) && *kho_json_get_str(o, "outcome");
}

struct json_object *kho_history_entry(const struct json_object *report)
{
	static const char *const keep[] = { "time", "from", "to", "generation", "engine", "jumps", "outcome", "msg", "back", "blackout_us" };
	struct json_object *o;
	struct kho_sample s;

	/* nothing of the machine changed hands */
	if (!is_entry(report) || kho_json_get(report, "canary"))
		return NULL;
	o = json_object_new_object();
	for (size_t i = 0; i < sizeof(keep) / sizeof(*keep); i++)
		copy(o, report, keep[i]);
	if (kho_sample_of_report(report, &s)) {
		copy(o, report, "facts");
		json_object_object_add(o, "phases", few_phases(kho_json_get(report, "phases"), s.jumps));
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

/* How many kexecs an upgrade was; *out_to, *out_from: what they led to, from where. 0: it ended on the kernel that it began on. */
static unsigned kexecs_of(const struct json_object *o, const char *running, const char **out_from, const char **out_to)
{
	const char *from = kho_json_get_str(o, "from"), *to = kho_json_get_str(o, "to"), *outcome = kho_json_get_str(o, "outcome");
	bool went_back = *kho_json_get_str(o, "back"), through = !strcmp(outcome, "upgraded");

	/* those words say nothing of the kernel that runs afterwards */
	if (!strcmp(outcome, "needs a person") || !strcmp(outcome, "interrupted"))
		through = !went_back && !strcmp(running, to) && strcmp(running, from);
	*out_from = went_back ? to : from;
	*out_to = went_back ? from : to;
	return went_back ? 2 : through ? 1 : 0;
}

int kho_history_witness(const struct json_object *list, const char *running, const struct kho_kexec_metadata *m, char *why, size_t len)
{
	size_t i = json_object_array_length(list);
	const char *from = "", *to = "", *other_from, *other_to;
	unsigned known = 0;

	while (i-- > 0) {
		const struct json_object *o = json_object_array_get_idx(list, i);
		unsigned n = kexecs_of(o, running, &other_from, &other_to);

		if (n && !json_object_get_boolean(kho_json_get(o, "jumps")))
			break;
		if (n && !known) {
			from = other_from;
			to = other_to;
		}
		known += n;
	}
	if (!known)
		return 0;
	if (strcmp(to, running))
		snprintf(why, len, "the last upgrade led to %s, and %s runs: it was started by another kexec", to, running);
	else if (strcmp(from, m->previous_release))
		snprintf(why, len, "the last upgrade came from %s, the kernel says that it was started from %s", from, m->previous_release);
	else if (m->kexec_count > known && json_object_array_length(list) < KHO_HISTORY_MAX)
		snprintf(why, len, "the kernel counts %u, upgrades on record are %u of them: the others were not khoctl's, or not recorded", m->kexec_count, known);
	else
		return 1;
	return -1;
}

static const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* The last upgrade, as this kernel knows that it came out; or NULL. */
static struct json_object *last_entry(const char *run_dir, const char *state_dir, const char *running, uint32_t generation)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;

	if (kho_journal_read(run_dir, state_dir, &records, NULL, NULL) < 0)
		return NULL;
	report = kho_report_of_journal(records);
	if (!strcmp(kho_json_get_str(report, "outcome"), "interrupted") && kho_report_led_to(report, (int64_t)generation - 1, running))
		kho_report_taken_over(report);
	return kho_history_entry(report);
}

bool kho_history_add(struct json_object *list, struct json_object *entry)
{
	size_t n = json_object_array_length(list);

	if (n && !strcmp(text_of(json_object_array_get_idx(list, n - 1)), text_of(entry)))
		return false;
	json_object_array_add(list, json_object_get(entry));
	return true;
}

/* The newest lines of it, malloc'd, or NULL. */
static char *newest(struct json_object *list)
{
	size_t n = json_object_array_length(list), len = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = n > KHO_HISTORY_MAX ? n - KHO_HISTORY_MAX : 0; f && i < n; i++)
		fprintf(f, "%s\n", text_of(json_object_array_get_idx(list, i)));
	if (f && fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

void kho_history_keep(const char *run_dir, const char *state_dir, const char *running, uint32_t generation)
{
	_cleanup_json_ struct json_object *list = NULL, *line = last_entry(run_dir, state_dir, running, generation);
	_cleanup_free_ char *path = NULL, *text = NULL;

	if (!line || kho_history_load(state_dir, &list, NULL, NULL) < 0 || !kho_history_add(list, line))
		return;
	text = newest(list);
	if (text && asprintf(&path, "%s/" KHO_HISTORY_NAME, state_dir) >= 0)
		(void)!kho_write_file(path, text, strlen(text), NULL);
}
