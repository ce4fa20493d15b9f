// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers of containerd: names, what a shim is told, its protocol's frames, and a real process with threads whose descriptors are
 * exchanged under the tracer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/workload.h"
#include "state-serializers/proc/shim.h"
#include "state-serializers/proc/ttrpc.h"

#define ROOT "tests/sysroots/containerd"

static void names(void **state)
{
	static const char *const bad[] = { "web",		"containerd://",       "containerd://a/",  "containerd:///a", "containerd://a/b/c",
					   "containerd://../a", "containerd://a/.b",   "containerd://a..b", "containerd://a-", "containerd://a b",
					   "docker://a",	"containerd://default/" };
	struct kho_containerd_name n;
	char longest[100];

	(void)state;
	assert_true(kho_containerd_name("containerd://default/web", &n));
	assert_string_equal(n.ns, "default");
	assert_string_equal(n.id, "web");
	assert_true(kho_containerd_name("containerd://0123abcd", &n));
	assert_string_equal(n.ns, "k8s.io");
	assert_string_equal(n.id, "0123abcd");
	assert_true(kho_containerd_name("containerd://k8s.io/a_b.c-d", &n));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(kho_containerd_name(bad[i], &n));
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "containerd://", 13);
	longest[13 + 76] = '\0';
	assert_true(kho_containerd_name(longest, &n));
	longest[13 + 76] = 'a';
	longest[13 + 77] = '\0';
	assert_false(kho_containerd_name(longest, &n));
}

/* A machine with one, recorded; its runtime's state is found, and is runc's. */
static void recorded(void **state)
{
	struct kho_workload w = { .name = (char *)"task", .container = (char *)"containerd://default/task" };
	struct kho_workload_list l = { &w, 1 };
	struct kho_containerd_name other = { "default", "other" };
	struct kho_err err = KHO_ERR_INIT;
	pid_t pid, monitor;

	(void)state;
	assert_int_equal(kho_workloads_resolve(ROOT, &l, &err), 0);
	assert_int_equal(w.root, 1418);
	assert_int_equal(w.monitor, 1396);
	assert_int_equal(w.npids, 1);
	assert_string_equal(w.cg, "/default/task");
	assert_int_equal(kho_containerd_pids(ROOT, &other, &pid, &monitor, &err), -ENOENT);
	free(w.cg);
	free(w.pids);
}

static void path(void **state)
{
	_cleanup_free_ char *plain = kho_shim_path("/usr/bin:/bin", "");
	_cleanup_free_ char *again = kho_shim_path(KHO_SHIM_DIR ":/usr/bin::/bin", "crun");
	_cleanup_free_ char *other = kho_shim_path("/bin", "/opt/nv/runtime");
	_cleanup_free_ char *none = kho_shim_path("", "");

	(void)state;
	assert_string_equal(plain, KHO_SHIM_DIR ":/usr/bin:/bin");
	assert_string_equal(again, KHO_SHIM_DIR ":/usr/bin:/bin");
	assert_string_equal(other, KHO_SHIM_DIR ":/opt/nv:/bin");
	assert_string_equal(none, KHO_SHIM_DIR);
}

static void options(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	/* as containerd 1.7's shim writes it for the CRI plugin */
	KhoCtd__Options *o = kho_shim_options("{\"binary_name\":\"/usr/sbin/runc\",\"root\":\"/run/r\",\"systemd_cgroup\":true,\"io_uid\":7}",
					      "runc", &err);

	(void)state;
	assert_non_null(o);
	assert_string_equal(o->binary_name, "runc");
	assert_string_equal(o->root, "/run/r");
	assert_true(o->systemd_cgroup);
	assert_false(o->no_pivot_root);
	assert_int_equal(o->io_uid, 7);
	kho_ctd__options__free_unpacked(o, NULL);
	o = kho_shim_options("", "", &err);
	assert_non_null(o);
	assert_string_equal(o->binary_name, "");
	kho_ctd__options__free_unpacked(o, NULL);
	assert_null(kho_shim_options("{", "", &err));
}

