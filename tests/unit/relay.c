// SPDX-License-Identifier: GPL-2.0-only
/*
 * The relay, as a real process between a writer and a listener that comes late and restarts; and
 * what of a recorded service's sockets is carried through it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/spawn.h"
#include "state-serializers/proc/outside.h"
#include "state-serializers/proc/relay.h"
#include "tests/unit/tree.h"

static char dir[64], path[96];
static pid_t relay;
static int control;

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(p);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/dev/shm/kho-relay.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/stdout", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (relay > 0) {
		kill(relay, SIGKILL);
		waitpid(relay, NULL, 0);
	}
	relay = 0;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void start(void)
{
	char *argv[] = { (char *)KHO_ROLE_RELAY, (char *)"test", NULL };
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	relay = fork();
	assert_true(relay >= 0);
	if (!relay) {
		dup2(sv[1], KHO_SPAWN_FD);
		close_range(KHO_SPAWN_FD + 1, ~0u, 0);
		_exit(kho_relay_main(2, argv));
	}
	close(sv[1]);
	control = sv[0];
}

static void tell(char kind, const char *greeting, int fd)
{
	char text[256], ready;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} c = { .align = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec io = { text, (size_t)snprintf(text, sizeof(text), "%c%s\n%s", kind, path,
						   greeting) };
	struct msghdr m = { .msg_iov = &io,
			    .msg_iovlen = 1,
			    .msg_control = &c,
			    .msg_controllen = sizeof(c) };

	memcpy(CMSG_DATA(&c.align), &fd, sizeof(fd));
	assert_true(sendmsg(control, &m, 0) > 0);
	assert_int_equal(recv(control, &ready, 1, 0), 1);
	close(fd);
}

static int listen_at(int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), yes = 1;

	strcpy(sun.sun_path, path);
	unlink(path);
	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* Receive until text is complete; the writer must be this process. */
static void expect(int fd, const char *text, bool from_us)
{
	char got[256] = "", buf[128];
	struct ucred from = { 0 };

	while (strlen(got) < strlen(text)) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(struct ucred))];
		} c;
		struct iovec io = { buf, sizeof(buf) };
		struct msghdr m = { .msg_iov = &io,
				    .msg_iovlen = 1,
				    .msg_control = &c,
				    .msg_controllen = sizeof(c) };
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&p, 1, 5000), 1);
		n = recvmsg(fd, &m, 0);
		assert_true(n > 0);
		if (CMSG_FIRSTHDR(&m))
			memcpy(&from, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(from));
		strncat(got, buf, (size_t)n);
	}
	assert_string_equal(got, text);
	if (from_us)
		assert_int_equal(from.pid, getpid());
}

