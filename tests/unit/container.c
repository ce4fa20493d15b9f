// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers: what a machine with one, recorded, says of it; the numbers of a PID namespace; and a real process
 * that becomes a monitor under the tracer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/container.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/workload.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/monitor.h"
#include "state-serializers/proc/tree.h"

#define ROOT "tests/sysroots/podman"
#define ID   "a1f3002fb7a87055b2fd88cb603164895bd982bb64488545ab510e23b95c8575"

static void recorded(void **state)
{
	struct kho_workload w = { .name = (char *)"web", .container = (char *)"web" };
	struct kho_workload_list l = { &w, 1 };
	struct kho_err err = KHO_ERR_INIT;
	char id[KHO_CONTAINER_ID_LEN];

	(void)state;
	assert_int_equal(kho_container_id(ROOT, "web", id, &err), 0);
	assert_string_equal(id, ID);
	assert_int_equal(kho_container_id(ROOT, "other", id, &err), -ENOENT);
	assert_int_equal(kho_workloads_resolve(ROOT, &l, &err), 0);
	assert_int_equal(w.root, 608);
	assert_int_equal(w.monitor, 606);
	assert_int_equal(w.npids, 1);
	assert_string_equal(w.cg, "/system.slice/web.service/libpod-payload-" ID);
	free(w.cg);
	free(w.pids);
}

static char *status(size_t *len)
{
	char *text = NULL;

	assert_int_equal(kho_read_file(ROOT "/run/crun/" ID "/status", 1 << 20, &text, len, NULL), 0);
	return text;
}

static void crun_status(void **state)
{
	_cleanup_free_ char *text = NULL, *stat = NULL, *out = NULL;
	_cleanup_json_ struct json_object *o = NULL;
	KhoProc__Container c = KHO_PROC__CONTAINER__INIT;
	const uint64_t inodes[] = { 77, 88 };
	struct kho_err err = KHO_ERR_INIT;
	size_t len;

	(void)state;
	text = status(&len);
	assert_int_equal(kho_container_pipes(text, len, &c, &err), 0);
	assert_int_equal(c.n_pipe, 2);
	assert_int_equal(c.pipe[0]->number, 1);
	assert_int_equal(c.pipe[0]->inode, 4315);
	assert_int_equal(c.pipe[1]->number, 2);
	assert_int_equal(c.pipe[1]->inode, 4316);
	assert_int_equal(kho_read_file(ROOT "/proc/608/stat", 65536, &stat, NULL, &err), 0);
	assert_int_equal(kho_stat_start(stat), 17780);
	assert_int_equal(kho_stat_start("608 (x) S 1 2"), 0);
	assert_int_equal(kho_stat_start(""), 0);
	assert_int_equal(kho_container_status(text, len, &c, 4711, inodes, &out, &err), 0);
	assert_int_equal(kho_json_parse(out, strlen(out), &o, &err), 0);
	assert_int_equal(kho_json_get_int(o, "process-start-time"), 4711);
	assert_int_equal(kho_json_get_int(o, "pid"), 608);
	assert_string_equal(kho_json_get_str(o, "external_descriptors"), "[\"/dev/null\",\"pipe:[77]\",\"pipe:[88]\"]");
	for (size_t i = 0; i < c.n_pipe; i++)
		kho_proc__standard_pipe__free_unpacked(c.pipe[i], NULL);
	free(c.pipe);
	assert_true(kho_container_pipes("{}", 2, &c, &err) < 0);
	assert_true(kho_container_pipes("[", 1, &c, &err) < 0);
}

/* CRIU's image of two mounts, one made by us: fields 3, 7 and 11 (master), and 18 (its name). What we do not know of is kept. */
static void masters(void **state)
{
	static const uint8_t image[] = { 0x19, 0x43, 0x56, 0x54, 0x22, 0x57, 0x90, 0x27,			       /* magic words */
					 12, 0, 0, 0, 0x18, 44, 0x3a, 2, '.', '/', 0x58, 7, 0x92, 1, 1, 'k', /* ours */
					 8, 0, 0, 0, 0x18, 45, 0x3a, 2, '.', '/', 0x58, 7 };
	static const uint8_t want[] = { 0x19, 0x43, 0x56, 0x54, 0x22, 0x57, 0x90, 0x27,
					10, 0, 0, 0, 0x92, 1, 1, 'k', 0x18, 44, 0x3a, 2, '.', '/',
					8, 0, 0, 0, 0x58, 7, 0x18, 45, 0x3a, 2, '.', '/' };
	char dir[] = "/tmp/khoctl-masters.XXXXXX", path[64], other[64];
	_cleanup_free_ char *got = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t len = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/mountpoints-12.img", dir);
	snprintf(other, sizeof(other), "%s/pstree.img", dir);
	assert_int_equal(kho_write_file(path, image, sizeof(image), &err), 0);
	assert_int_equal(kho_write_file(other, "x", 1, &err), 0); /* not looked at */
	assert_int_equal(kho_img_drop_masters(dir, &err), 0);
	assert_int_equal(kho_read_file(path, 4096, &got, &len, &err), 0);
	assert_int_equal(len, sizeof(want));
	assert_memory_equal(got, want, len);
	assert_int_equal(kho_write_file(path, image, sizeof(image) - 1, &err), 0);
	assert_int_equal(kho_img_drop_masters(dir, &err), -EBADMSG);
	assert_int_equal(kho_tree_remove(dir, &err), 0);
}

