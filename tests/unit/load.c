// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads, on the kernel that the tests run on: each does operations that take time, a kernel that cannot run one says why, errors are counted, nothing
 * stays behind, and who is to stop stops. And which CPUs are spare.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/load.h"
#include "bpf/pinned.h"
#include "bpf/spare.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/spawn.h"

static void names(void **state)
{
	static const char *const bad[] = { "", ",", "shced", "sched,", "sched,nett", "command", "all,net", "bin/true", " sched" };
	struct kho_err err = KHO_ERR_INIT;
	char long_one[KHO_LOAD_COMMAND_MAX + 2];
	unsigned set;

	(void)state;
	assert_int_equal(kho_mixes_parse("all", &set, &err), 0);
	assert_int_equal(set, 0x1f);
	assert_int_equal(kho_mixes_parse("net,sched", &set, &err), 0);
	assert_int_equal(set, 1 << KHO_MIX_NET | 1 << KHO_MIX_SCHED);
	assert_int_equal(kho_mixes_parse("/bin/true 1 2", &set, &err), 0);
	assert_int_equal(set, 1 << KHO_MIX_COMMAND);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (strcmp(bad[i], "sched,"))
			assert_int_equal(kho_mixes_parse(bad[i], &set, &err), -EINVAL);
	assert_int_equal(kho_mixes_parse("shced", &set, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "load 'shced': want all"));
	memset(long_one, '/', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	assert_int_equal(kho_mixes_parse(long_one, &set, &err), -EINVAL);
}

/* Every built-in one runs, or says why it cannot; as many operations as there is time for. */
static void built_in(void **state)
{
	unsigned ran = 0;

	(void)state;
	for (int m = 0; m < KHO_MIX_COMMAND; m++) {
		struct kho_load l = { .mix = (enum kho_mix)m, .cpus = 1, .us = 300000 };
		struct kho_load_result r;
		struct kho_err err = KHO_ERR_INIT;
		uint64_t begin = kho_now_ns();

		if (kho_load_run(&l, NULL, NULL, NULL, &r, &err))
			fail_msg("%s: %s", kho_mixes[m].name, err.msg);
		begin = kho_now_ns() - begin;
		print_message("%-8s %s %llu operations, median %llu ns, p99 %llu ns, %llu errors %s\n", kho_mixes[m].name, r.known ? "ran:" : "unknown:",
			      (unsigned long long)kho_hist_count(&r.ns), (unsigned long long)kho_hist_quantile(&r.ns, 0.5),
			      (unsigned long long)kho_hist_quantile(&r.ns, 0.99), (unsigned long long)r.errors, r.what);
		if (!r.known) {
			assert_true(*r.what && !kho_hist_count(&r.ns));
			continue;
		}
		assert_in_range(begin / 1000, 250000, 8000000);
		ran++;
		assert_int_equal(r.errors, 0);
		assert_string_equal(r.what, "");
		assert_true(kho_hist_count(&r.ns) >= 20 && kho_hist_quantile(&r.ns, 0.5) > 100);
		/* one thread: its operations are not longer together than it ran */
		assert_true(kho_hist_count(&r.ns) * kho_hist_quantile(&r.ns, 0.5) / 2 < 2000000000ull);
	}
	assert_true(ran >= 2); /* sched and memory need nothing */
}

/* On two CPUs it does about twice as much; there are not more than there are. */
static void two_cpus(void **state)
{
	struct kho_load l = { .mix = KHO_MIX_MEMORY, .cpus = 2, .us = 300000 };
	struct kho_load_result r;
	struct kho_err err = KHO_ERR_INIT;
	cpu_set_t one;

	(void)state;
	if (sysconf(_SC_NPROCESSORS_ONLN) >= 2) {
		assert_int_equal(kho_load_run(&l, NULL, NULL, NULL, &r, &err), 0);
		assert_true(r.known && kho_hist_count(&r.ns) > 20);
	}
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	assert_int_equal(kho_load_run(&l, &one, NULL, NULL, &r, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "on 2 CPUs, there are 1"));
	l.cpus = 0;
	assert_int_equal(kho_load_run(&l, NULL, NULL, NULL, &r, &err), -EINVAL);
}

static struct kho_load_result run_command(const char *command, uint64_t us)
{
	struct kho_load l = { .mix = KHO_MIX_COMMAND, .command = command, .cpus = 1, .us = us };
	struct kho_load_result r;
	struct kho_err err = KHO_ERR_INIT;

	if (kho_load_run(&l, NULL, NULL, NULL, &r, &err))
		fail_msg("%s: %s", command, err.msg);
	return r;
}

static void commands(void **state)
{
	struct kho_load_result r = run_command("/bin/true with arguments", 2000000);

	(void)state;
	assert_true(r.known && !r.errors && kho_hist_count(&r.ns) >= 5);
	r = run_command("/bin/false", 2000000);
	assert_true(r.known && r.errors >= 5 && !kho_hist_count(&r.ns));
	assert_string_equal(r.what, "/bin/false ended with code 1");
	r = run_command("/bin/sleep 60", 300000);
	assert_false(r.known);
	assert_string_equal(r.what, "not one operation was over in 300 ms");
	r = run_command("/nowhere/at-all", 100000);
	assert_false(r.known);
	assert_non_null(strstr(r.what, "/nowhere/at-all"));
}

/* The first child of a process that has one thread; 0: none. */
static pid_t child_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	return kho_read_line(path, &text, NULL) < 0 ? 0 : atoi(text);
}

