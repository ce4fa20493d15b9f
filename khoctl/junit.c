// SPDX-License-Identifier: GPL-2.0-only
/* The verdict on a canary, for those who collect JUnit XML.  See khoctl/canary.h. */
#include <string.h>

#include "khoctl/canary.h"
#include "lib/json.h"

/* As attribute. Bytes that XML 1.0 has no way to say become '?'. */
static void text(const char *s, FILE *f)
{
	for (; *s; s++)
		switch (*s) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc(*s >= ' ' && *s <= '~' ? *s : '?', f);
		}
}

static void attribute(const char *key, const char *value, FILE *f)
{
	fprintf(f, " %s=\"", key);
	text(value, f);
	fputs("\"", f);
}

struct counts {
	unsigned tests, failures, skipped, errors;
};

/* One test; f NULL: it is only counted. */
static void test(struct counts *n, const char *group, const char *name, const char *verdict, const char *msg, FILE *f)
{
	const char *kind = !strcmp(verdict, "pass")				  ? NULL
			   : !strcmp(verdict, "fail")				  ? "failure"
			   : !strcmp(verdict, "unknown") || !strcmp(verdict, "undecided") ? "skipped"
										  : "error";

	n->tests++;
	n->failures += kind && !strcmp(kind, "failure");
	n->skipped += kind && !strcmp(kind, "skipped");
	n->errors += kind && !strcmp(kind, "error");
	if (!f)
		return;
	fputs("  <testcase", f);
	attribute("classname", group, f);
	attribute("name", name, f);
	if (!kind) {
		fputs("/>\n", f);
		return;
	}
	fprintf(f, "><%s", kind);
	attribute("message", msg, f);
	fputs("/></testcase>\n", f);
}

static void each(struct counts *n, const struct json_object *list, const char *group, const char *msg, FILE *f)
{
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i);
		char what[600], value[32] = "";

		if (kho_json_get(o, "value"))
			snprintf(value, sizeof(value), "%lld: ", (long long)kho_json_get_int(o, "value"));
		snprintf(what, sizeof(what), "%s%s", value, kho_json_get_str(o, msg));
		test(n, group, kho_json_get_str(o, "name"), kho_json_get_str(o, "verdict"), what, f);
	}
}

static void shadows(struct counts *n, const struct json_object *list, FILE *f)
{
	each(n, list, "shadow", "msg", f);
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i), *replay = kho_json_get(o, "replay");

		each(n, kho_json_get(o, "gates"), "shadow.dark", "what", f);
		if (replay)
			test(n, "shadow.replay", kho_json_get_str(o, "name"), kho_json_get_str(replay, "verdict"), kho_json_get_str(replay, "msg"), f);
	}
}

static void all(struct counts *n, const struct json_object *v, FILE *f)
{
	const struct json_object *ready = kho_json_get(v, "ready");
	int64_t code = kho_json_get_int(v, "exit");
	bool of_kernel = code == KHO_EXIT_OK || code == KHO_EXIT_FAILED || code == KHO_EXIT_UNDECIDED;

	each(n, kho_json_get(ready, "before"), "ready.before", "what", f);
	each(n, kho_json_get(v, "load"), "load", "msg", f);
	each(n, kho_json_get(ready, "after"), "ready.after", "what", f);
	shadows(n, kho_json_get(v, "shadow"), f);
	each(n, kho_json_get(ready, "end"), "ready.end", "what", f);
	test(n, "canary", "verdict", of_kernel ? kho_json_get_str(v, "verdict") : "none",
	     kho_json_get_str(v, of_kernel ? "msg" : "outcome_msg"), f);
}

void kho_junit_canary(struct json_object *verdict, FILE *f)
{
	struct counts n = { 0 };

	all(&n, verdict, NULL);
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n <testsuite name=\"khoctl canary", f);
	if (*kho_json_get_str(verdict, "kernel"))
		fputs(" ", f);
	text(kho_json_get_str(verdict, "kernel"), f);
	fprintf(f, "\" tests=\"%u\" failures=\"%u\" skipped=\"%u\" errors=\"%u\">\n", n.tests, n.failures, n.skipped, n.errors);
	all(&n, verdict, f);
	fputs(" </testsuite>\n</testsuites>\n", f);
}
