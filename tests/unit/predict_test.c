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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_estimated),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