/* The one that does the work is a child of the one that waits for it. */
static bool kill_one(void *arg)
{
	pid_t pid = child_of(getpid());

	(void)arg;
	pid = pid ? child_of(pid) : 0;
	if (pid)
		kill(pid, SIGKILL);
	return false;
}

/* One that is killed under the load (out of memory): that is said, and nothing of it counts. */
static void dies(void **state)
{
	struct kho_load l = { .mix = KHO_MIX_SCHED, .cpus = 1, .us = 2000000 };
	struct kho_load_result r;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_load_run(&l, NULL, kill_one, NULL, &r, &err), 0);
	assert_false(r.known);
	assert_non_null(strstr(r.what, "has died"));
}

/* Is a process with this argument there? */
static bool there(const char *argument)
{
	char command[128];

	snprintf(command, sizeof(command), "grep -lsza '^%s$' /proc/[0-9]*/cmdline | grep -vc \"/$$/\" > /dev/null", argument);
	return system(command) == 0;
}

static bool soon(void *arg)
{
	return kho_now_ns() > *(const uint64_t *)arg;
}

/* Asked to stop it stops at once, with all that a command has started. */
static void stopping(void **state)
{
	struct kho_load l = { .mix = KHO_MIX_COMMAND, .command = "/bin/sleep 3723.25", .cpus = 1, .us = 60000000 };
	struct kho_load_result r;
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_now_ns(), at = begin + 300000000;

	(void)state;
	assert_int_equal(kho_load_run(&l, NULL, soon, &at, &r, &err), -EINTR);
	assert_true(kho_now_ns() - begin < 10000000000ull);
	usleep(200000);
	assert_false(there("3723.25"));
	/* a built-in one, too */
	l = (struct kho_load){ .mix = KHO_MIX_SCHED, .cpus = 1, .us = 60000000 };
	at = kho_now_ns() + 200000000;
	assert_int_equal(kho_load_run(&l, NULL, soon, &at, &r, &err), -EINTR);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void no_such_load(void **state)
{
	struct kho_load_result r;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_load bad[] = { { .mix = KHO_NMIXES, .cpus = 1, .us = 1 },
				  { .mix = KHO_MIX_COMMAND, .cpus = 1, .us = 1 },
				  { .mix = KHO_MIX_SCHED, .command = "/bin/true", .cpus = 1, .us = 1 } };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(kho_load_run(&bad[i], NULL, NULL, NULL, &r, &err), -EINVAL);
}

static void spare(void **state)
{
	static const char before[] = "cpu  9 9 9 9 9 9 9\ncpu0 100 0 100 800 0 0 0 0\ncpu1 0 0 0 1000 0 0 0 0\ncpu3 0 0 0 1000 0 0 0 0 7 7\nintr 5\n",
			  after[] = "cpu0 150 0 100 850 0 0 0 0\ncpu1 10 0 0 1080 10 0 0 0\ncpu3 0 0 0 1098 0 1 1 0 7 7\ncpu4 x\ncpu99999 1 1 1 1 1 1 1\n";
	static struct kho_cpu_times a, b;
	struct kho_err err = KHO_ERR_INIT;
	cpu_set_t may, out;
	unsigned busy;

	(void)state;
	kho_cpu_times_parse(before, &a);
	kho_cpu_times_parse(after, &b);
	CPU_ZERO(&may);
	for (size_t i = 0; i < 4; i++)
		CPU_SET(i, &may);
	assert_int_equal(kho_spare_of(&a, &b, &may, 1, &out, &busy, &err), 0);
	assert_true(CPU_ISSET(3, &out) && CPU_COUNT(&out) == 1);
	assert_int_equal(busy, 2); /* 2 of 100 */
	assert_int_equal(kho_spare_of(&a, &b, &may, 3, &out, &busy, &err), 0);
	assert_true(CPU_ISSET(3, &out) && CPU_ISSET(1, &out) && CPU_ISSET(0, &out));
	assert_int_equal(busy, 50);
	assert_int_equal(kho_spare_of(&a, &b, &may, 4, &out, &busy, &err), 0); /* CPU 2: not known, so busy */
	assert_int_equal(busy, 100);
	assert_int_equal(kho_spare_of(&a, &b, &may, 5, &out, &busy, &err), -EINVAL);
	assert_int_equal(kho_spare_cpus(1, &out, &busy, &err), 0); /* here */
	assert_int_equal(CPU_COUNT(&out), 1);
	assert_true(busy <= 100);
}

static void words(void **state)
{
	char text[] = "  one\ttwo  three\n", none[] = " ";
	_cleanup_free_ char **w = kho_split_words(text), **n = kho_split_words(none);

	(void)state;
	assert_string_equal(w[0], "one");
	assert_string_equal(w[1], "two");
	assert_string_equal(w[2], "three");
	assert_null(w[3]);
	assert_null(n[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),    cmocka_unit_test(built_in),	    cmocka_unit_test(two_cpus), cmocka_unit_test(commands), cmocka_unit_test(dies),
		cmocka_unit_test(stopping), cmocka_unit_test(no_such_load), cmocka_unit_test(spare),	cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
