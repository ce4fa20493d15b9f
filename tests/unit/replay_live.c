// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of a workload, for real: in a network of its own, what a client sends a server is recorded and sent to it once more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/replay.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"

#define SERVER 6379

enum mood { GOOD, CLOSES, MUTE };

static atomic_int mood;
static atomic_bool over;
static int listener;

/* "N\n": N bytes */
static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char in[64], out[4096];
	ssize_t n;

	memset(out, 'x', sizeof(out));
	while ((n = recv(fd, in, sizeof(in) - 1, 0)) > 0) {
		in[n] = '\0';
		if (mood == CLOSES)
			break;
		if (mood == GOOD && send(fd, out, (size_t)atoi(in) % sizeof(out), MSG_NOSIGNAL) < 0)
			break;
	}
	close(fd);
	return NULL;
}

static void *serve_all(void *arg)
{
	pthread_t t;
	int fd;

	(void)arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) == 0)
			pthread_detach(t);
	return NULL;
}

static bool lo_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr))
		return false;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
}

static int dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(SERVER), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

static bool ask(int fd, unsigned n)
{
	char text[16], in[4096];
	size_t have = 0;
	int len = snprintf(text, sizeof(text), "%u\n", n);

	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		return false;
	while (have < n) {
		ssize_t got = recv(fd, in, sizeof(in), 0);

		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

/* On one connection that is there already, and on one that begins in the recording. arg is the result: how many were right. */
static void *ask_on(void *arg)
{
	_cleanup_close_ int old = dial();
	int fresh = -1;
	unsigned *n = arg;
	bool fine = ask(old, 7);

	while (fine && !over) {
		usleep(2000);
		if (*n == 50)
			fresh = dial();
		fine = ask(old, 100 + *n % 50) && (fresh < 0 || ask(fresh, 1 + *n % 3000));
		*n += fine;
	}
	if (fresh >= 0)
		close(fresh);
	return NULL;
}

static int again(const void *message, size_t len)
{
	int fd = kho_memfd("again", 0, NULL);

	assert_true(fd >= 0);
	assert_int_equal(kho_write_all(fd, message, len), 0);
	return fd;
}

static struct kho_replay_result replay(const void *message, size_t len)
{
	_cleanup_close_ int fd = again(message, len);
	struct kho_err err = KHO_ERR_INIT;
	struct kho_replay_result r, none;

	if (kho_replay_run(fd, getpid(), &r, &err))
		fail_msg("%s", err.msg);
	print_message("%llu requests, %llu replies, %llu of another length; %llu refused, %llu cut, %llu silent, %llu strange; median %llu ns: %s\n",
		      (unsigned long long)r.requests, (unsigned long long)r.replies, (unsigned long long)r.other_length, (unsigned long long)r.refused,
		      (unsigned long long)r.cut, (unsigned long long)r.silent, (unsigned long long)r.strange, (unsigned long long)kho_hist_quantile(&r.ns, 0.5), r.what);
	assert_true(r.known);
	/* other people's: it is gone */
	assert_int_equal(kho_replay_run(fd, getpid(), &none, &err), -EPROTO);
	return r;
}

static void record_both(struct kho_replay_recorded *rec)
{
	struct kho_err err = KHO_ERR_INIT;
	pid_t self = getpid();
	unsigned asked = 0;
	pthread_t t;

	over = false;
	assert_int_equal(pthread_create(&t, NULL, ask_on, &asked), 0);
	usleep(50000);
	if (kho_replay_record(&self, 1, 1500000, NULL, NULL, rec, &err))
		fail_msg("%s", err.msg);
	over = true;
	pthread_join(t, NULL);
	print_message("%u asked; %u requests recorded, on %u connections; median %llu ns\n", asked, rec->requests, rec->conns,
		      (unsigned long long)kho_hist_quantile(&rec->ns, 0.5));
	assert_true(asked > 60);
}

static bool stop_at_once(void *arg)
{
	(void)arg;
	return true;
}

static void for_real(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(SERVER), .sin_addr.s_addr = htonl(INADDR_ANY) };
	struct kho_replay_recorded rec = KHO_REPLAY_RECORDED_INIT;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_replay_result r;
	_cleanup_free_ uint8_t *kept = NULL;
	pid_t self = getpid();
	pthread_t t;
	size_t len;
	int on = 1;

	(void)state;
	if (unshare(CLONE_NEWNET) || !lo_up())
		skip();
	assert_int_equal(kho_replay_record(&self, 1, 1000, NULL, NULL, &rec, &err), -ENOENT);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 16), 0);
	assert_int_equal(pthread_create(&t, NULL, serve_all, NULL), 0);
	/* nobody asks */
	assert_int_equal(kho_replay_record(&self, 1, 100000, NULL, NULL, &rec, &err), 0);
	assert_true(rec.fd == -1 && !rec.requests && rec.us >= 100000);
	assert_int_equal(kho_replay_record(&self, 1, 10000000, stop_at_once, NULL, &rec, &err), -EINTR);
	record_both(&rec);
	assert_true(rec.conns == 2 && rec.requests > 60 && !rec.cut && !rec.tls && !rec.more && !rec.full);
	assert_int_equal(kho_hist_count(&rec.ns), rec.requests);
	kept = malloc(len = rec.len);
	assert_non_null(kept);
	memcpy(kept, rec.message, len);
	kho_replay_recorded_done(&rec);

	r = replay(kept, len);
	assert_true(r.requests == rec.requests && r.replies == r.requests && !r.other_length && !r.refused && !r.cut && !r.silent && !r.strange && !r.late);
	assert_true(r.timed && kho_hist_count(&r.ns) == r.replies);
	/* the one that was there before says nothing, as long as nothing it was told was as recorded */
	mood = CLOSES;
	r = replay(kept, len);
	assert_true(r.cut == 1 && r.strange == 1 && !r.replies && strstr(r.what, "127.0.0.1:6379: the connection was closed, at request 1 of "));
	mood = MUTE;
	r = replay(kept, len);
	assert_true(r.silent == 1 && r.strange == 1 && !r.replies && strstr(r.what, "no reply in time"));
	shutdown(listener, SHUT_RDWR);
	pthread_join(t, NULL);
	close(listener);
	r = replay(kept, len);
	assert_true(r.refused == 2 && !r.requests && strstr(r.what, "127.0.0.1:6379: no connection: Connection refused"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(for_real) };

	return cmocka_run_group_tests_name("replay, live", tests, NULL, NULL);
}