static int accept_one(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int yes = 1, conn;

	assert_int_equal(poll(&p, 1, 5000), 1);
	conn = accept(fd, NULL, NULL);
	assert_true(conn >= 0);
	setsockopt(conn, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
	return conn;
}

static void stream_waits_and_reconnects(void **state)
{
	int sv[2], listener, conn, status;
	struct kho_err err = KHO_ERR_INIT;
	char comm[32], *text = NULL;

	(void)state;
	start();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	tell(KHO_RELAY_STREAM, "redis\nredis.service\n", sv[1]);
	close(control);
	assert_int_equal(write(sv[0], "early\n", 6), 6);
	usleep(50000);
	listener = listen_at(SOCK_STREAM);
	conn = accept_one(listener);
	expect(conn, "redis\nredis.service\n", false);
	expect(conn, "early\n", true);
	/* a signal that ends a service does not end it */
	kill(relay, SIGTERM);
	assert_int_equal(write(sv[0], "a\n", 2), 2);
	expect(conn, "a\n", true);
	close(conn);
	close(listener);
	usleep(50000);
	assert_int_equal(write(sv[0], "b\n", 2), 2);
	usleep(50000);
	listener = listen_at(SOCK_STREAM);
	conn = accept_one(listener);
	expect(conn, "redis\nredis.service\nb\n", true);
	snprintf(comm, sizeof(comm), "/proc/%d/comm", relay);
	assert_int_equal(kho_read_line(comm, &text, &err), 0);
	assert_string_equal(text, KHO_JOURNAL_COMM);
	free(text);
	/* the last words, then the end */
	assert_int_equal(write(sv[0], "bye\n", 4), 4);
	close(sv[0]);
	expect(conn, "bye\n", true);
	assert_int_equal(waitpid(relay, &status, 0), relay);
	relay = 0;
	assert_int_equal(status, 0);
	close(conn);
	close(listener);
}

/* A listener that does not read stops the writer, after the buffer; nothing is lost. */
static void stream_pushes_back(void **state)
{
	static char block[65536], got[65536];
	size_t sent = 0, received = 0;
	int sv[2], listener, conn;
	struct pollfd p;
	ssize_t n;

	(void)state;
	start();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	fcntl(sv[0], F_SETFL, O_NONBLOCK);
	tell(KHO_RELAY_STREAM, "", sv[1]);
	p = (struct pollfd){ .fd = sv[0], .events = POLLOUT };
	while (poll(&p, 1, 500) == 1) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (char)((sent + i) % 251);
		n = write(sv[0], block, sizeof(block));
		sent += n > 0 ? (size_t)n : 0;
		assert_true(sent < 4 * KHO_RELAY_BUFFER);
	}
	assert_true(sent >= KHO_RELAY_BUFFER / 2);
	listener = listen_at(SOCK_STREAM);
	conn = accept_one(listener);
	while (received < sent) {
		p = (struct pollfd){ .fd = conn, .events = POLLIN };
		assert_int_equal(poll(&p, 1, 5000), 1);
		n = read(conn, got, sizeof(got));
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(got[i], (char)((received + (size_t)i) % 251));
		received += (size_t)n;
	}
	assert_int_equal(received, sent);
	close(sv[0]);
	close(control);
	assert_int_equal(waitpid(relay, NULL, 0), relay);
	relay = 0;
	close(conn);
	close(listener);
}

static void datagrams_wait(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = listen_at(SOCK_DGRAM), client = socket(AF_UNIX, SOCK_DGRAM, 0), next, status;

	(void)state;
	start();
	strcpy(sun.sun_path, path);
	assert_int_equal(connect(client, (struct sockaddr *)&sun, sizeof(sun)), 0);
	tell(KHO_RELAY_DATAGRAM, "", fd);
	close(control);
	assert_int_equal(send(client, "one", 3, 0), 3);
	usleep(50000);
	next = listen_at(SOCK_DGRAM);
	expect(next, "one", true);
	assert_int_equal(send(client, "two", 3, 0), 3);
	expect(next, "two", true);
	/* nobody else tells it when the machine is shut down */
	kill(relay, SIGTERM);
	assert_int_equal(waitpid(relay, &status, 0), relay);
	relay = 0;
	assert_int_equal(status, 0);
	close(client);
	close(next);
}

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static void put_link(const char *name, const char *target)
{
	_cleanup_free_ char *file = kho_sysroot_path(dir, name);

	assert_int_equal(symlink(target, file), 0);
}

