// SPDX-License-Identifier: GPL-2.0-only
/* Who is in the vDSO: by texts of /proc, and a real process that is stopped until it is. */
#include <elf.h>
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

static unsigned asked;

/* What begins where in the text below. */
static int class_of(void *arg, unsigned long start)
{
	(void)arg;
	asked++;
	return start == 0x7f3493d00000 || start == 0x7f3493c47000 ? ELFCLASS64 : start == 0xf7fb0000 ? ELFCLASS32 : ELFCLASSNONE;
}

static void texts(void **state)
{
	/* of a program that was started on 6.12 and runs on 7.3; more mappings behind it */
	static const char maps[] = "0004a000-0004e000 r--p 00000000 00:00 0                                  [vvar]\n"
				   "0004e000-00050000 r--p 00000000 00:00 0                                  [vvar_vclock]\n"
				   "00050000-00052000 r-xp 00000000 00:00 0                                  [vdso]\n"
				   "00401000-0048c000 r-xp 00001000 00:03 3327                               /usr/local/lib/khotest/clocks\n"
				   "f7fb0000-f7fb2000 r-xp 00000000 00:00 0                                  [vdso]\n"
				   "7f3493c47000-7f3493c49000 r-xp 00000000 00:00 0                          [vdso]\n"
				   "7f3493d00000-7f3493d02000 r-xp 00000000 00:00 0\n"
				   "7f3493e00000-7f3493e02000 rwxp 00000000 00:00 0 \n"
				   "7f3493f00000-7f3493f02000 r-xp 00000000 00:00 0 \n"
				   "7ffe21acd000-7ffe21aee000 rw-p 00000000 00:00 0                          [stack]\n";

	(void)state;
	assert_true(kho_vdso_has(maps, 0x7f3493c47000, class_of, NULL));
	assert_true(kho_vdso_has(maps, 0x7f3493c48fff, class_of, NULL));
	assert_false(kho_vdso_has(maps, 0x7f3493c49000, class_of, NULL));
	assert_false(kho_vdso_has(maps, 0xf7fb0571, class_of, NULL)); /* of 32 bits */
	assert_true(kho_vdso_has(maps, 0x50e9b, class_of, NULL)); /* that CRIU has put there, with its mark */
	assert_false(kho_vdso_has(maps, 0x4f000, class_of, NULL));
	asked = 0;
	assert_false(kho_vdso_has(maps, 0x401840, class_of, NULL));
	assert_false(kho_vdso_has(maps, 0x7f3493e00000, class_of, NULL)); /* may be written: a program's own */
	assert_int_equal(asked, 0);
	/* of the kernel before, and a program's own code */
	assert_true(kho_vdso_has(maps, 0x7f3493d01234, class_of, NULL));
	assert_false(kho_vdso_has(maps, 0x7f3493f01234, class_of, NULL));
	assert_int_equal(asked, 2);
	assert_false(kho_vdso_has("", 1, class_of, NULL));
	assert_false(kho_vdso_has("7f34-\n\n-x", 1, class_of, NULL));
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
