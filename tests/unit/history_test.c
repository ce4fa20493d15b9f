// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is kept of the upgrades of a machine: each of them, so many, and nothing that somebody has damaged; and what the kernel itself
 * says of how it was started.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/json.h"
#include "orchestrator/history.h"
#include "orchestrator/journal.h"
#include "tree.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/khoctl-history.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	kho_remove_tree(dir);
	return 0;
}

static void add(struct kho_journal *j, const char *text)
{
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o = NULL;

	assert_int_equal(kho_json_parse(text, strlen(text), &o, &err), 0);
	assert_int_equal(kho_journal_add(j, o, &err), 0);
}

/* A journal of an upgrade 6.12.N -> 7.3.N, with these records behind its first one (NULL: none). */
static void journal(unsigned n, const char *more, const char *end)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_journal *j = NULL;
	char text[256];

	assert_int_equal(kho_journal_create(dir, dir, &j, &err), 0);
	snprintf(text, sizeof(text),
		 "{\"rec\":\"begin\",\"from\":\"6.12.%u\",\"to\":\"7.3.%u\",\"generation\":%u,\"engine\":\"beside\",\"jumps\":false,\"time\":%u}", n, n, 2, 1700000000 + n);
	add(j, text);
	if (more)
		add(j, more);
	if (end)
		add(j, end);
	kho_journal_free(j);
}

static struct json_object *loaded(size_t want, unsigned want_bad)
{
	struct json_object *list = NULL;
	struct kho_err err = KHO_ERR_INIT;
	unsigned bad = 0;

	assert_int_equal(kho_history_load(dir, &list, &bad, &err), 0);
	assert_int_equal(json_object_array_length(list), want);
	assert_int_equal(bad, want_bad);
	return list;
}

static struct json_object *newest(const struct json_object *list)
{
	return json_object_array_get_idx(list, json_object_array_length(list) - 1);
}

/* Whatever became of it; and one that no journal followed is not told twice. */
static void test_every_outcome(void **state)
{
	static const struct {
		const char *more, *end, *outcome, *msg, *back;
	} t[] = {
		{ NULL, "{\"rec\":\"end\",\"outcome\":\"upgraded\",\"msg\":\"\"}", "upgraded", "", "" },
		{ NULL, "{\"rec\":\"end\",\"outcome\":\"rolled back\",\"msg\":\"shift: injected\"}", "rolled back", "shift: injected", "" },
		{ NULL, "{\"rec\":\"end\",\"outcome\":\"needs a person\",\"msg\":\"undo\"}", "needs a person", "undo", "" },
		{ NULL, "{\"rec\":\"end\",\"outcome\":\"refused\",\"msg\":\"no\"}", "refused", "no", "" },
		{ "{\"rec\":\"back\",\"why\":\"retrieve proc: CRIU\"}", "{\"rec\":\"end\",\"outcome\":\"rolled back\",\"msg\":\"went back\"}", "rolled back",
		  "went back", "retrieve proc: CRIU" },
		{ NULL, NULL, "interrupted", "", "" },
		{ "{\"rec\":\"reset\",\"step\":\"shift\",\"lost\":\"the workloads\"}", NULL, "interrupted", "the workloads", "" },
	};

	(void)state;
	json_object_put(loaded(0, 0));
	kho_history_keep(dir, dir, "6.12.1", 2);
	json_object_put(loaded(0, 0));
	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_json_ struct json_object *list = NULL;
		struct json_object *o;

		journal(i, t[i].more, t[i].end);
		kho_history_keep(dir, dir, "6.12.1", 2);
		kho_history_keep(dir, dir, "6.12.1", 2);
		list = loaded(i + 1, 0);
		o = newest(list);
		assert_string_equal(kho_json_get_str(o, "outcome"), t[i].outcome);
		assert_string_equal(kho_json_get_str(o, "msg"), t[i].msg);
		assert_string_equal(kho_json_get_str(o, "back"), t[i].back);
		assert_string_equal(kho_json_get_str(o, "engine"), "beside");
		assert_int_equal(kho_json_get_int(o, "time"), 1700000000 + i);
		assert_null(kho_json_get(o, "phases"));
	}
}

