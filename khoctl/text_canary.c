// SPDX-License-Identifier: GPL-2.0-only
/* The verdict on a canary, for people.  See khoctl/canary.h. */
#include <string.h>

#include "khoctl/canary.h"
#include "khoctl/text.h"
#include "lib/format.h"
#include "lib/json.h"

static size_t length(const struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

/* "12.4 us", or "-" */
static const char *ns_text(const struct json_object *side, const char *key, char out[KHO_FORMAT_MAX])
{
	double ns = (double)kho_json_get_int(side, key);

	if (ns <= 0)
		return "-";
	if (ns < 1e6)
		snprintf(out, KHO_FORMAT_MAX, "%.1f us", ns / 1e3);
	else
		snprintf(out, KHO_FORMAT_MAX, "%.1f ms", ns / 1e6);
	return out;
}

static void loads(const struct json_object *list, FILE *f)
{
	static const char *const heads[] = { "LOAD", "CANARY: OPERATIONS", "MEDIAN", "99 %", "THIS KERNEL: OPERATIONS", "MEDIAN", "99 %", "VERDICT", "MORE", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i), *a = kho_json_get(o, "canary"), *b = kho_json_get(o, "running");
		char text[4][KHO_FORMAT_MAX], n[2][KHO_FORMAT_MAX];

		snprintf(n[0], sizeof(n[0]), "%lld", (long long)kho_json_get_int(a, "operations"));
		snprintf(n[1], sizeof(n[1]), "%lld", (long long)kho_json_get_int(b, "operations"));
		kho_text_row(t, (const char *const[]){ kho_json_get_str(o, "name"), n[0], ns_text(a, "median_ns", text[0]), ns_text(a, "p99_ns", text[1]), n[1],
						       ns_text(b, "median_ns", text[2]), ns_text(b, "p99_ns", text[3]), kho_json_get_str(o, "verdict"),
						       kho_json_get_str(o, "msg") });
	}
	kho_text_table_end(t, f);
}

/* "180 ms", or "-" */
static const char *us_text(const struct json_object *o, const char *key, char out[KHO_FORMAT_MAX])
{
	return kho_json_get_int(o, key) > 0 ? kho_format_us((uint64_t)kho_json_get_int(o, key), out) : "-";
}

/* The verdict on one of the gates of the dark, "-" when it was not measured. */
static const char *gate_of(const struct json_object *list, const char *name)
{
	for (size_t i = 0; i < length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i);

		if (!strcmp(kho_json_get_str(o, "name"), name))
			return kho_json_get_str(o, "verdict");
	}
	return "-";
}

/* What its looks have shown. */
static const char *health_text(const struct json_object *o, char *out, size_t len)
{
	long long looks = (long long)kho_json_get_int(o, "looks");

	if (!json_object_get_boolean(kho_json_get(o, "restored")))
		snprintf(out, len, "-");
	else if (json_object_get_boolean(kho_json_get(o, "well")))
		snprintf(out, len, "well, %lld times%s", looks, *kho_json_get_str(o, "health") ? "" : " (no check)");
	else if (looks)
		snprintf(out, len, "well %lld times, then not", looks);
	else
		snprintf(out, len, "not well");
	return out;
}

static void shadows(const struct json_object *list, FILE *f)
{
	static const char *const heads[] = { "SHADOW", "STOOD STILL", "RESTORED IN", "HEALTH", "THREADS", "FATAL SIGNALS", "VERDICT", "MORE", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i), *dark = kho_json_get(o, "gates");
		char frozen[KHO_FORMAT_MAX], restore[KHO_FORMAT_MAX], health[48];

		kho_text_row(t, (const char *const[]){ kho_json_get_str(o, "name"), us_text(o, "frozen_us", frozen), us_text(o, "restore_us", restore),
						       health_text(o, health, sizeof(health)), gate_of(dark, "threads"), gate_of(dark, "signals"),
						       kho_json_get_str(o, "verdict"), kho_json_get_str(o, "msg") });
	}
	kho_text_table_end(t, f);
}