static void options(void **state)
{
	/* as podman 5.4 starts it, without most of the cleanup's arguments */
	char *argv[] = { (char *)"/usr/bin/conmon", (char *)"-c", (char *)ID, (char *)"-r", (char *)"/usr/bin/crun", (char *)"-b",
			 (char *)"/var/lib/userdata", (char *)"--runtime-arg", (char *)"-t", (char *)"--exit-command",
			 (char *)"/usr/bin/podman", (char *)"--exit-command-arg", (char *)"--runtime", (char *)"--exit-command-arg",
			 (char *)"crun" };
	KhoProc__Container c = KHO_PROC__CONTAINER__INIT;

	(void)state;
	c.argv = argv;
	c.n_argv = sizeof(argv) / sizeof(*argv);
	assert_int_equal(kho_container_option(&c, "-r", "--runtime"), 4);
	assert_int_equal(kho_container_option(&c, "-b", "--bundle"), 6);
	assert_int_equal(kho_container_option(&c, "-t", "--terminal"), 0);
	c.n_argv = 6;
	assert_int_equal(kho_container_option(&c, "-b", "--bundle"), 6); /* its value is missing */
}

static void numbers(void **state)
{
	pid_t me = getpid(), child;
	int p[2];

	(void)state;
	assert_int_equal(kho_pidns_outer(me, me), me);
	assert_int_equal(kho_pidns_outer(me, 0), 0);
	if (geteuid())
		return;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	child = fork();
	if (!child) { /* its child is number 1 in there */
		if (unshare(CLONE_NEWPID))
			_exit(1);
		child = fork();
		if (!child)
			pause();
		if (write(p[1], &child, sizeof(child)) != sizeof(child))
			_exit(1);
		pause();
	}
	pid_t inner;

	assert_int_equal(read(p[0], &inner, sizeof(inner)), sizeof(inner));
	assert_int_equal(kho_pidns_outer(inner, 1), inner);
	assert_int_equal(kho_pidns_outer(inner, 2), 0);
	assert_int_equal(kho_pidns_other(inner, &inner, 1), 0);
	assert_int_equal(kho_pidns_other(inner, NULL, 0), inner);
	kill(inner, SIGKILL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(p[0]);
	close(p[1]);
}

/* What conmon does first: a daemon, two pipes, somebody who gets their other ends. Ends with 7 when all is as it should be. */
static int like_conmon(pid_t expected)
{
	int out[2], error[2];
	char text[8] = "";

	if (fork() || getpid() != expected || pipe2(out, O_CLOEXEC) || pipe2(error, O_CLOEXEC))
		return 1;
	if (!fork())
		_exit(0);
	wait(NULL);
	close(out[1]);
	close(error[1]);
	if (read(out[0], text, 3) != 3 || strcmp(text, "out") || read(error[0], text, 3) != 3 || strcmp(text, "err"))
		return 2;
	return fcntl(KHO_MONITOR_FD, F_GETFD) < 0 && fcntl(KHO_MONITOR_FD + 1, F_GETFD) < 0 ? 7 : 3;
}

__attribute__((constructor)) static void be_conmon(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[0], "like-conmon"))
		_exit(like_conmon(atoi(argv[1])));
}

static void becomes(void **state)
{
	const uint32_t streams[] = { 1, 2 };
	struct kho_err err = KHO_ERR_INIT;
	int sv[2], out[2], error[2], st;
	char number[16], go;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(error, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		char *argv[] = { (char *)"like-conmon", number, NULL };

		snprintf(number, sizeof(number), "%d", getpid());
		if (recv(sv[1], &go, 1, 0) != 1 || dup2(out[0], KHO_MONITOR_FD) < 0 ||
		    dup2(error[0], KHO_MONITOR_FD + 1) < 0)
			_exit(126);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	assert_int_equal(write(out[1], "out", 3), 3);
	assert_int_equal(write(error[1], "err", 3), 3);
	assert_int_equal(kho_monitor_trace(pid, sv[0], streams, 2, &err), 0);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 7);
	for (int i = 0; i < 2; i++) {
		close(sv[i]);
		close(out[i]);
		close(error[i]);
	}
}

/* One that cannot be executed is told as such. */
static void does_not(void **state)
{
	const uint32_t streams[] = { 1 };
	struct kho_err err = KHO_ERR_INIT;
	char go;
	int sv[2];
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	pid = fork();
	if (!pid) {
		if (recv(sv[1], &go, 1, 0) == 1)
			execl("/nonexistent", "conmon", NULL);
		_exit(127);
	}
	assert_int_equal(kho_monitor_trace(pid, sv[0], streams, 1, &err), -ECHILD);
	assert_non_null(strstr(err.msg, "status 127"));
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded), cmocka_unit_test(crun_status), cmocka_unit_test(options),  cmocka_unit_test(masters),
		cmocka_unit_test(numbers),  cmocka_unit_test(becomes),	   cmocka_unit_test(does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