/* Its kernel fell before it could say that it was through; the one that it led to knows. */
static void test_taken_over(void **state)
{
	static const struct {
		const char *running, *outcome;
		uint32_t generation;
	} t[] = { { "7.3.1", "upgraded", 3 }, { "7.3.1", "interrupted", 2 }, { "6.12.1", "interrupted", 3 } };

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_json_ struct json_object *list = NULL;
		char path[96];

		journal(1, "{\"rec\":\"signed\",\"at_us\":1}", NULL);
		kho_history_keep(dir, dir, t[i].running, t[i].generation);
		list = loaded(1, 0);
		assert_string_equal(kho_json_get_str(newest(list), "outcome"), t[i].outcome);
		snprintf(path, sizeof(path), "%s/" KHO_HISTORY_NAME, dir);
		assert_int_equal(unlink(path), 0);
	}
}

/* So many, the newest ones. */
static void test_length(void **state)
{
	_cleanup_json_ struct json_object *list = NULL;
	char from[16];

	(void)state;
	for (unsigned i = 0; i < KHO_HISTORY_MAX + 3; i++) {
		journal(i, NULL, "{\"rec\":\"end\",\"outcome\":\"upgraded\",\"msg\":\"\"}");
		kho_history_keep(dir, dir, "6.12.1", 2);
	}
	list = loaded(KHO_HISTORY_MAX, 0);
	assert_string_equal(kho_json_get_str(json_object_array_get_idx(list, 0), "from"), "6.12.3");
	snprintf(from, sizeof(from), "6.12.%u", KHO_HISTORY_MAX + 2);
	assert_string_equal(kho_json_get_str(newest(list), "from"), from);
}

#define GOOD "{\"from\":\"6.12.1\",\"to\":\"7.3.4\",\"outcome\":\"upgraded\",\"of tomorrow\":1}"

/* Damaged lines are counted, and gone when the next line is written; what is known of none is kept. */
static void test_damaged(void **state)
{
	static const char bad[] = "nonsense\n\n" GOOD "\n[1]\n{\"from\":1,\"to\":\"7.3.4\",\"outcome\":\"upgraded\"}\n{\"from\":\"\",\"to\":\"a\",\"outcome\":\"b\"}\n"
				  "{\"to\":\"a\0b\"}\n" GOOD "\n{\"from\":\"6.1";
	_cleanup_json_ struct json_object *list = NULL;
	_cleanup_free_ char *longer = calloc(1, 65536);

	(void)state;
	test_put(dir, "/" KHO_HISTORY_NAME, bad, sizeof(bad) - 1);
	json_object_put(loaded(2, 6));
	journal(1, NULL, "{\"rec\":\"end\",\"outcome\":\"refused\",\"msg\":\"\"}");
	kho_history_keep(dir, dir, "6.12.1", 2);
	list = loaded(3, 0);
	assert_int_equal(kho_json_get_int(json_object_array_get_idx(list, 1), "of tomorrow"), 1);
	/* longer than any that is written here */
	memset(longer, ' ', 65535);
	memcpy(longer, GOOD, strlen(GOOD));
	test_put(dir, "/" KHO_HISTORY_NAME, longer, 65535);
	json_object_put(loaded(0, 1));
}

/* What cannot be read is not written over. */
static void test_unreadable(void **state)
{
	struct json_object *list = NULL;
	struct kho_err err = KHO_ERR_INIT;
	char path[96];

	(void)state;
	test_put(dir, "/" KHO_HISTORY_NAME, GOOD "\n", strlen(GOOD) + 1);
	snprintf(path, sizeof(path), "%s/" KHO_HISTORY_NAME, dir);
	assert_int_equal(truncate(path, 16 << 20), 0);
	assert_true(kho_history_load(dir, &list, NULL, &err) < 0);
	assert_non_null(strstr(err.msg, KHO_HISTORY_NAME));
	journal(1, NULL, NULL);
	kho_history_keep(dir, dir, "6.12.1", 2);
	assert_int_equal(truncate(path, (off_t)strlen(GOOD) + 1), 0);
	json_object_put(loaded(1, 0));
}

/* The kernel's own record, laid out as include/linux/kho/abi/kexec_metadata.h has it. */
static size_t record(uint8_t out[73], uint32_t version, const char *release, uint32_t count)
{
	memset(out, 0, 73);
	memcpy(out, &version, 4);
	memcpy(out + 4, release, strnlen(release, 65));
	memcpy(out + 69, &count, 4);
	return 73;
}