/* Nothing but the first process's start and the pipes differ. */
static void runc_state(void **state)
{
	_cleanup_json_ struct json_object *o = NULL, *was = NULL;
	_cleanup_free_ char *text = NULL, *out = NULL;
	KhoProc__Container c = KHO_PROC__CONTAINER__INIT;
	const uint64_t inodes[] = { 77, 88 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_read_file(ROOT "/run/containerd/runc/default/task/state.json", 1 << 20, &text, NULL, &err), 0);
	assert_int_equal(kho_container_pipes(text, strlen(text), &c, &err), 0);
	assert_int_equal(c.n_pipe, 2);
	assert_int_equal(c.pipe[0]->number, 1);
	assert_int_equal(c.pipe[1]->number, 2);
	assert_int_equal(kho_container_status(text, strlen(text), &c, 4711, inodes, &out, &err), 0);
	assert_int_equal(kho_json_parse(out, strlen(out), &o, &err), 0);
	assert_int_equal(kho_json_parse(text, strlen(text), &was, &err), 0);
	assert_int_equal(kho_json_get_int(o, "init_process_start"), 4711);
	assert_null(kho_json_get(o, "process-start-time"));
	assert_string_equal(json_object_to_json_string_ext(kho_json_get(o, "external_descriptors"),
							   JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			    "[\"/dev/null\",\"pipe:[77]\",\"pipe:[88]\"]");
	for (size_t i = 0; i < 2; i++) {
		json_object_object_del(i ? o : was, "init_process_start");
		json_object_object_del(i ? o : was, "external_descriptors");
	}
	assert_true(json_object_equal(o, was));
	for (size_t i = 0; i < c.n_pipe; i++)
		kho_proc__standard_pipe__free_unpacked(c.pipe[i], NULL);
	free(c.pipe);
}

static void frames(void **state)
{
	/* to stream 3: {status {code 5, message "no"}}, and {payload "p"} */
	static const uint8_t no[] = { 0, 0, 0, 8, 0, 0, 0, 3, 2, 0, 0x0a, 6, 8, 5, 0x12, 2, 'n', 'o' };
	static const uint8_t yes[] = { 0, 0, 0, 3, 0, 0, 0, 3, 2, 0, 0x12, 1, 'p' };
	struct kho_err err = KHO_ERR_INIT;
	uint8_t copy[sizeof(yes)];
	struct kho_blob b;

	(void)state;
	assert_int_equal(kho_ttrpc_parse(yes, sizeof(yes), 3, &b, &err), 0);
	assert_int_equal(b.len, 1);
	assert_memory_equal(b.data, "p", 1);
	kho_blob_done(&b);
	assert_int_equal(kho_ttrpc_parse(no, sizeof(no), 3, &b, &err), -EREMOTEIO);
	assert_non_null(strstr(err.msg, "no"));
	assert_int_equal(kho_ttrpc_parse(yes, sizeof(yes), 5, &b, &err), -EPROTO);
	assert_int_equal(kho_ttrpc_parse(yes, sizeof(yes) - 1, 3, &b, &err), -EPROTO);
	for (size_t i = 0; i < 9; i++) { /* each byte of the header counts */
		memcpy(copy, yes, sizeof(copy));
		copy[i] ^= 0x40;
		assert_int_equal(kho_ttrpc_parse(copy, sizeof(copy), 3, &b, &err), -EPROTO);
	}
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(kho_ttrpc_parse(yes, i, 3, &b, &err), -EPROTO);
}

/* --- a process with threads, of which the first sleeps in a call, gets other pipes for those that it has --- */

static int heard;

static void on_child(int sig)
{
	(void)sig;
	heard++;
}

static void *reads(void *arg)
{
	static char text[4];
	int *fd = arg;

	return read(*fd, text, 3) == 3 ? text : NULL;
}

/* Ends with 7: what was said into the other pipe came, the signal came, the sleep was not cut short by more than it. */
static int with_threads(int mine, int ready)
{
	struct sigaction sa = { .sa_handler = on_child };
	struct pollfd none = { .fd = -1 };
	pthread_t thread;
	char *text = NULL;

	sigaction(SIGUSR1, &sa, NULL);
	if (write(ready, "r", 1) != 1 || (poll(&none, 1, 10000) != -1 && errno != EINTR))
		return 1;
	if (heard != 1 || pthread_create(&thread, NULL, reads, &mine) || pthread_join(thread, (void **)&text))
		return 2;
	return text && !strcmp(text, "new") && fcntl(KHO_MONITOR_FD, F_GETFD) < 0 ? 7 : 3;
}

static void moves(void **state)
{
	struct kho_monitor_move m = { .from = KHO_MONITOR_FD };
	int old[2], new[2], ready[2], st;
	struct kho_err err = KHO_ERR_INIT;
	char c;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(old, O_CLOEXEC), 0);
	assert_int_equal(pipe2(new, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	m.to = old[0];
	pid = fork();
	if (!pid)
		_exit(dup2(new[0], KHO_MONITOR_FD) < 0 ? 9 : with_threads(old[0], ready[1]));
	assert_int_equal(read(ready[0], &c, 1), 1);
	usleep(20000);
	assert_int_equal(kho_monitor_move_fds(pid, &m, 1, &err), 0);
	assert_int_equal(write(old[1], "old", 3), 3);
	assert_int_equal(write(new[1], "new", 3), 3);
	kill(pid, SIGUSR1);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 7);
	assert_int_equal(kho_monitor_move_fds(pid, &m, 1, &err), -ESRCH);
	m.from = 500;
	pid = fork();
	if (!pid) {
		pause();
		_exit(5);
	}
	err = (struct kho_err)KHO_ERR_INIT;
	assert_int_equal(kho_monitor_move_fds(pid, &m, 1, &err), -EBADF);
	assert_int_equal(kill(pid, SIGTERM), 0); /* it runs */
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
	for (int i = 0; i < 2; i++) {
		close(old[i]);
		close(new[i]);
		close(ready[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),      cmocka_unit_test(recorded), cmocka_unit_test(path),	 cmocka_unit_test(options),
		cmocka_unit_test(runc_state), cmocka_unit_test(frames), cmocka_unit_test(moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
