// SPDX-License-Identifier: GPL-2.0-only
/* Text output.  See khoctl/text.h. */
#include "khoctl/text.h"

#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/format.h"
#include "lib/json.h"

struct kho_text_table {
	struct libscols_table *t;
	size_t ncols, nrows;
};

struct kho_text_table *kho_text_table_new(const char *const *heads)
{
	struct kho_text_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->t = scols_new_table();
	while (t->t && heads[t->ncols]) {
		scols_table_new_column(t->t, heads[t->ncols], 0, 0);
		t->ncols++;
	}
	/* what a script or a log reads must not depend on a terminal's width */
	if (t->t) {
		scols_table_enable_nowrap(t->t, 1);
		scols_table_set_termforce(t->t, SCOLS_TERMFORCE_NEVER);
	}
	return t;
}

void kho_text_row(struct kho_text_table *t, const char *const *cells)
{
	struct libscols_line *l = t && t->t ? scols_table_new_line(t->t, NULL) : NULL;

	for (size_t i = 0; l && i < t->ncols; i++)
		scols_line_set_data(l, i, cells[i]);
	if (l)
		t->nrows++;
}

void kho_text_table_end(struct kho_text_table *t, FILE *f)
{
	if (!t)
		return;
	if (t->nrows) {
		scols_table_set_stream(t->t, f);
		scols_print_table(t->t);
	}
	scols_unref_table(t->t);
	free(t);
}

static size_t length(const struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

void kho_text_verdicts(const struct json_object *plan, int only_bad, FILE *f)
{
	static const char *const heads[] = { "VERDICT", "AREA", "SUBJECT", "WHAT", NULL };
	struct json_object *list = kho_json_get(plan, "report");
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *verdict = kho_json_get_str(o, "verdict"),
			   *fix = kho_json_get_str(o, "fix");
		char what[1024];

		if (only_bad && !strcmp(verdict, "ok"))
			continue;
		snprintf(what, sizeof(what), "%s%s%s", kho_json_get_str(o, "what"),
			 *fix ? "; fix: " : "", fix);
		kho_text_row(t, (const char *const[]){ verdict, kho_json_get_str(o, "area"),
						       kho_json_get_str(o, "subject"), what });
	}
	kho_text_table_end(t, f);
}

const char *kho_text_fate(const char *verdict)
{
	static const char *const names[][2] = {
		{ "ok", "moves" }, { "loss", "moves with loss" }, { "unknown", "not known" }, { "no", "cannot move" }
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(names[i][0], verdict))
			return names[i][1];
	return verdict;
}

/* The first of the reasons, and how many more there are. */
static void reasons(const struct json_object *list, char *out, size_t len)
{
	size_t n = length(list);

	snprintf(out, len, "-");
	if (n == 1)
		snprintf(out, len, "%s", json_object_get_string(json_object_array_get_idx(list, 0)));
	else if (n)
		snprintf(out, len, "%s (and %zu more)",
			 json_object_get_string(json_object_array_get_idx(list, 0)), n - 1);
}

static const char *us_or_dash(const struct json_object *o, const char *key, char buf[static KHO_FORMAT_MAX])
{
	return kho_json_get(o, key) ? kho_format_us((uint64_t)kho_json_get_int(o, key), buf) : "-";
}

static void restarted_lines(const struct json_object *plan, bool all, FILE *f)
{
	const struct json_object *list = kho_json_get(plan, "restarted");
	size_t n = length(list);

	if (n)
		fprintf(f, "%zu running service%s no workload: ended, and started anew by the new init system%s\n", n,
			n == 1 ? " is" : "s are", all ? ":" : " (--all names them)");
	for (size_t i = 0; all && i < n; i++)
		fprintf(f, "  %s\n", json_object_get_string(json_object_array_get_idx(list, i)));
}

