// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl compare: the Regression gate on two recordings (khoctl record), as a table, JSON, a picture, an exit code. Needs no root but to
 * read the files, and touches nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bpf/regress.h"
#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

static const char *value(const struct kho_regress *g, enum kho_metric m, const struct kho_hist *h, char out[2 * KHO_REGRESS_TEXT + 8])
{
	char median[KHO_REGRESS_TEXT], p99[KHO_REGRESS_TEXT];

	snprintf(out, 2 * KHO_REGRESS_TEXT + 8, "%s, %s", kho_regress_text(g, m, kho_hist_quantile(h, 0.5), median),
		 kho_regress_text(g, m, kho_hist_quantile(h, 0.99), p99));
	return kho_hist_count(h) ? out : "-";
}

static void print_row(struct kho_text_table *t, const struct kho_regress *g, enum kho_metric m)
{
	const struct kho_regress_row *r = &g->row[m];
	char a[2 * KHO_REGRESS_TEXT + 8], b[2 * KHO_REGRESS_TEXT + 8], median[KHO_REGRESS_TEXT], p99[KHO_REGRESS_TEXT], p[20], delta[20], tail[20];

	snprintf(p, sizeof(p), "%.2g", r->d.p);
	snprintf(delta, sizeof(delta), "%+.2f", r->d.delta);
	snprintf(tail, sizeof(tail), "%.1f %%", r->d.tail * 100);
	kho_text_row(t, (const char *const[]){ kho_metric_name(m), value(g, m, &r->a, a), value(g, m, &r->b, b),
					       r->compared ? kho_regress_ratio(r->d.median_ratio, median) : "-",
					       r->compared ? kho_regress_ratio(r->d.p99_ratio, p99) : "-",
					       r->compared ? p : "-",
					       r->compared ? delta : "-", r->compared ? tail : "-",
					       r->judged ? kho_gate_verdict_name(r->verdict) : "rare" });
}

static void print_table(const struct kho_recording *a, const struct kho_recording *b, const struct kho_regress *g)
{
	static const char *const heads[] = { "METRIC", "BEFORE (MEDIAN, P99)", "AFTER", "MEDIAN RATIO", "P99 RATIO", "P", "EFFECT", "TAIL", "VERDICT", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);

	for (int m = 0; m < KHO_NMETRICS; m++)
		print_row(t, g, (enum kho_metric)m);
	kho_text_table_end(t, stdout);
	for (size_t i = 0; i < g->gates.n; i++)
		if (g->gates.r[i].verdict == KHO_GATE_UNKNOWN)
			printf("%s: %s\n", kho_gates[g->gates.r[i].gate].name, g->gates.r[i].what);
	printf("\nbefore: %s, %s: %.1f replies a second in %.1f s, %llu main processes ended\n", a->kernel, a->workloads, g->replies_a, (double)a->us / 1e6,
	       (unsigned long long)a->restarts);
	printf("after:  %s, %s: %.1f replies a second in %.1f s, %llu main processes ended\n", b->kernel, b->workloads, g->replies_b, (double)b->us / 1e6,
	       (unsigned long long)b->restarts);
}

static struct json_object *side(const struct kho_recording *r, double replies)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "kernel", r->kernel);
	kho_json_str(o, "workloads", r->workloads);
	kho_json_int(o, "time", r->time);
	kho_json_int(o, "us", (int64_t)r->us);
	json_object_object_add(o, "replies_per_second", json_object_new_double(replies));
	return o;
}

static void print_json(const struct kho_recording *a, const struct kho_recording *b, const struct kho_regress *g, enum kho_exit code, const char *msg)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "verdict", kho_gate_verdict_name(kho_gates_worst(&g->gates)));
	kho_json_str(o, "msg", msg);
	kho_json_int(o, "exit", code);
	json_object_object_add(o, "a", side(a, g->replies_a));
	json_object_object_add(o, "b", side(b, g->replies_b));
	json_object_object_add(o, "metrics", kho_regress_json(g));
	json_object_object_add(o, "gates", kho_gates_json(&g->gates));
	kho_cli_json(o);
}

static int draw(const struct kho_recording *a, const struct kho_recording *b, const struct kho_regress *g, const char *path, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return kho_fail(err, -ENOMEM, "draw %s: out of memory", path);
	kho_regress_draw(a, b, g, f);
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "draw %s: out of memory", path);
	return kho_write_file(path, text, len, err);
}

int kho_verb_compare(const struct kho_cli *c)
{
	_cleanup_recording_ struct kho_recording a = { 0 }, b = { 0 };
	_cleanup_free_ struct kho_regress *g = malloc(sizeof(*g));
	struct kho_gate_policy p;
	struct kho_err err = KHO_ERR_INIT;
	enum kho_exit code = KHO_EXIT_OK;
	int rc;

	if (kho_cli_gate_policy(c, &p, &err))
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	rc = g ? kho_recording_load(c->args[0], &a, &err) : kho_fail(&err, -ENOMEM, "compare: out of memory");
	if (!rc)
		rc = kho_recording_load(c->args[1], &b, &err);
	if (rc)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	kho_regress(&a, &b, &p, g);
	rc = c->svg ? draw(&a, &b, g, c->svg, &err) : 0;
	if (rc)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	if (kho_gates_decide(&g->gates, &p, &err))
		code = kho_cli_gate_exit(kho_gates_worst(&g->gates));
	if (c->json) {
		print_json(&a, &b, g, code, err.msg);
		return code;
	}
	print_table(&a, &b, g);
	printf("\n%s\n", code == KHO_EXIT_OK ? "no worse" : err.msg);
	return code;
}
