// SPDX-License-Identifier: GPL-2.0-only
/* A tree that was stopped goes on by what /proc says of it: only what ran before, and its connections leave repair mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

static void wait_state(pid_t pid, char want)
{
	for (int i = 0; i < 500 && kho_pid_state("", pid) != want; i++)
		usleep(10000);
	assert_int_equal(kho_pid_state("", pid), want);
}

/* A process with a child; *out_child is its number. */
static pid_t family(pid_t *out_child)
{
	int p[2];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		pid_t child = fork();

		if (child == 0)
			for (;;)
				pause();
		(void)!write(p[1], &child, sizeof(child));
		for (;;)
			pause();
	}
	assert_int_equal(read(p[0], out_child, sizeof(*out_child)), sizeof(*out_child));
	close(p[0]);
	close(p[1]);
	return pid;
}

static void end(pid_t pid, pid_t child)
{
	kill(child, SIGKILL);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void marks(void **state)
{
	char path[] = "/tmp/kho-thaw.XXXXXX";
	_cleanup_free_ pid_t *pids = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_proc_mark m;
	pid_t child, root = family(&child);
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(kho_proc_tree_live(root, &pids), 2);
	assert_int_equal(pids[0], root);
	assert_int_equal(pids[1], child);
	kill(child, SIGSTOP);
	wait_state(child, 'T');
	assert_int_equal(kho_proc_mark_write(path, root, 77, pids, 2, &err), 0);
	kho_proc_mark_read(path, &m);
	assert_int_equal(m.root, root);
	assert_int_equal(m.monitor, 77);
	assert_int_equal(m.nstopped, 1);
	assert_int_equal(m.stopped[0], child);
	kill(root, SIGSTOP);
	wait_state(root, 'T');
	kho_proc_wait_untraced(root);
	assert_int_equal(kho_proc_thaw_live(&m, &err), 0);
	wait_state(root, 'S');
	assert_int_equal(kho_pid_state("", child), 'T');
	kho_proc_mark_done(&m);
	end(root, child);
	/* nothing is left of it: nothing to do */
	m = (struct kho_proc_mark){ .root = root };
	assert_int_equal(kho_proc_thaw_live(&m, &err), 0);
	unlink(path);
	kho_proc_mark_read(path, &m);
	assert_int_equal(m.root, 0);
	assert_int_equal(kho_proc_thaw_live(&m, &err), 0);
}

/* Those who were there before, those who are there now, and one that is no more. */
static void stops(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_proc_mark m = { 0 };
	pid_t child, other_child, root = family(&child), other = family(&other_child), gone = fork();
	pid_t known[] = { gone, other_child };

	(void)state;
	if (!gone)
		_exit(0);
	assert_int_equal(waitpid(gone, NULL, 0), gone);
	kho_proc_stop(root, known, 2);
	wait_state(root, 'T');
	wait_state(child, 'T');
	wait_state(other_child, 'T');
	assert_int_equal(kho_pid_state("", other), 'S');
	m.root = root;
	assert_int_equal(kho_proc_thaw_live(&m, &err), 0);
	wait_state(root, 'S');
	wait_state(child, 'S');
	end(root, child);
	end(other, other_child);
}

/* A connection over the loopback, its one end in repair mode. false: this user may not. */
static bool repaired_pair(int out[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(out[0], (struct sockaddr *)&a, sizeof(a)), 0);
	out[1] = accept(listener, NULL, NULL);
	close(listener);
	return !setsockopt(out[0], IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
}

static void repair_ends(void **state)
{
	struct kho_proc_mark m = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	int s[2], on = 1;
	socklen_t len = sizeof(on);
	bool may = repaired_pair(s);
	char c = 0;

	(void)state;
	if (!may) {
		close(s[0]);
		close(s[1]);
		skip();
	}
	m.root = fork();
	if (m.root == 0)
		for (;;)
			pause();
	/* why nobody may run meanwhile */
	assert_int_equal(write(s[1], "y", 1), 1);
	assert_int_equal(read(s[0], &c, 1), -1);
	assert_int_equal(errno, EPERM);
	kho_proc_stop(m.root, NULL, 0);
	wait_state(m.root, 'T');
	if (kho_proc_thaw_live(&m, &err) < 0)
		fail_msg("%s", err.msg);
	wait_state(m.root, 'S');
	assert_int_equal(getsockopt(s[0], IPPROTO_TCP, TCP_REPAIR, &on, &len), 0);
	assert_int_equal(on, 0);
	assert_int_equal(read(s[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(write(s[0], "x", 1), 1);
	assert_int_equal(read(s[1], &c, 1), 1);
	assert_int_equal(c, 'x');
	kill(m.root, SIGKILL);
	waitpid(m.root, NULL, 0);
	close(s[0]);
	close(s[1]);
}

/* What has been started from memory, as the loader that becomes CRIU is. */
static pid_t from_memory(const char *name)
{
	char *argv[] = { (char *)"sleep", (char *)"10", NULL }, *envp[] = { NULL };
	_cleanup_close_ int from = open("/bin/sleep", O_RDONLY | O_CLOEXEC), to = memfd_create(name, MFD_CLOEXEC);
	struct stat st;
	pid_t pid;

	assert_int_equal(fstat(from, &st), 0);
	assert_int_equal(sendfile(to, from, NULL, (size_t)st.st_size), st.st_size);
	pid = fork();
	if (!pid) {
		fexecve(to, argv, envp);
		_exit(127);
	}
	wait_state(pid, 'S');
	return pid;
}

static void criu_is_known(void **state)
{
	pid_t pid = from_memory(KHO_CRIU_LOADER), other = from_memory("loader");

	(void)state;
	assert_true(kho_pid_is_criu(pid));
	assert_false(kho_pid_is_criu(other));
	assert_false(kho_pid_is_criu(getpid()));
	kill(pid, SIGKILL);
	kill(other, SIGKILL);
	waitpid(pid, NULL, 0);
	waitpid(other, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marks),
		cmocka_unit_test(stops),
		cmocka_unit_test(repair_ends),
		cmocka_unit_test(criu_is_known),
	};

	return cmocka_run_group_tests_name("thaw", tests, NULL, NULL);
}
