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

/* With nothing but the self-test: half of them better than by half, none off by more than a factor of four. What no self-test tells is not said. */
static void test_estimated(void **state)
{
	double f[64];
	struct kho_prediction p;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < nall; i++) {
		kho_predict(&all[i].sample.facts, all[i].sample.jumps, NULL, 0, &p);
		assert_int_equal(p.upgrades, 0);
		if (all[i].sample.jumps) {
			assert_int_equal(p.us, 0);
			continue;
		}
		f[n] = off(p.us, all[i].blackout);
		print_message("%s.%d: %.2f s, estimated %.2f s\n", all[i].series, all[i].number, (double)all[i].blackout / 1e6,
			      (double)p.us / 1e6);
		assert_true(f[n++] < 4);
	}
	qsort(f, n, sizeof(*f), by_value);
	assert_true(f[n / 2] < 1.5);
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
		kho_predict(&all[i].sample.facts, all[i].sample.jumps, past, n, &p);
		print_message("%s.%d: %.2f s, from %zu: %.2f s\n", all[i].series, all[i].number, (double)all[i].blackout / 1e6, n,
			      (double)p.us / 1e6);
		assert_int_equal(p.upgrades, n < 4 ? n : 4);
		assert_true(off(p.us, all[i].blackout) < 4);
		seen++;
	}
	assert_true(seen > 0);
}

/* Not a recorded one: a jump in round numbers, so that each part is known. */
#define PHASE(name, at, us) "{\"name\":\"" name "\",\"at_us\":" at ",\"us\":" us "}"
static const char jump_report[] = "{\"from\":\"6.12.1\",\"to\":\"7.3.4\",\"engine\":\"kexec\",\"jumps\":true,\"outcome\":\"upgraded\",\"blackout_us\":9500000,"
	"\"facts\":{\"selftest_us\":250000,\"processes\":3,\"resident_bytes\":67108864,\"functions\":2,\"mounts\":1},\"phases\":["
	PHASE("load", "-9000000", "500000") "," PHASE("step freeze", "-1000", "301000") "," PHASE("step shift", "300000", "500000") ","
	PHASE("step restore", "800000", "1000") "," PHASE("retrieve block", "7000000", "500000") "," PHASE("retrieve proc", "7500000", "1000000") ","
	PHASE("shutdown and jump", "900000", "1100000") "," PHASE("boot", "2000000", "4000000") "," PHASE("verify netdev", "8500000", "100000") ","
	PHASE("verify proc", "8600000", "400000") "," PHASE("finish netdev", "9100000", "400000") "]}";

static struct json_object *jump(void)
{
	struct json_object *o = NULL;

	assert_int_equal(kho_json_parse(jump_report, strlen(jump_report), &o, NULL), 0);
	return o;
}

/* Freeze, dump, the jump itself, what is restored on the other side, and the rest; one phase missing, and it is no sample. */
static void test_jump(void **state)
{
	static const uint64_t us[KHO_NPARTS] = { 300000, 600000, 5100000, 3000000, 500000 };
	static const char *const needed[] = { "step freeze", "shutdown and jump", "boot", "verify " };
	struct json_object *o = jump(), *line;
	struct kho_sample s, again;
	struct kho_prediction p;

	(void)state;
	assert_true(kho_sample_of_report(o, &s));
	assert_true(s.jumps);
	for (int k = 0; k < KHO_NPARTS; k++)
		assert_int_equal(s.us[k], us[k]);
	line = kho_history_entry(o);
	assert_true(kho_sample_of_report(line, &again));
	assert_memory_equal(&s, &again, sizeof(s));
	json_object_put(line);
	kho_predict(&s.facts, true, &s, 1, &p);
	assert_true(off(p.us, 9500000) < 1.001);
	assert_true(off(p.part_us[KHO_PART_JUMP], 5100000) < 1.001);
	json_object_put(o);
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		_cleanup_json_ struct json_object *cut = jump();
		struct json_object *phases = kho_json_get(cut, "phases");

		for (size_t k = 0; k < json_object_array_length(phases); k++) {
			struct json_object *e = json_object_array_get_idx(phases, k);

			if (!strncmp(kho_json_get_str(e, "name"), needed[i], strlen(needed[i])))
				kho_json_str(e, "name", "another");
		}
		assert_false(kho_sample_of_report(cut, &s));
	}
}

/* Neither kind is predicted from the other. */
static void test_kinds(void **state)
{
	char dir[] = "/tmp/khoctl-predict.XXXXXX", path[64];
	_cleanup_json_ struct json_object *o = read_json(REPORTS "light-64m.1.json");
	_cleanup_json_ struct json_object *stays = kho_history_entry(o), *list = json_object_new_array();
	struct kho_sample out[KHO_SAMPLES_MAX];
	char *text = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/" KHO_HISTORY_NAME, dir);
	assert_true(asprintf(&text, "%s\n%s\n%s\n", json_object_to_json_string_ext(stays, JSON_C_TO_STRING_PLAIN), jump_report,
			     json_object_to_json_string_ext(stays, JSON_C_TO_STRING_PLAIN)) > 0);
	assert_int_equal(kho_write_file(path, text, strlen(text), NULL), 0);
	free(text);
	assert_int_equal(kho_samples_load(dir, false, out), 2);
	assert_false(out[0].jumps || out[1].jumps);
	assert_int_equal(kho_samples_load(dir, true, out), 1);
	assert_true(out[0].jumps);
	kho_remove_tree(dir);
}

