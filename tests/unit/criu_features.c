// SPDX-License-Identifier: GPL-2.0-only
/* What CRIU misses, by a program in its place: what the real one misses on a real kernel is what t-gates sees. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/io.h"
#include "lib/criu.h"

static char dir[] = "/tmp/criu-features-XXXXXX";

/* Its answers: the body of a shell script that is called as CRIU is. */
static void stands_for_criu(const char *body)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[64], text[512];
	int n = snprintf(text, sizeof(text), "#!/bin/sh\n[ \"$1 $2\" = \"check --feature\" ] || exit 9\n%s\n", body);

	snprintf(path, sizeof(path), "%s/criu", dir);
	assert_int_equal(kho_write_file(path, text, (size_t)n, &err), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static void misses(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char what[64];

	(void)state;
	stands_for_criu("exit 0");
	assert_int_equal(kho_criu_misses(NULL, what, sizeof(what), &err), 0);
	assert_string_equal(what, "");
	stands_for_criu("case $3 in timens | tun) exit 1 ;; esac");
	assert_int_equal(kho_criu_misses(NULL, what, sizeof(what), &err), 2);
	assert_string_equal(what, "tun timens");
	/* a signal is no yes */
	stands_for_criu("[ $3 != userns ] || kill -9 $$");
	assert_int_equal(kho_criu_misses(NULL, what, sizeof(what), &err), 1);
	assert_string_equal(what, "userns");
}

/* What another kernel says that it misses: words of it that are no feature are not asked for. */
static void of_those(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char what[64];

	(void)state;
	stands_for_criu("exit 1");
	assert_int_equal(kho_criu_misses("tun timens", what, sizeof(what), &err), 2);
	assert_int_equal(kho_criu_misses("timens; rm -rf / tunnel xtun", what, sizeof(what), &err), 0);
	assert_int_equal(kho_criu_misses("", what, sizeof(what), &err), 0);
	stands_for_criu("[ $3 = tun ]");
	assert_int_equal(kho_criu_misses("tun timens", what, sizeof(what), &err), 1);
	assert_string_equal(what, "timens");
}

/* More than fits is counted all the same. */
static void cut(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char what[16];

	(void)state;
	stands_for_criu("exit 1");
	assert_true(kho_criu_misses(NULL, what, sizeof(what), &err) > 10);
	assert_int_equal(strlen(what), sizeof(what) - 1);
}

static int setup(void **state)
{
	(void)state;
	return !mkdtemp(dir) || setenv("PATH", dir, 1);
}

static int teardown(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/criu", dir);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(misses), cmocka_unit_test(of_those), cmocka_unit_test(cut) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
