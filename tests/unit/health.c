// SPDX-License-Identifier: GPL-2.0-only
/* How a workload is now: a real process, with a health check that it passes, fails, or does not live to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/lazy.h"
#include "state-serializers/serializer.h"

/* 0: well; 1: not, and what is said has that in it */
static int health(struct kho_workload *w, const char *says)
{
	struct kho_workload_list one = { w, 1 };
	struct kho_env env = { .workloads = &one };
	struct kho_report r = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	int bad = 0;

	assert_int_equal(kho_serializer_find("proc")->health(&env, &r, &err), 0);
	for (size_t i = 0; i < r.n; i++) {
		bad |= r.items[i].verdict == KHO_V_NO;
		if (bad && !strstr(r.items[i].what, says))
			fail_msg("'%s' does not say '%s'", r.items[i].what, says);
	}
	kho_report_done(&r);
	return bad;
}

static void commands(void **state)
{
	struct kho_workload w = { .name = (char *)"w", .health_timeout_us = 15000000 };
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		pause();
		_exit(0);
	}
	w.root = pid;
	assert_int_equal(health(&w, ""), 0);
	if (!geteuid()) { /* the command is run below a root directory */
		w.health_command = (char *)"/bin/true";
		assert_int_equal(health(&w, ""), 0);
		w.health_command = (char *)"/bin/false";
		assert_int_equal(health(&w, "/bin/false: it failed"), 1);
		w.health_command = (char *)"/nonexistent";
		assert_int_equal(health(&w, "it failed"), 1);
	}
	w.health_command = NULL;
	kill(pid, SIGKILL);
	while (health(&w, "has ended") == 0) /* a zombie is none that lives */
		usleep(1000);
	waitpid(pid, NULL, 0);
	assert_int_equal(health(&w, "has ended"), 1);
}

/* What is said of a page server that ends in this way (a signal: negative). */
static int server(int end)
{
	struct kho_lazy l = { .pid = fork() };
	struct kho_err err = KHO_ERR_INIT;
	siginfo_t si;
	int rc;

	if (!l.pid) {
		if (end < 0)
			raise(-end);
		_exit(end);
	}
	assert_int_equal(waitid(P_PID, (id_t)l.pid, &si, WEXITED | WNOWAIT), 0);
	rc = kho_lazy_look(&l, &err);
	assert_int_equal(kho_lazy_look(&l, &err), rc); /* it is still there to be looked at */
	kho_lazy_kill(&l);
	return rc;
}

/* One that is through is none that has died. */
static void page_server(void **state)
{
	struct kho_lazy l = { .pid = 0 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_lazy_look(&l, &err), 0);
	l.pid = fork();
	if (!l.pid) {
		pause();
		_exit(0);
	}
	assert_int_equal(kho_lazy_look(&l, &err), 0);
	kho_lazy_kill(&l);
	assert_int_equal(server(0), 0);
	assert_int_equal(server(1), -EIO);
	assert_int_equal(server(-SIGKILL), -EIO);
}

static void tcp(void **state)
{
	struct kho_workload w = { .name = (char *)"w", .root = getpid(), .health_timeout_us = 15000000 };
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	_cleanup_close_ int sk = socket(AF_INET, SOCK_STREAM, 0);
	char where[40];

	(void)state;
	assert_int_equal(bind(sk, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(sk, (struct sockaddr *)&sa, &len), 0);
	snprintf(where, sizeof(where), "127.0.0.1:%u", ntohs(sa.sin_port));
	w.health_tcp = where;
	assert_int_equal(health(&w, where), 1); /* nobody listens */
	assert_int_equal(listen(sk, 4), 0);
	assert_int_equal(health(&w, ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(commands), cmocka_unit_test(page_server), cmocka_unit_test(tcp) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
