// SPDX-License-Identifier: GPL-2.0-only
/*
 * kho_spawn(): what a helper process finds, asked of the helper itself, while the caller has
 * signals blocked and ignored and descriptors without close-on-exec.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/spawn.h"

#define TELL                                                                                     \
	"exec >&3; for f in /proc/self/fd/*; do echo \"${f##*/}=$(readlink "                     \
	"/proc/$$/fd/${f##*/})\"; done;"                                                         \
	"sed -n 's/^Sig\\(Blk\\|Ign\\):\t*/\\1=/p' /proc/self/status; echo sid=$(cut -d' ' -f6 " \
	"/proc/$$/stat);"                                                                        \
	"echo pid=$$; echo KEPT=${KEPT-none}"

/* Run TELL with the pipe's end at the descriptor `at` and give its output. */
static void tell(int at, char *const envp[], char *out, size_t size)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)TELL, NULL };
	struct kho_err err = KHO_ERR_INIT;
	int p[2], fd, status, saved = fcntl(at, F_DUPFD_CLOEXEC, 100);
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fd = p[0] == at ? fcntl(p[0], F_DUPFD_CLOEXEC, 100) : p[0];
	if (p[1] != at) {
		assert_int_equal(dup3(p[1], at, O_CLOEXEC), at);
		close(p[1]);
	}
	if (kho_spawn("/bin/sh", argv, envp, at, &pid, &err) < 0)
		fail_msg("%s", err.msg);
	if (saved >= 0)
		dup2(saved, at);
	else
		close(at);
	close(saved);
	while ((n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_non_null(strstr(out, "sid="));
	assert_int_equal(atoi(strstr(out, "sid=") + 4), pid);
	assert_int_equal(atoi(strstr(out, "pid=") + 4), pid);
}

static void test_bare(void **state)
{
	int leak = open("/etc/passwd", O_RDONLY);
	char out[4096];
	sigset_t all, old;

	(void)state;
	assert_true(leak >= 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	tell(20, NULL, out, sizeof(out));
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	assert_non_null(strstr(out, "0=/dev/null\n"));
	assert_non_null(strstr(out, "2=/dev/null\n"));
	assert_non_null(strstr(out, "3=pipe:"));
	assert_null(strstr(out, "/etc/passwd"));
	assert_null(strstr(out, "20="));
	assert_non_null(strstr(out, "Blk=0000000000000000\n"));
	/* 32 and 33 are the C library's own: it may leave them ignored */
	assert_int_equal(strtoull(strstr(out, "Ign=") + 4, NULL, 16) & ~0x180000000ull, 0);
	assert_non_null(strstr(out, "KEPT=none\n"));
	close(leak);
}

/* The descriptor may lie where the child's own go, close-on-exec or not. */
static void test_places(void **state)
{
	char *envp[] = { (char *)"KEPT=yes", (char *)"PATH=/usr/bin:/bin", NULL };
	char out[4096];

	(void)state;
	for (int at = 0; at <= KHO_SPAWN_FD + 1; at++) {
		tell(at, envp, out, sizeof(out));
		assert_non_null(strstr(out, "0=/dev/null\n"));
		assert_non_null(strstr(out, "3=pipe:"));
		assert_non_null(strstr(out, "KEPT=yes\n"));
	}
}

static void test_refused(void **state)
{
	char *argv[] = { (char *)"none", NULL };
	struct kho_err err = KHO_ERR_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(kho_spawn("/nowhere/none", argv, NULL, -1, &pid, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nowhere/none"));
	assert_int_equal(kho_spawn("/etc/passwd", argv, NULL, -1, &pid, &err), -EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