static void replays(const struct json_object *list, FILE *f)
{
	static const char *const heads[] = { "REPLAY", "REQUESTS", "REPLIES", "OF ANOTHER LENGTH", "CANARY: MEDIAN", "99 %", "THIS KERNEL: MEDIAN", "99 %", "VERDICT", "MORE", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++) {
		const struct json_object *s = json_object_array_get_idx(list, i), *o = kho_json_get(s, "replay"), *a = kho_json_get(o, "canary"),
					 *b = kho_json_get(o, "running");
		char text[4][KHO_FORMAT_MAX], n[3][KHO_FORMAT_MAX];

		snprintf(n[0], sizeof(n[0]), "%lld", (long long)kho_json_get_int(o, "requests"));
		snprintf(n[1], sizeof(n[1]), "%lld", (long long)kho_json_get_int(o, "replies"));
		snprintf(n[2], sizeof(n[2]), "%lld", (long long)kho_json_get_int(o, "replies_other_length"));
		kho_text_row(t, (const char *const[]){ kho_json_get_str(s, "name"), n[0], n[1], n[2], ns_text(a, "median_ns", text[0]), ns_text(a, "p99_ns", text[1]),
						       ns_text(b, "median_ns", text[2]), ns_text(b, "p99_ns", text[3]), kho_json_get_str(o, "verdict"),
						       kho_json_get_str(o, "msg") });
	}
	kho_text_table_end(t, f);
}

/* Those that have not passed; and how many there were. */
static void gates(const struct json_object *list, const char *when, FILE *f)
{
	size_t passed = 0;

	for (size_t i = 0; i < length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i);
		const char *verdict = kho_json_get_str(o, "verdict"), *what = kho_json_get_str(o, "what");

		if (!strcmp(verdict, "pass")) {
			passed++;
			continue;
		}
		fprintf(f, "gate %s, %s: %s: %s", kho_json_get_str(o, "name"), when, verdict, kho_json_get_str(o, "metric"));
		if (strcmp(verdict, "unknown"))
			fprintf(f, ": %lld, limit %lld %s", (long long)kho_json_get_int(o, "value"), (long long)kho_json_get_int(o, "limit"),
				kho_json_get_str(o, "unit"));
		fprintf(f, "%s%s\n", *what ? ": " : "", what);
	}
	if (length(list))
		fprintf(f, "gates %s: %zu of %zu passed\n", when, passed, length(list));
	else
		fprintf(f, "gates %s: not measured\n", when);
}

void kho_text_canary(const struct json_object *canary, FILE *f)
{
	const struct json_object *ready = kho_json_get(canary, "ready");
	const char *log = kho_json_get_str(canary, "log"), *msg = kho_json_get_str(canary, "msg");
	char t[KHO_FORMAT_MAX];

	fprintf(f, "\n%s on %lld CPU%s beside %s, each %s under load\n\n", kho_json_get_str(canary, "kernel"), (long long)kho_json_get_int(canary, "cpus"),
		kho_json_get_int(canary, "cpus") == 1 ? "" : "s", kho_json_get_str(canary, "running"),
		kho_format_us((uint64_t)kho_json_get_int(canary, "for_us"), t));
	loads(kho_json_get(canary, "load"), f);
	fputs("\n", f);
	if (kho_json_get(canary, "shadow")) {
		shadows(kho_json_get(canary, "shadow"), f);
		fputs("\n", f);
	}
	if (length(kho_json_get(canary, "shadow")) && kho_json_get(json_object_array_get_idx(kho_json_get(canary, "shadow"), 0), "replay")) {
		replays(kho_json_get(canary, "shadow"), f);
		fputs("\n", f);
	}
	gates(kho_json_get(ready, "before"), "before the load", f);
	gates(kho_json_get(ready, "after"), "after the load", f);
	if (kho_json_get(ready, "end"))
		gates(kho_json_get(ready, "end"), "after the shadow", f);
	if (*log)
		fprintf(f, "its messages: khoctl log, %s\n", log);
	fprintf(f, "\n%s%s%s\n", kho_json_get_str(canary, "verdict"), *msg ? ": " : "", msg);
}
