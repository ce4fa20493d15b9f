// SPDX-License-Identifier: GPL-2.0-only
/*
 * Canaries: what the workload of a shadow is asked is recorded before it is copied, and asked of the copy. The workload is this process, and so is its copy.
 */
#include "canary_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* That nobody can be listened to is no word of the kernel, nor of the copy. */
static void not_recorded(void **state)
{
	_cleanup_json_ struct json_object *r = NULL;
	const struct json_object *o;
	struct kho_err err;

	(void)state;
	plan.canary.replay = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "replay redis: not recorded: "));
	assert_true(fake_as_before());
	assert_null(strstr(fake.log, "engine replay"));
	r = report();
	o = json_object_array_get_idx(kho_json_get(kho_json_get(r, "canary"), "shadow"), 0);
	assert_string_equal(kho_json_get_str(o, "verdict"), "pass");
	assert_string_equal(kho_json_get_str(kho_json_get(o, "replay"), "verdict"), "undecided");
	shadow_reset();
	plan.gates.allow_unknown = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);
}

/* --- one letter for a line --- */

static int listener;
static atomic_bool over;

static void *serve(void *arg)
{
	char in[16];
	int fd;

	(void)arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		while (recv(fd, in, sizeof(in), 0) > 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
			;
		close(fd);
	}
	return NULL;
}

/* One connection after the other: who serves them has one at a time. */
static void *ask(void *arg)
{
	const struct sockaddr_in *a = arg;
	char in;

	while (!over) {
		_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (const struct sockaddr *)a, sizeof(*a)))
			break;
		for (unsigned i = 0; i < 20 && send(fd, "a\n", 2, MSG_NOSIGNAL) == 2 && recv(fd, &in, 1, 0) == 1; i++)
			usleep(2000);
	}
	return NULL;
}

static void listen_here(struct sockaddr_in *a, pthread_t t[2])
{
	char name[64], text[128];
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)a, sizeof(*a)), 0);
	assert_int_equal(listen(listener, 64), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)a, &len), 0);
	snprintf(name, sizeof(name), "/proc/%d/stat", getpid());
	snprintf(text, sizeof(text), "%d (redis-server) S 1 100 100 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 100 1000 256 1\n", getpid());
	put_text(name, text);
	snprintf(text, sizeof(text), "%d", getpid());
	put_text("/run/redis.pid", text);
	over = false;
	assert_int_equal(pthread_create(&t[0], NULL, serve, NULL), 0);
	assert_int_equal(pthread_create(&t[1], NULL, ask, a), 0);
}

static void stop_listening(pthread_t t[2])
{
	over = true;
	pthread_join(t[1], NULL);
	shutdown(listener, SHUT_RDWR);
	pthread_join(t[0], NULL);
	close(listener);
}

/* It is asked again when its copy has been looked at; and that is looked at once more, before it is said what it has died of. */
static void asked_again(void **state)
{
	_cleanup_json_ struct json_object *r = NULL;
	const struct json_object *s, *o;
	struct sockaddr_in a;
	struct kho_err err;
	enum kho_outcome out;
	pthread_t t[2];

	(void)state;
	if (geteuid())
		skip();
	listen_here(&a, t);
	plan.canary.replay = true;
	plan.canary.us = 600000;
	plan.canary.slower = 10000; /* tests are not alone here */
	out = run(NULL, &err);
	stop_listening(t);
	if (out != KHO_OUT_PASSED)
		fail_msg("%s", err.msg);
	assert_true(fake_order("verify omega", "engine replay") && fake_order("engine replay", "engine dark") && fake_as_before());
	r = report();
	s = json_object_array_get_idx(kho_json_get(kho_json_get(r, "canary"), "shadow"), 0);
	assert_true(kho_json_get_int(s, "looks") >= 3);
	o = kho_json_get(s, "replay");
	print_message("%s\n", kho_json_get_str(o, "msg"));
	assert_string_equal(kho_json_get_str(o, "verdict"), "pass");
	assert_true(kho_json_get_int(o, "requests") > 20);
	assert_int_equal(kho_json_get_int(o, "replies"), kho_json_get_int(o, "recorded_requests"));
	assert_int_equal(kho_json_get_int(o, "replies_other_length"), 0);
}

#define S(f) cmocka_unit_test_setup_teardown(f, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { S(not_recorded), S(asked_again) };

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("canary_replay", tests, NULL, NULL);
}
