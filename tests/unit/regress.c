// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recordings and their comparison. tests/sysroots/recordings: redis under one client, recorded by khoctl record on 6.18: before, after (the same once
 * more), and busy: on one CPU with three processes that never sleep.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "bpf/record_proc.h"
#include "bpf/regress.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

#define DIR_OF "tests/sysroots/recordings/"

static struct kho_recording load(const char *name)
{
	_cleanup_free_ char *path = NULL;
	struct kho_recording r;
	struct kho_err err = KHO_ERR_INIT;

	assert_true(asprintf(&path, DIR_OF "%s.json", name) > 0);
	if (kho_recording_load(path, &r, &err))
		fail_msg("%s", err.msg);
	return r;
}

static void round_trip(void **state)
{
	char path[] = "/tmp/khoctl-recording.XXXXXX";
	struct kho_recording r = load("before"), twin;
	struct kho_err err = KHO_ERR_INIT;
	struct stat st;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && r.n == 12 && kho_hist_count(&r.times[KHO_METRIC_READ]) > 1000);
	close(fd);
	snprintf(r.why[KHO_RECORD_TCP], sizeof(r.why[0]), "the kernel refuses program kho_tcp_probe: so it is");
	memset(&r.times[KHO_METRIC_RTT], 0, sizeof(r.times[0])); /* what is unknown has no times */
	assert_int_equal(kho_recording_save(&r, path, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(kho_recording_load(path, &twin, &err), 0);
	assert_int_equal(twin.n, r.n);
	assert_memory_equal(twin.slices, r.slices, r.n * sizeof(*r.slices));
	assert_memory_equal(twin.times, r.times, sizeof(r.times));
	assert_string_equal(twin.why[KHO_RECORD_TCP], r.why[KHO_RECORD_TCP]);
	assert_string_equal(twin.kernel, r.kernel);
	assert_string_equal(twin.workloads, "redis");
	assert_true(twin.us == r.us && twin.time == r.time && twin.restarts == r.restarts);
	kho_recording_done(&r);
	kho_recording_done(&twin);
	unlink(path);
}

/* A good recording with one piece of its text put in place of another. */
static int with(const char *from, const char *to, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL, *bad = NULL;
	struct kho_recording r;
	char *at;
	int rc;

	assert_int_equal(kho_read_file(DIR_OF "before.json", 1u << 20, &text, NULL, err), 0);
	at = strstr(text, from);
	assert_non_null(at);
	assert_true(asprintf(&bad, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	rc = kho_recording_parse(bad, strlen(bad), &r, err);
	assert_true(rc == 0 || (!r.slices && !r.n));
	kho_recording_done(&r);
	return rc;
}

static void strict(void **state)
{
	static const struct {
		const char *from, *to, *why;
	} rows[] = {
		{ "{\"format\":1", "[1", "not a JSON object" },
		{ "\"format\":1", "\"format\":2", "format 2" },
		{ "\"format\":1,", "", "format: want" },
		{ "\"restarts\":0", "\"restarts\":-1", "restarts: want a whole number" },
		{ "\"restarts\":0", "\"restarts\":\"0\"", "restarts: want a whole number" },
		{ "\"restarts\":0", "\"restarts\":0.5", "restarts: want a whole number" },
		{ "\"kernel\":\"6", "\"kernel\":\"6 ", "kernel: that is no release" },
		{ "\"kernel\":\"6", "\"kernel\":\"6\\u0000", "kernel: want a text" },
		{ "\"unknown\":{}", "\"unknown\":{\"tasks\":\"\"}", "tasks without a reason" },
		{ "\"unknown\":{}", "\"unknown\":{\"tasks\":7}", "tasks: want a text" },
		{ "\"unknown\":{}", "\"unknown\":[]", "want objects" },
		{ "\"recv\":[]", "\"recv\":{}", "recv: want an array" },
		{ "\"recv\":[]", "\"recv\":[[1,2,3]]", "recv: want [slot, count]" },
		{ "\"recv\":[]", "\"recv\":[[256,2]]", "recv: want a whole number" },
		{ "\"recv\":[]", "\"recv\":[[1,-2]]", "recv: want a whole number" },
		{ "\"recv\":[]", "\"recv\":[[1,9223372036854775807]]", "recv: want a whole number" },
		{ "\"recv\":[]", "\"recv\":[[5,2],[5,2]]", "recv: slot 5 comes too late" },
		{ "\"recv\":[],", "", "recv: want an array" },
		{ "\"slices\":[", "\"slices\":[7,", "us: want a whole number" },
		{ "\"slices\":[", "\"slice\":[", "slices: want an array" },
	};
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(with(rows[i].from, rows[i].to, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].why))
			fail_msg("'%s' for '%s': %s", rows[i].to, rows[i].from, err.msg);
	}
	/* and what is nobody's business */
	assert_int_equal(with("{\"format\":1", "{\"later\":[1],\"format\":1", &err), 0);
	assert_int_equal(with("\"recv\":[]", "\"recv\":[],\"later\":3", &err), 0);
}

static struct kho_regress *compare(const struct kho_recording *a, const struct kho_recording *b, const char *limits)
{
	struct kho_regress *g = malloc(sizeof(*g));
	struct kho_gate_policy p;

	kho_gate_policy_init(&p);
	assert_int_equal(kho_gate_policy_set(&p, limits, NULL), 0);
	assert_non_null(g);
	kho_regress(a, b, &p, g);
	return g;
}

static const struct kho_gate_result *result(const struct kho_regress *g, enum kho_gate_id id)
{
	for (size_t i = 0; i < g->gates.n; i++)
		if (g->gates.r[i].gate == id)
			return &g->gates.r[i];
	return NULL;
}

/* Real recordings: the same again passes both ways; a CPU that is not to be had fails, and nothing else does. */
static void recorded(void **state)
{
	struct kho_recording before = load("before"), after = load("after"), busy = load("busy");
	struct kho_regress *g = compare(&before, &after, "");

	(void)state;
	assert_int_equal(kho_gates_worst(&g->gates), KHO_GATE_PASS);
	assert_true(result(g, KHO_GATE_READ) && result(g, KHO_GATE_RUNQUEUE) && result(g, KHO_GATE_BLOCK) && result(g, KHO_GATE_CPU) &&
		    result(g, KHO_GATE_RESTARTS));
	assert_null(result(g, KHO_GATE_RECV)); /* redis reads its sockets */
	assert_true(g->of_replies && g->replies_a > 100);
	free(g);
	g = compare(&after, &before, "");
	assert_int_equal(kho_gates_worst(&g->gates), KHO_GATE_PASS);
	free(g);
	g = compare(&before, &busy, "");
	for (size_t i = 0; i < g->gates.n; i++)
		assert_int_equal(g->gates.r[i].verdict, g->gates.r[i].gate == KHO_GATE_RUNQUEUE ? KHO_GATE_FAIL : KHO_GATE_PASS);
	/* by its tail: the median is as before */
	assert_true(g->row[KHO_METRIC_RUNQUEUE].d.median_ratio < 1.2 && g->row[KHO_METRIC_RUNQUEUE].d.delta < 0.147);
	assert_true(g->row[KHO_METRIC_RUNQUEUE].d.tail > 0.05 && result(g, KHO_GATE_RUNQUEUE)->value > 1000);
	free(g);
	/* the other way round it got better, which is no regression; nor is it one where the policy allows it */
	g = compare(&busy, &before, "");
	assert_int_equal(result(g, KHO_GATE_RUNQUEUE)->verdict, KHO_GATE_PASS);
	free(g);
	g = compare(&before, &busy, "runqueue=100000");
	assert_int_equal(kho_gates_worst(&g->gates), KHO_GATE_PASS);
	free(g);
	kho_recording_done(&before);
	kho_recording_done(&after);
	kho_recording_done(&busy);
}

/* Each metric by itself: made so many times as slow (or so many times as much), it fails, and only it. */
static void each(void **state)
{
	(void)state;
	for (int m = 0; m < KHO_NMETRICS; m++) {
		struct kho_recording a = load("before"), b = load("before");
		enum kho_gate_id gate = kho_metrics[m].gate;
		struct kho_regress *g;

		for (size_t i = 0; i < b.n; i++) {
			struct kho_slice *s = &b.slices[i];

			s->cpu_ns *= m == KHO_METRIC_CPU ? 3 : 1;
			s->switches *= m == KHO_METRIC_SWITCHES ? 4 : 1;
			s->faults += m == KHO_METRIC_FAULTS ? s->replies + 1 : 0;
			s->retrans += m == KHO_METRIC_RETRANS ? s->segments / 20 + 1 : 0;
		}
		if (kho_metrics[m].kind != KHO_METRIC_KIND_RATE) {
			if (kho_hist_count(&a.times[m]) < 1000) { /* what redis does not do: as if it did */
				a.times[m] = a.times[KHO_METRIC_WRITE];
				b.times[m] = a.times[m];
			}
			/* three powers of two later */
			memmove(&b.times[m].slot[12], &b.times[m].slot[0], sizeof(b.times[m].slot) - 12 * sizeof(b.times[m].slot[0]));
			memset(b.times[m].slot, 0, 12 * sizeof(b.times[m].slot[0]));
		}
		g = compare(&a, &b, "");
		for (size_t i = 0; i < g->gates.n; i++)
			if ((g->gates.r[i].verdict == KHO_GATE_FAIL) != (g->gates.r[i].gate == gate))
				fail_msg("%s made worse: %s is %s: %s", kho_gates[gate].name, kho_gates[g->gates.r[i].gate].name,
					 kho_gate_verdict_name(g->gates.r[i].verdict), g->gates.r[i].what);
		assert_non_null(result(g, gate));
		free(g);
		kho_recording_done(&a);
		kho_recording_done(&b);
	}
}

static void unknowns(void **state)
{
	struct kho_recording a = load("before"), b = load("after"), none = { .kernel = "x", .workloads = "y" };
	struct kho_regress *g;

	(void)state;
	snprintf(b.why[KHO_RECORD_BLOCK], sizeof(b.why[0]), "the kernel refuses it");
	memset(&b.times[KHO_METRIC_WRITE], 0, sizeof(b.times[0]));
	b.restarts = 1;
	g = compare(&a, &b, "");
	assert_int_equal(result(g, KHO_GATE_BLOCK)->verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(result(g, KHO_GATE_BLOCK)->what, "after: the kernel refuses it");
	/* it wrote all the time, and does not any more: that is not "no worse" */
	assert_int_equal(result(g, KHO_GATE_WRITE)->verdict, KHO_GATE_UNKNOWN);
	assert_int_equal(result(g, KHO_GATE_RESTARTS)->verdict, KHO_GATE_FAIL);
	assert_int_equal(result(g, KHO_GATE_RESTARTS)->value, 1);
	free(g);
	/* nothing to compare is no pass */
	g = compare(&none, &none, "");
	assert_int_equal(kho_gates_worst(&g->gates), KHO_GATE_UNKNOWN);
	free(g);
	kho_recording_done(&a);
	kho_recording_done(&b);
}

/* Where nobody answers anything rates are of a second. */
static void of_seconds(void **state)
{
	struct kho_recording a = load("before"), b = load("before");
	char text[KHO_REGRESS_TEXT];
	struct kho_regress *g;

	(void)state;
	for (size_t i = 0; i < a.n; i++) {
		a.slices[i] = (struct kho_slice){ .us = 1000000, .cpu_ns = 100000000, .switches = 500 };
		b.slices[i] = (struct kho_slice){ .us = 500000, .cpu_ns = 100000000, .switches = 250 };
	}
	g = compare(&a, &b, "");
	assert_false(g->of_replies);
	assert_int_equal(result(g, KHO_GATE_CPU)->verdict, KHO_GATE_FAIL);
	assert_in_range(result(g, KHO_GATE_CPU)->value, 180, 220);
	assert_int_equal(result(g, KHO_GATE_SWITCHES)->verdict, KHO_GATE_PASS);
	assert_null(result(g, KHO_GATE_RETRANS)); /* nothing was sent */
	assert_string_equal(kho_regress_text(g, KHO_METRIC_CPU, 100000, text), "10.00 %");
	assert_string_equal(kho_regress_text(g, KHO_METRIC_SWITCHES, 500000, text), "500.00 a second");
	assert_string_equal(kho_regress_text(g, KHO_METRIC_READ, 12300, text), "12.3 us");
	assert_string_equal(kho_regress_text(g, KHO_METRIC_READ, 1230000, text), "1.23 ms");
	free(g);
	kho_recording_done(&a);
	kho_recording_done(&b);
}

static void as_json(void **state)
{
	struct kho_recording a = load("before"), b = load("busy");
	struct kho_regress *g = compare(&a, &b, "");
	_cleanup_json_ struct json_object *o = kho_regress_json(g);
	struct json_object *m = json_object_array_get_idx(o, KHO_METRIC_RUNQUEUE);

	(void)state;
	assert_int_equal(json_object_array_length(o), KHO_NMETRICS);
	assert_string_equal(kho_json_get_str(m, "metric"), "runqueue");
	assert_string_equal(kho_json_get_str(m, "verdict"), "fail");
	assert_int_equal(kho_json_get_int(kho_json_get(m, "a"), "n"), kho_hist_count(&a.times[KHO_METRIC_RUNQUEUE]));
	assert_true(json_object_get_double(kho_json_get(m, "p99_ratio")) > 10);
	assert_null(kho_json_get(json_object_array_get_idx(o, KHO_METRIC_RECV), "p"));
	free(g);
	kho_recording_done(&a);
	kho_recording_done(&b);
}

static void drawn(void **state)
{
	struct kho_recording a = load("before"), b = load("busy");
	struct kho_regress *g = compare(&a, &b, "");
	_cleanup_free_ char *text = NULL;
	size_t len, n = 0, compared = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	snprintf(a.workloads, sizeof(a.workloads), "<script>&\"");
	kho_regress_draw(&a, &b, g, f);
	assert_int_equal(fclose(f), 0);
	assert_true(!strncmp(text, "<svg ", 5) && !strcmp(text + len - 7, "</svg>\n"));
	assert_non_null(strstr(text, "&lt;script>&amp;\""));
	assert_null(strstr(text, "<script"));
	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "inf"));
	for (const char *p = text; (p = strstr(p, "class=\"p50\"")); p++)
		n++;
	for (int m = 0; m < KHO_NMETRICS; m++)
		compared += g->row[m].compared;
	assert_int_equal(n, 2 * compared);
	assert_non_null(strstr(text, "class=\"fail\">fail<"));
	free(g);
	kho_recording_done(&a);
	kho_recording_done(&b);
}

static void snmp(void **state)
{
	static const char text[] = "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
				   "Tcp: RtoAlgorithm RtoMin MaxConn InSegs OutSegs RetransSegs InErrs\nTcp: 1 200 -1 70 123456 789 0\nUdp: InDatagrams\nUdp: 5\n";
	struct kho_record_tcp t = { 0 };

	(void)state;
	assert_true(kho_record_tcp_parse(text, &t));
	assert_int_equal(t.segments, 123456);
	assert_int_equal(t.retrans, 789);
	assert_false(kho_record_tcp_parse("Tcp: OutSegs\nTcp: 1\n", &t));
	assert_false(kho_record_tcp_parse("Tcp: OutSegs RetransSegs\n", &t));
	assert_false(kho_record_tcp_parse("Tcp: OutSegs RetransSegs\nTcp: 1\n", &t));
	assert_false(kho_record_tcp_parse("", &t));
	assert_true(kho_record_tcp_of(getpid(), &t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip), cmocka_unit_test(strict),	    cmocka_unit_test(recorded), cmocka_unit_test(each),	 cmocka_unit_test(unknowns),
		cmocka_unit_test(of_seconds), cmocka_unit_test(as_json), cmocka_unit_test(drawn),	cmocka_unit_test(snmp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