void kho_text_workloads(const struct json_object *plan, bool all, FILE *f)
{
	static const char *const heads[] = { "WORKLOAD", "IS", "PROCESSES", "MEMORY", "BLACKOUT", "VERDICT", "WHY", NULL };
	struct json_object *list = kho_json_get(plan, "workloads");
	struct kho_text_table *t = kho_text_table_new(heads);
	char mem[KHO_FORMAT_MAX], us[KHO_FORMAT_MAX];

	for (size_t i = 0; i < length(list); i++) {
		struct json_object *w = json_object_array_get_idx(list, i);
		char is[300], n[24], why[1024];

		snprintf(is, sizeof(is), "%s %s", kho_json_get_str(w, "kind"), kho_json_get_str(w, "declared"));
		snprintf(n, sizeof(n), "%zu", length(kho_json_get(w, "pids")));
		reasons(kho_json_get(w, "why"), why, sizeof(why));
		kho_text_row(t, (const char *const[]){
					kho_json_get_str(w, "name"), is, n,
					kho_format_bytes((uint64_t)kho_json_get_int(w, "rss_bytes"), mem),
					us_or_dash(w, "predicted_blackout_us", us),
					kho_text_fate(kho_json_get_str(w, "verdict")), why });
	}
	kho_text_table_end(t, f);
	restarted_lines(plan, all, f);
	fprintf(f, "predicted blackout: %s (%s)\n", us_or_dash(plan, "predicted_blackout_us", us),
		kho_json_get_str(kho_json_get(plan, "prediction"), "basis"));
}

static void ids_line(const struct json_object *cpus, const char *key, const char *label, FILE *f)
{
	struct json_object *list = kho_json_get(cpus, key);
	size_t n = length(list);
	uint32_t *ids = calloc(n + 1, sizeof(*ids));
	char text[256];

	for (size_t i = 0; ids && i < n; i++)
		ids[i] = (uint32_t)json_object_get_int64(json_object_array_get_idx(list, i));
	if (ids && n)
		fprintf(f, "%-10s %s %s\n", "CPUs", kho_format_ids(ids, n, text, sizeof(text)),
			label);
	free(ids);
}

static void memory_line(const struct json_object *mem, FILE *f)
{
	char a[KHO_FORMAT_MAX], b[KHO_FORMAT_MAX], c[KHO_FORMAT_MAX], d[KHO_FORMAT_MAX];

	if (!kho_json_get_int(mem, "region_bytes"))
		return;
	fprintf(f,
		"%-10s region %s, of it %s bulk area; %s more for workloads; initramfs about %s\n",
		"memory", kho_format_bytes((uint64_t)kho_json_get_int(mem, "region_bytes"), a),
		kho_format_bytes((uint64_t)kho_json_get_int(mem, "bulk_bytes"), b),
		kho_format_bytes((uint64_t)kho_json_get_int(mem, "extra_bytes"), c),
		kho_format_bytes((uint64_t)kho_json_get_int(mem, "initrd_bytes"), d));
}

static void step_table(const struct json_object *list, FILE *f)
{
	static const char *const heads[] = { "STEP", "DEADLINE", "BLACKOUT", "WHAT", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++) {
		struct json_object *s = json_object_array_get_idx(list, i);
		char deadline[32];

		snprintf(deadline, sizeof(deadline), "%lld s",
			 (long long)kho_json_get_int(s, "deadline_us") / 1000000);
		kho_text_row(t, (const char *const[]){ kho_json_get_str(s, "name"), deadline,
						       json_object_get_boolean(kho_json_get(s, "bla"
											       "cko"
											       "u"
											       "t"))
							       ? "yes"
							       : "-",
						       kho_json_get_str(s, "what") });
	}
	kho_text_table_end(t, f);
}

void kho_text_plan(const struct json_object *plan, FILE *f)
{
	const char *initrd = kho_json_get_str(kho_json_get(plan, "initramfs"), "path"),
		   *cmdline = kho_json_get_str(plan, "cmdline");

	fprintf(f, "%-10s %s -> %s (generation %lld)\n", kho_json_get(plan, "canary") ? "canary" : "upgrade", kho_json_get_str(plan, "from"),
		kho_json_get_str(plan, "to"), (long long)kho_json_get_int(plan, "generation"));
	fprintf(f, "%-10s %s\n", "image", kho_json_get_str(plan, "image"));
	fprintf(f, "%-10s %s\n", "modules", kho_json_get_str(plan, "modules_dir"));
	fprintf(f, "%-10s %s%s (%s)\n", "initramfs", *initrd ? initrd : "khoctl's own", *initrd ? ", khoctl's own behind it" : "",
		kho_json_get_str(kho_json_get(plan, "initramfs"), "reason"));
	fprintf(f, "%-10s %s (%s)\n", "engine", kho_json_get_str(plan, "engine"),
		kho_json_get_str(plan, "engine_reason"));
	if (*cmdline)
		fprintf(f, "%-10s %s\n", "cmdline", cmdline);
	ids_line(kho_json_get(plan, "cpus"), "before_freeze", "before the freeze (APIC ids)", f);
	ids_line(kho_json_get(plan, "cpus"), "at_retirement", "at retirement (APIC ids)", f);
	memory_line(kho_json_get(plan, "memory"), f);
	fputs("\n", f);
	kho_text_verdicts(plan, 0, f);
	fputs("\n", f);
	/* a canary moves none */
	if (!kho_json_get(plan, "canary")) {
		kho_text_workloads(plan, false, f);
		fputs("\n", f);
	}
	step_table(kho_json_get(plan, "steps"), f);
}