static void test_metadata(void **state)
{
	static const char long_release[] = "6.12.107+a-release-of-64-characters-as-long-as-one-can-be-0123456";
	struct kho_kexec_metadata m = { .kexec_count = 7 };
	struct kho_err err = KHO_ERR_INIT;
	uint8_t b[80] = { 0 };
	size_t n = record(b, 1, "7.3.4+deb13-cloud-amd64", 0x01020304);

	(void)state;
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), 1);
	assert_string_equal(m.previous_release, "7.3.4+deb13-cloud-amd64");
	assert_int_equal(m.kexec_count, 0x01020304);
	/* a later one may be longer, one of another version anything */
	assert_int_equal(kho_kexec_metadata_parse(b, sizeof(b), &m, &err), 1);
	(void)record(b, 2, "7.3.4", 1);
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), 0);
	assert_int_equal(kho_kexec_metadata_parse(b, 4, &m, &err), 0);
	(void)record(b, 1, "7.3.4", 1);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(kho_kexec_metadata_parse(b, cut, &m, &err), -EBADMSG);
	assert_int_equal(strlen(long_release), 65);
	(void)record(b, 1, long_release + 1, 1);
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), 1);
	assert_string_equal(m.previous_release, long_release + 1);
	(void)record(b, 1, long_release, 1); /* no end */
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), -EBADMSG);
	(void)record(b, 1, "", 1);
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), -EBADMSG);
	(void)record(b, 1, "7.3.4\n\033[1m", 1);
	assert_int_equal(kho_kexec_metadata_parse(b, n, &m, &err), -EBADMSG);
}

#define UP(from, to, jumps, outcome, back) "{\"from\":\"" from "\",\"to\":\"" to "\",\"jumps\":" jumps ",\"outcome\":\"" outcome "\",\"back\":" back "}\n"

/* What the kernel says against what is on record. */
static void test_witness(void **state)
{
	static const struct {
		const char *lines, *running, *from;
		uint32_t count;
		int agrees;
		const char *why;
	} t[] = {
		{ "", "7.3", "6.12", 1, 0, "" },
		{ UP("6.12", "7.3", "false", "upgraded", "null"), "7.3", "6.12", 1, 0, "" },
		{ UP("6.12", "7.3", "true", "upgraded", "null"), "7.3", "6.12", 1, 1, "" },
		{ UP("6.12", "7.3", "true", "upgraded", "null"), "7.3", "6.1", 1, -1, "started from 6.1" },
		{ UP("6.12", "7.3", "true", "upgraded", "null"), "7.4", "7.3", 2, -1, "another kexec" },
		{ UP("6.12", "7.3", "true", "upgraded", "null"), "7.3", "6.12", 2, -1, "counts 2, upgrades on record are 1" },
		/* the number begins anew when the machine does */
		{ UP("6.12", "7.3", "true", "upgraded", "null") UP("7.3", "7.4", "true", "upgraded", "null"), "7.4", "7.3", 1, 1, "" },
		/* one that went back is two; one that ended before the jump is none */
		{ UP("6.12", "7.3", "true", "rolled back", "\"why\""), "6.12", "7.3", 2, 1, "" },
		{ UP("6.12", "7.3", "true", "upgraded", "null") UP("7.3", "7.4", "true", "rolled back", "null"), "7.3", "6.12", 1, 1, "" },
		{ UP("6.12", "7.3", "true", "upgraded", "null") UP("7.3", "7.4", "true", "running", "null"), "7.3", "6.12", 1, 1, "" },
		{ UP("6.12", "7.3", "true", "upgraded", "null") UP("7.3", "7.4", "false", "rolled back", "null"), "7.3", "6.12", 1, 1, "" },
		/* a person was needed: before or after, says what runs */
		{ UP("6.12", "7.3", "true", "needs a person", "null"), "7.3", "6.12", 1, 1, "" },
		{ UP("6.12", "7.3", "true", "needs a person", "null"), "6.12", "5.10", 1, 0, "" },
		/* beside one another: its number is of the kernel before */
		{ UP("6.12", "7.3", "true", "upgraded", "null") UP("7.3", "7.4", "false", "upgraded", "null"), "7.4", "6.12", 1, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct kho_kexec_metadata m = { .kexec_count = t[i].count };
		struct json_object *list = NULL;
		struct kho_err err = KHO_ERR_INIT;
		char why[400] = "";

		strcpy(m.previous_release, t[i].from);
		test_put(dir, "/" KHO_HISTORY_NAME, t[i].lines, strlen(t[i].lines));
		assert_int_equal(kho_history_load(dir, &list, NULL, &err), 0);
		if (kho_history_witness(list, t[i].running, &m, why, sizeof(why)) != t[i].agrees || !strstr(why, t[i].why))
			fail_msg("case %zu: %s", i, why);
		json_object_put(list);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_outcome), TEST(test_taken_over), TEST(test_length), TEST(test_damaged), TEST(test_unreadable), TEST(test_metadata), TEST(test_witness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
