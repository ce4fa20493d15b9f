// SPDX-License-Identifier: GPL-2.0-only
/* Who is in the vDSO: by texts of /proc, and a real process that is stopped until it is. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "state-serializers/proc/vdso.h"

static unsigned long asked;

/* Of the mappings that may be one: this one is. */
static bool first_is_elf(void *arg, unsigned long start)
{
	asked = start;
	return start == *(unsigned long *)arg;
}

static void texts(void **state)
{
	/* of a redis on 6.12 that was started on 7.3, with the line of a program that makes code behind it */
	static const char maps[] = "55d0c0a00000-55d0c0a4d000 r--p 00000000 fd:00 1234                       /usr/bin/redis-check-rdb\n"
				   "7f3493a00000-7f3493b00000 r-xp 00028000 fd:00 777                        /usr/lib/libc.so.6\n"
				   "7f3493c43000-7f3493c47000 r--p 00000000 00:00 0                          [vvar]\n"
				   "7f3493c47000-7f3493c49000 r-xp 00000000 00:00 0                          [vdso]\n"
				   "7f3493d00000-7f3493d02000 r-xp 00000000 00:00 0\n"
				   "7f3493e00000-7f3493e02000 rwxp 00000000 00:00 0 \n"
				   "7f3493f00000-7f3493f02000 r-xp 00000000 00:00 0 \n"
				   "7ffe21acd000-7ffe21aee000 rw-p 00000000 00:00 0                          [stack]\n";
	unsigned long elf = 0x7f3493c47000;

	(void)state;
	assert_true(kho_vdso_has(maps, 0x7f3493c47000, first_is_elf, &elf));
	assert_true(kho_vdso_has(maps, 0x7f3493c48fff, first_is_elf, &elf));
	assert_false(kho_vdso_has(maps, 0x7f3493c49000, first_is_elf, &elf));
	assert_false(kho_vdso_has(maps, 0x7f3493c46000, first_is_elf, &elf));
	assert_false(kho_vdso_has(maps, 0x7f3493a00010, first_is_elf, &elf));
	assert_int_equal(asked, 0x7f3493c47000);
	elf = 0x7f3493d00000;
	assert_false(kho_vdso_has(maps, 0x7f3493c47000, first_is_elf, &elf)); /* of 32 bits */
	assert_true(kho_vdso_has(maps, 0x7f3493d01234, first_is_elf, &elf));
	assert_false(kho_vdso_has(maps, 0x7f3493f01234, first_is_elf, &elf));
	assert_int_equal(asked, 0x7f3493f00000);
	/* that may be written: a program's own */
	assert_false(kho_vdso_has(maps, 0x7f3493e00000, first_is_elf, &elf));
	assert_int_equal(asked, 0x7f3493f00000);
	assert_false(kho_vdso_has("", 1, first_is_elf, &elf));
	assert_false(kho_vdso_has("7f34-\n\n-x", 1, first_is_elf, &elf));
}

static pid_t start(bool asks)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (struct timespec t;;)
		if (asks)
			clock_gettime(CLOCK_MONOTONIC, &t);
		else
			pause();
}

static void stop(pid_t pid)
{
	int status;

	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

static void live(void **state)
{
	pid_t pids[2] = { start(false), start(true) }, found = 0;
	unsigned in = 0, out = 0;

	(void)state;
	stop(pids[0]);
	for (int i = 0; i < 2000 && !(in && out); i++) {
		stop(pids[1]);
		found = kho_proc_in_vdso(pids, 2);
		assert_true(!found || found == pids[1]);
		*(found ? &in : &out) += 1;
		kill(pids[1], SIGCONT);
		usleep(100);
	}
	print_message("%u times in it, %u times not\n", in, out);
	assert_true(in && out);
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	/* who is gone is in nothing */
	assert_int_equal(kho_proc_in_vdso(pids, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(texts), cmocka_unit_test(live) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
