// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of the blackout against upgrades that were recorded in the lab (tests/reports, one
 * folder's name and number each: SERIES.N.json), and what is kept of them on a machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/history.h"
#include "orchestrator/predict.h"
#include "orchestrator/report.h"

#define REPORTS "tests/reports/"

struct recorded {
	char series[64];
	int number;
	int64_t blackout;
	struct kho_sample sample;
};

static struct recorded all[64];
static size_t nall;

static struct json_object *read_json(const char *path)
{
	struct json_object *o = NULL;
	char *text = NULL;
	size_t len;

	if (kho_read_file(path, 4 << 20, &text, &len, NULL) < 0 || kho_json_parse(text, len, &o, NULL) < 0)
		o = NULL;
	free(text);
	return o;
}

static int setup(void **state)
{
	glob_t g = { 0 };

	(void)state;
	if (glob(REPORTS "*.json", 0, NULL, &g))
		return -1;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct recorded *r = &all[nall];
		struct json_object *o = read_json(g.gl_pathv[i]);
		const char *name = g.gl_pathv[i] + strlen(REPORTS);

		if (sscanf(name, "%63[^.].%d.json", r->series, &r->number) != 2 || !o || !kho_sample_of_report(o, &r->sample))
			return -1;
		r->blackout = kho_json_get_int(o, "blackout_us");
		json_object_put(o);
		nall++;
	}
	globfree(&g);
	return nall ? 0 : -1;
}

/* The parts are all of it. */
static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < nall; i++) {
		uint64_t sum = 0;

		for (int k = 0; k < KHO_NPARTS; k++)
			sum += all[i].sample.us[k];
		assert_int_equal(sum, all[i].blackout);
		assert_true(all[i].sample.facts.n[KHO_FACT_PROCESSES] > 0);
		assert_true(all[i].sample.facts.n[KHO_FACT_SELFTEST_US] > 0);
	}
}

static double off(uint64_t predicted, int64_t real)
{
	double f = (double)predicted / (double)real;

	return f < 1 ? 1 / f : f;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* With nothing but the self-test: half of them better than by half, none off by more than a factor of four. */
static void test_estimated(void **state)
{
	double f[64];
	struct kho_prediction p;

	(void)state;
	for (size_t i = 0; i < nall; i++) {
		kho_predict(&all[i].sample.facts, NULL, 0, &p);
		assert_int_equal(p.upgrades, 0);
		f[i] = off(p.us, all[i].blackout);
		print_message("%s.%d: %.2f s, estimated %.2f s\n", all[i].series, all[i].number, (double)all[i].blackout / 1e6,
			      (double)p.us / 1e6);
		assert_true(f[i] < 4);
	}
	qsort(f, nall, sizeof(*f), by_value);
	assert_true(f[nall / 2] < 1.5);
}

/* From the upgrades of the same machine before it. */
static void test_from_past(void **state)
{
	struct kho_prediction p;
	size_t seen = 0;

	(void)state;
	for (size_t i = 0; i < nall; i++) {
		struct kho_sample past[64];
		size_t n = 0;

		for (size_t k = 0; k < nall; k++)
			if (!strcmp(all[k].series, all[i].series) && all[k].number < all[i].number)
				past[n++] = all[k].sample;
		if (!n)
			continue;
		kho_predict(&all[i].sample.facts, past, n, &p);
		print_message("%s.%d: %.2f s, from %zu: %.2f s\n", all[i].series, all[i].number, (double)all[i].blackout / 1e6, n,
			      (double)p.us / 1e6);
		assert_int_equal(p.upgrades, n < 4 ? n : 4);
		assert_true(off(p.us, all[i].blackout) < 4);
		seen++;
	}
	assert_true(seen > 0);
}

/* What was seen is predicted again, part by part; and more of anything takes no less. */
static void test_model(void **state)
{
	struct kho_prediction p, q;
	struct kho_sample s = all[0].sample, odd = s;
	struct kho_facts more;

	(void)state;
	kho_predict(&s.facts, &s, 1, &p);
	for (int k = 0; k < KHO_NPARTS; k++)
		assert_true(off(p.part_us[k], (int64_t)s.us[k]) < 1.001);
	for (int f = KHO_FACT_PROCESSES; f < KHO_NFACTS; f++) {
		more = s.facts;
		more.n[f] = more.n[f] * 3 + (64 << 20) * (f == KHO_FACT_RESIDENT) + 1;
		kho_predict(&more, &s, 1, &q);
		assert_true(q.us > p.us);
	}
	/* one that was far off does not count: the median of three */
	odd.us[KHO_PART_SHIFT] *= 100;
	kho_predict(&s.facts, (struct kho_sample[]){ odd, s, s }, 3, &q);
	assert_true(off(q.us, (int64_t)p.us) < 1.001);
	/* nor one of long ago */
	kho_predict(&s.facts, (struct kho_sample[]){ odd, odd, odd, s, s, s, s }, 7, &q);
	assert_true(off(q.us, (int64_t)p.us) < 1.001);
	assert_int_equal(q.upgrades, 4);
}

static void test_basis(void **state)
{
	struct kho_prediction p = { .us = 1, .upgrades = 1 };
	struct kho_facts f = { .n = { 250000, 3, 5 << 20, 2, 4 } };
	char buf[200];

	(void)state;
	assert_string_equal(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "from the last upgrade");
	p.upgrades = 2;
	assert_string_equal(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "from the last 2 upgrades");
	p.upgrades = 0;
	assert_string_equal(kho_prediction_basis(&p, &f, buf, sizeof(buf)),
			    "estimated; self-test: 250.0 ms, processes: 3 with 5.0 MiB, PCI functions: 2, mounts: 4, connections: 0, containers: 0");
	p.us = 0;
	assert_non_null(strstr(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "not known"));
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(kho_write_file(path, text, strlen(text), NULL), 0);
}

/* What somebody has damaged does not count; the good lines do. */
static void test_history(void **state)
{
	struct kho_sample out[KHO_SAMPLES_MAX];
	char dir[] = "/tmp/khoctl-predict.XXXXXX", command[64], *text = NULL;
	struct json_object *o = read_json(REPORTS "light-64m.1.json");
	const char *good = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(kho_samples_load(dir, out), 0);
	assert_true(asprintf(&text, "{\n\n%s\nnonsense\n{\"outcome\":\"upgraded\",\"blackout_us\":5}\n%.200s", good, good) > 0);
	put(dir, "history.jsonl", text);
	assert_int_equal(kho_samples_load(dir, out), 1);
	assert_true(out[0].us[KHO_PART_FREEZE] > 0 && out[0].facts.n[KHO_FACT_PROCESSES] == 1);
	/* no journal: nothing is kept, nothing is lost */
	kho_history_keep(dir, dir, "6.12.1", 2);
	assert_int_equal(kho_samples_load(dir, out), 1);
	free(text);
	/* an upgrade that was undone, or one of a khoctl that did not count yet */
	kho_json_str(o, "outcome", "rolled back");
	assert_false(kho_sample_of_report(o, out));
	kho_json_str(o, "outcome", "upgraded");
	assert_true(kho_sample_of_report(o, out));
	kho_json_int(o, "blackout_us", 1000);
	assert_false(kho_sample_of_report(o, out));
	json_object_object_del(o, "facts");
	assert_false(kho_sample_of_report(o, out));
	json_object_put(o);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_estimated), cmocka_unit_test(test_from_past), cmocka_unit_test(test_model),
		cmocka_unit_test(test_basis),	  cmocka_unit_test(test_history),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