static void workload_times(const struct json_object *r, FILE *f)
{
	static const char *const heads[] = { "WORKLOAD", "IS", "STOOD STILL", "BLACKOUT", "PREDICTED", NULL };
	struct json_object *list = kho_json_get(r, "workloads");
	struct kho_text_table *t = kho_text_table_new(heads);
	char a[KHO_FORMAT_MAX], b[KHO_FORMAT_MAX], c[KHO_FORMAT_MAX];

	for (size_t i = 0; i < length(list); i++) {
		struct json_object *w = json_object_array_get_idx(list, i);
		char is[300];

		snprintf(is, sizeof(is), "%s %s", kho_json_get_str(w, "kind"), kho_json_get_str(w, "declared"));
		kho_text_row(t, (const char *const[]){ kho_json_get_str(w, "name"), is, us_or_dash(w, "stopped_us", a),
						       us_or_dash(w, "blackout_us", b),
						       us_or_dash(w, "predicted_blackout_us", c) });
	}
	kho_text_table_end(t, f);
}

/* What was predicted just before the freeze. */
static void converging_line(const struct json_object *c, FILE *f)
{
	char us[KHO_FORMAT_MAX], bytes[KHO_FORMAT_MAX], rate[KHO_FORMAT_MAX], copy[KHO_FORMAT_MAX];

	if (c && *kho_json_get_str(c, "how"))
		fprintf(f, "just before the freeze: %s to copy (%s), %s/s written (by %s); predicted then: %s\n",
			kho_format_bytes((uint64_t)kho_json_get_int(c, "dirty_bytes"), bytes), us_or_dash(c, "copy_us", copy),
			kho_format_bytes((uint64_t)kho_json_get_int(c, "bytes_per_s"), rate), kho_json_get_str(c, "how"), us_or_dash(c, "predicted_us", us));
}

/* "gates: 17 of 18 passed; not: errors (fail)" */
static void gates_line(const struct json_object *gates, FILE *f)
{
	size_t n = length(gates), passed = 0, told = 0;

	for (size_t i = 0; i < n; i++)
		passed += !strcmp(kho_json_get_str(json_object_array_get_idx(gates, i), "verdict"), "pass");
	if (n)
		fprintf(f, "gates: %zu of %zu passed", passed, n);
	for (size_t i = 0; i < n; i++) {
		const struct json_object *g = json_object_array_get_idx(gates, i);

		if (strcmp(kho_json_get_str(g, "verdict"), "pass"))
			fprintf(f, "%s%s (%s)", told++ ? ", " : "; not: ", kho_json_get_str(g, "name"), kho_json_get_str(g, "verdict"));
	}
	if (n)
		fputc('\n', f);
}

static void loss_lines(const struct json_object *losses, FILE *f)
{
	for (size_t i = 0; i < length(losses); i++)
		fprintf(f, "lost: %s\n", json_object_get_string(json_object_array_get_idx(losses, i)));
}