/* What was seen is predicted again, part by part; and more of anything takes no less. */
static void model_of(const struct kho_sample *seen)
{
	struct kho_prediction p, q;
	struct kho_sample s = *seen, odd = s;
	struct kho_facts more;

	kho_predict(&s.facts, s.jumps, &s, 1, &p);
	for (int k = 0; k < KHO_NPARTS; k++)
		assert_true(p.part_us[k] == s.us[k] || off(p.part_us[k], (int64_t)s.us[k]) < 1.001);
	for (int f = KHO_FACT_PROCESSES; f < KHO_NFACTS; f++) {
		more = s.facts;
		more.n[f] = more.n[f] * 3 + (64 << 20) * (f == KHO_FACT_RESIDENT) + 1;
		kho_predict(&more, s.jumps, &s, 1, &q);
		assert_true(q.us > p.us);
	}
	/* one that was far off does not count: the median of three */
	odd.us[KHO_PART_SHIFT] *= 100;
	kho_predict(&s.facts, s.jumps, (struct kho_sample[]){ odd, s, s }, 3, &q);
	assert_true(off(q.us, (int64_t)p.us) < 1.001);
	/* nor one of long ago */
	kho_predict(&s.facts, s.jumps, (struct kho_sample[]){ odd, odd, odd, s, s, s, s }, 7, &q);
	assert_true(off(q.us, (int64_t)p.us) < 1.001);
	assert_int_equal(q.upgrades, 4);
}

static void test_model(void **state)
{
	_cleanup_json_ struct json_object *o = jump();
	struct kho_sample s;

	(void)state;
	for (size_t i = 0; i < nall; i++)
		model_of(&all[i].sample);
	assert_true(kho_sample_of_report(o, &s));
	model_of(&s);
}

/* What is copied last is measured; before it is, it is taken to be what it was; and it is no part of what the machine's speed is told from. */
static void test_copy(void **state)
{
	struct kho_sample busy = all[0].sample, calm = busy;
	struct kho_facts now = calm.facts, read;
	struct kho_prediction p, q;
	struct json_object *o;

	(void)state;
	busy.facts.copy_us = busy.us[KHO_PART_SHIFT] / 2;
	busy.facts.copy_known = true;
	busy.us[KHO_PART_SHIFT] += busy.facts.copy_us;
	kho_predict(&now, calm.jumps, &calm, 1, &p);
	assert_int_equal(p.copy_us, 0);
	kho_predict(&now, calm.jumps, &busy, 1, &q);
	assert_int_equal(q.copy_us, busy.facts.copy_us);
	assert_true(off(q.us, (int64_t)(p.us + busy.facts.copy_us)) < 1.001);
	assert_true(off(q.part_us[KHO_PART_SHIFT], (int64_t)busy.us[KHO_PART_SHIFT]) < 1.001);
	/* measured to be nothing, and to be a lot */
	now.copy_known = true;
	kho_predict(&now, calm.jumps, &busy, 1, &q);
	assert_true(off(q.us, (int64_t)p.us) < 1.001);
	now.copy_us = 5000000;
	kho_predict(&now, calm.jumps, &busy, 1, &q);
	assert_true(off(q.us, (int64_t)(p.us + 5000000)) < 1.001);
	/* one that is said to have copied for longer than it took leaves half of it */
	busy.facts.copy_us = busy.us[KHO_PART_SHIFT] * 10;
	now.copy_us = 0;
	kho_predict(&now, calm.jumps, &busy, 1, &q);
	assert_true(off(q.part_us[KHO_PART_SHIFT], (int64_t)busy.us[KHO_PART_SHIFT] / 2) < 1.001);
	/* as JSON and back; not known is not nothing */
	now.copy_us = 4711;
	o = kho_facts_json(&now);
	kho_facts_read(o, &read);
	assert_true(read.copy_known && read.copy_us == 4711);
	json_object_put(o);
	o = kho_facts_json(&calm.facts);
	kho_facts_read(o, &read);
	assert_false(read.copy_known);
	json_object_put(o);
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
	assert_non_null(strstr(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "not known: no upgrade"));
	p.jumps = true;
	assert_non_null(strstr(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "not known until one like it was seen"));
	p.us = p.upgrades = 1;
	assert_string_equal(kho_prediction_basis(&p, &f, buf, sizeof(buf)), "from the last upgrade of this kind");
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
	assert_int_equal(kho_samples_load(dir, false, out), 0);
	assert_true(asprintf(&text, "{\n\n%s\nnonsense\n{\"outcome\":\"upgraded\",\"blackout_us\":5}\n%.200s", good, good) > 0);
	put(dir, "history.jsonl", text);
	assert_int_equal(kho_samples_load(dir, false, out), 1);
	assert_true(out[0].us[KHO_PART_FREEZE] > 0 && out[0].facts.n[KHO_FACT_PROCESSES] == 1);
	/* no journal: nothing is kept, nothing is lost */
	kho_history_keep(dir, dir, "6.12.1", 2);
	assert_int_equal(kho_samples_load(dir, false, out), 1);
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
		cmocka_unit_test(test_jump), cmocka_unit_test(test_kinds), cmocka_unit_test(test_copy), cmocka_unit_test(test_basis),	  cmocka_unit_test(test_history),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