static void record(void)
{
	put("/proc/100/comm", "redis-server\n");
	put("/proc/100/net/unix",
	    "Num       RefCount Protocol Flags    Type St Inode Path\n"
	    "0: 00000003 00000000 00000000 0001 03 11\n"
	    "0: 00000003 00000000 00000000 0001 03 12 /run/systemd/journal/stdout\n"
	    "0: 00000003 00000000 00000000 0001 03 13\n"
	    "0: 00000003 00000000 00000000 0001 03 14 @khoctl-journal/redis/1\n"
	    "0: 00000003 00000000 00000000 0002 01 15\n"
	    "0: 00000003 00000000 00000000 0002 01 16 /run/systemd/journal/dev-log\n"
	    "0: 00000003 00000000 00000000 0001 03 17\n"
	    "0: 00000003 00000000 00000000 0001 03 18 /run/dbus/system_bus_socket\n");
	put("/proc/net/unix_peers", "11 12\n12 11\n13 14\n14 13\n15 16\n17 18\n18 17\n");
	put("/proc/100/fd/x", "");
	put_link("/proc/100/fd/1", "socket:[11]");
	put_link("/proc/100/fd/2", "socket:[11]");
	put_link("/proc/100/fd/3", "socket:[13]");
	put_link("/proc/100/fd/4", "socket:[15]");
	put_link("/proc/100/fd/5", "socket:[17]");
	put("/run/systemd/journal/streams/9:12", "# private\nPRIORITY=30\nLEVEL_PREFIX=0\n"
						 "FORWARD_TO_SYSLOG=1\nIDENTIFIER=redis\\x20x\n"
						 "UNIT=redis-server.service\n");
	put("/run/khoctl/streams/redis/1",
	    "PRIORITY=3\nLEVEL_PREFIX=1\nIDENTIFIER=r\nUNIT=r.service\n"
	    "TARGET=/run/systemd/journal.tenant/stdout\n");
	put("/run/systemd/notify", "");
}

static void collects(void **state)
{
	KhoProc__PlanWorkload p = KHO_PROC__PLAN_WORKLOAD__INIT;
	KhoProc__Plan plan = KHO_PROC__PLAN__INIT;
	pid_t pid = 100;
	struct kho_workload w = { .name = (char *)"redis", .root = 100, .pids = &pid, .npids = 1 };
	struct kho_err err = KHO_ERR_INIT;
	const KhoProc__JournalStream *s;
	size_t old;

	(void)state;
	record();
	assert_int_equal(kho_outside_collect(dir, "/run/khoctl", &w, &p, &err), 0);
	assert_int_equal(p.n_streams, 2);
	old = p.streams[0]->inode == 11;
	s = p.streams[!old];
	assert_int_equal(s->inode, 11);
	assert_string_equal(s->identifier, "redis x");
	assert_string_equal(s->unit, "redis-server.service");
	assert_string_equal(s->target, "/run/systemd/journal/stdout");
	assert_int_equal(s->priority, 30);
	assert_false(s->level_prefix);
	assert_true(s->to_syslog);
	assert_false(s->to_kmsg);
	s = p.streams[old];
	assert_int_equal(s->inode, 13);
	assert_string_equal(s->unit, "r.service");
	assert_string_equal(s->target, "/run/systemd/journal.tenant/stdout");
	assert_true(s->level_prefix);
	kho_outside_plan_done(&p);
	assert_int_equal(kho_outside_names(dir, &plan, &err), 0);
	assert_int_equal(plan.n_names, 1);
	assert_string_equal(plan.names[0], "/run/systemd/notify");
	kho_outside_names_done(&plan);
}

/* The verdict on each of those sockets. */
static void judges(void **state)
{
	static const struct {
		const char *target;
		enum kho_verdict verdict;
	} fds[] = { { "socket:[11]", KHO_V_OK },
		    { "socket:[13]", KHO_V_OK },
		    { "socket:[15]", KHO_V_OK },
		    { "socket:[17]", KHO_V_NO } };
	struct kho_workload w = { 0 };
	struct kho_probe p = { .sysroot = dir, .w = &w };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_fd_verdict v;

	(void)state;
	record();
	assert_int_equal(kho_socks_read(dir, 100, &p.socks, &err), 0);
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		kho_fd_classify(&p, &(struct kho_fd){ .target = fds[i].target, .info = "" }, &v);
		assert_int_equal(v.verdict, fds[i].verdict);
	}
	assert_non_null(strstr(v.what, "/run/dbus/system_bus_socket"));
	kho_socks_done(&p.socks);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(stream_waits_and_reconnects), T(stream_pushes_back), T(datagrams_wait),
		T(collects),			T(judges),
	};

	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