void kho_text_report(const struct json_object *r, FILE *f)
{
	static const char *const heads[] = { "PHASE", "FROM", "TIME", "MICROSECONDS", NULL };
	struct json_object *phases = kho_json_get(r, "phases"), *pre = kho_json_get(r, "precopy");
	struct kho_text_table *t = kho_text_table_new(heads);
	char a[KHO_FORMAT_MAX], b[KHO_FORMAT_MAX], at[48], us[32];
	const char *msg = kho_json_get_str(r, "msg");

	for (size_t i = 0; i < length(phases); i++) {
		struct json_object *p = json_object_array_get_idx(phases, i);
		int64_t from = kho_json_get_int(p, "at_us");

		snprintf(at, sizeof(at), "%s%s", from < 0 ? "-" : "+",
			 kho_format_us((uint64_t)(from < 0 ? -from : from), a));
		snprintf(us, sizeof(us), "%lld", (long long)kho_json_get_int(p, "us"));
		kho_text_row(
			t, (const char *const[]){
				   kho_json_get_str(p, "name"), kho_json_get(p, "at_us") ? at : "-",
				   kho_format_us((uint64_t)kho_json_get_int(p, "us"), b), us });
	}
	kho_text_table_end(t, f);
	fprintf(f, "\n%s -> %s, generation %lld, engine %s: %s%s%s\n", kho_json_get_str(r, "from"),
		kho_json_get_str(r, "to"), (long long)kho_json_get_int(r, "generation"),
		kho_json_get_str(r, "engine"), kho_json_get_str(r, "outcome"), *msg ? ": " : "",
		msg);
	if (*kho_json_get_str(r, "back"))
		fprintf(f, "%s was given up: %s\n", kho_json_get_str(r, "to"), kho_json_get_str(r, "back"));
	loss_lines(kho_json_get(r, "losses"), f);
	gates_line(kho_json_get(r, "gates"), f);
	if (kho_json_get(r, "regression"))
		fprintf(f, "against the kernel before: %s%s%s\n", kho_json_get_str(kho_json_get(r, "regression"), "verdict"),
			*kho_json_get_str(kho_json_get(r, "regression"), "msg") ? ": " : "", kho_json_get_str(kho_json_get(r, "regression"), "msg"));
	fprintf(f, "pre-copy: %lld rounds, %s\n", (long long)kho_json_get_int(pre, "rounds"),
		kho_format_bytes((uint64_t)kho_json_get_int(pre, "bytes"), a));
	workload_times(r, f);
	converging_line(kho_json_get(r, "converging"), f);
	if (kho_json_get(r, "blackout_us"))
		fprintf(f, "blackout: %s (%lld us); predicted: %s (%s)\n",
			kho_format_us((uint64_t)kho_json_get_int(r, "blackout_us"), a),
			(long long)kho_json_get_int(r, "blackout_us"), us_or_dash(r, "predicted_blackout_us", b),
			kho_json_get_str(r, "predicted_basis"));
}

static void history_row(struct kho_text_table *t, const struct json_object *o)
{
	time_t began = (time_t)kho_json_get_int(o, "time");
	const char *engine = kho_json_get_str(o, "engine"), *msg = kho_json_get_str(o, "msg"), *back = kho_json_get_str(o, "back");
	char at[48] = "-", generation[24], us[KHO_FORMAT_MAX], why[1200];
	struct tm tm;

	if (began > 0 && gmtime_r(&began, &tm))
		strftime(at, sizeof(at), "%F %T UTC", &tm);
	snprintf(generation, sizeof(generation), "%lld", (long long)kho_json_get_int(o, "generation"));
	snprintf(why, sizeof(why), "%s%s%s", msg, *msg && *back ? ": " : "", back);
	kho_text_row(t, (const char *const[]){ at, generation, kho_json_get_str(o, "from"), kho_json_get_str(o, "to"), *engine ? engine : "-",
					       kho_json_get_str(o, "outcome"), us_or_dash(o, "blackout_us", us), *why ? why : "-" });
}

void kho_text_history(const struct json_object *history, FILE *f)
{
	static const char *const heads[] = { "BEGAN", "GENERATION", "FROM", "TO", "ENGINE", "OUTCOME", "BLACKOUT", "WHY", NULL };
	const struct json_object *list = kho_json_get(history, "upgrades"), *own = kho_json_get(history, "kexec_metadata"),
				 *notes = kho_json_get(history, "notes");
	struct kho_text_table *t = kho_text_table_new(heads);

	for (size_t i = 0; i < length(list); i++)
		history_row(t, json_object_array_get_idx(list, i));
	kho_text_table_end(t, f);
	if (!length(list))
		fputs("no upgrade has been run\n", f);
	if (own)
		fprintf(f, "the kernel's own record: started by kexec from %s, %lld since power-on\n", kho_json_get_str(own, "previous_release"),
			(long long)kho_json_get_int(own, "kexec_count"));
	for (size_t i = 0; i < length(notes); i++)
		fprintf(f, "note: %s\n", json_object_get_string(json_object_array_get_idx(notes, i)));
}
