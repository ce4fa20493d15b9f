// SPDX-License-Identifier: GPL-2.0-only
/*
 * The relay process. It keeps who wrote what (the kernel's credentials with each piece) and sends it
 * on with the same, so that journald sees the writer, not the relay. A target that is not there yet,
 * or restarts, is tried again; what is held is bounded, then the writers wait in write(2).
 *
 * It lies in the cgroup of the unit it works for and ends with the last of its streams, so it does
 * not care for signals: what the unit says while it is stopped is passed on, too. One that has no
 * streams (datagrams never end) ends by SIGTERM, which it gets when the machine is shut down.
 */
#include "state-serializers/proc/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/fdpass.h"
#include "lib/spawn.h"
#include "lib/workload.h"
#include "state-serializers/proc/role.h"

#define RETRY_MS   200
#define LAST_MS	   90000 /* for what is left when all writers have ended and nobody listens */
#define PIECE	   65536
#define SEND_BYTES (8 << 20)

struct piece {
	struct piece *next;
	struct ucred from;
	size_t len, sent;
	char data[];
};

struct line {
	char kind; /* KHO_RELAY_* */
	int in, out;
	struct sockaddr_un target;
	char *greeting; /* sent first on each connection */
	size_t greeting_len, greeted;
	struct stat own; /* datagram: the file that `in` is bound to */
	struct piece *first, **last;
	size_t held;
};

static struct relay {
	int control;
	struct line line[KHO_RELAY_LINES];
	size_t n;
} r = { .control = KHO_SPAWN_FD };

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int one(int fd, int option)
{
	int yes = 1;

	return setsockopt(fd, SOL_SOCKET, option, &yes, sizeof(yes));
}

static void add_line(char kind, int fd, const char *path, const char *greeting)
{
	struct line *l = &r.line[r.n];
	size_t len = strcspn(path, "\n");

	if (r.n == KHO_RELAY_LINES || len >= sizeof(l->target.sun_path)) {
		close(fd);
		return;
	}
	r.n++;
	*l = (struct line){ .kind = kind, .in = fd, .out = -1 };
	l->target.sun_family = AF_UNIX;
	memcpy(l->target.sun_path, path, len);
	l->greeting = strdup(greeting);
	l->greeting_len = l->greeting ? strlen(greeting) : 0;
	if (kind == KHO_RELAY_DATAGRAM)
		stat(l->target.sun_path, &l->own);
	one(fd, SO_PASSCRED);
	fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

/* A new line, or the end of the one who makes them. */
static void hear_control(void)
{
	char text[KHO_RELAY_MESSAGE + 1];
	int fd;
	ssize_t n = kho_fd_recv(r.control, text, KHO_RELAY_MESSAGE, &fd, 0);
	char *greeting;

	if (n <= 0) {
		close(r.control);
		r.control = -1;
		return;
	}
	text[n] = '\0';
	greeting = strchr(text, '\n');
	if (fd < 0)
		return;
	if (greeting)
		add_line(text[0], fd, text + 1, greeting + 1);
	else
		close(fd);
	(void)!send(r.control, "", 1, MSG_NOSIGNAL);
}

static void close_in(struct line *l)
{
	close(l->in);
	l->in = -1;
}

static void hold(struct line *l, const char *data, size_t len, const struct ucred *from)
{
	struct piece *p = malloc(sizeof(*p) + len);

	if (!p)
		return;
	*p = (struct piece){ .from = *from, .len = len };
	memcpy(p->data, data, len);
	if (!l->first)
		l->last = &l->first;
	*l->last = p;
	l->last = &p->next;
	l->held += sizeof(*p) + len;
}

/* What one writer has written, as far as it lies in one piece. */
static void take(struct line *l)
{
	static char buf[PIECE];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(64 * sizeof(int))];
	} c;
	struct iovec io = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &io,
			    .msg_iovlen = 1,
			    .msg_control = &c,
			    .msg_controllen = sizeof(c) };
	ssize_t n = recvmsg(l->in, &m, MSG_CMSG_CLOEXEC);
	struct ucred from = { 0 };

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (struct cmsghdr *h = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h)) {
		size_t fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_type == SCM_CREDENTIALS)
			memcpy(&from, CMSG_DATA(h), sizeof(from));
		/* descriptors come with messages too long for a datagram; they are not passed on */
		for (size_t i = 0; h->cmsg_type == SCM_RIGHTS && i < fds; i++)
			close(((int *)(void *)CMSG_DATA(h))[i]);
	}
	if (n > 0)
		hold(l, buf, (size_t)n, &from);
	else if (l->kind == KHO_RELAY_STREAM)
		close_in(l);
}

static void hang_up(struct line *l)
{
	if (l->out >= 0)
		close(l->out);
	l->out = -1;
	l->greeted = 0;
}

/* Is somebody else at the path now? */
static bool taken_over(const struct line *l)
{
	struct stat st;

	return !stat(l->target.sun_path, &st) &&
	       (st.st_ino != l->own.st_ino || st.st_dev != l->own.st_dev);
}

static void call(struct line *l)
{
	int bytes = SEND_BYTES,
	    type = l->kind == KHO_RELAY_STREAM ? SOCK_STREAM : SOCK_DGRAM;

	if (l->kind == KHO_RELAY_DATAGRAM && !taken_over(l))
		return;
	l->out = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->out >= 0 && connect(l->out, (struct sockaddr *)&l->target, sizeof(l->target)))
		hang_up(l);
	if (l->out >= 0)
		setsockopt(l->out, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
}

/* Somebody who has ended, or whom we may not speak for, is spoken for in our own name. */
static ssize_t send_as(int fd, const char *data, size_t len, const struct ucred *who)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(*who))];
	} c = { 0 };
	struct iovec io = { (char *)data, len };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
	ssize_t n = -1;

	if (who && who->pid > 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_CREDENTIALS;
		c.align.cmsg_len = CMSG_LEN(sizeof(*who));
		memcpy(CMSG_DATA(&c.align), who, sizeof(*who));
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n >= 0 || (errno != ESRCH && errno != EPERM))
			return n;
		m.msg_control = NULL;
		m.msg_controllen = 0;
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static void drop_first(struct line *l)
{
	struct piece *p = l->first;

	l->held -= sizeof(*p) + p->len;
	l->first = p->next;
	free(p);
}

/* 1: go on, 0: the target has enough for now, or is gone. */
static int give_some(struct line *l)
{
	bool greet = l->greeted < l->greeting_len;
	struct piece *p = l->first;
	ssize_t n = greet ? send_as(l->out, l->greeting + l->greeted,
				    l->greeting_len - l->greeted, NULL)
			  : send_as(l->out, p->data + p->sent, p->len - p->sent, &p->from);

	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
		return 0;
	if (n < 0 && errno == EMSGSIZE && !greet) {
		drop_first(l);
		return 1;
	}
	if (n < 0) {
		hang_up(l);
		return 0;
	}
	if (greet) {
		l->greeted += (size_t)n;
		return 1;
	}
	p->sent += (size_t)n;
	if (p->sent == p->len)
		drop_first(l);
	return 1;
}

static void give(struct line *l)
{
	if (l->first && l->out < 0)
		call(l);
	while (l->first && l->out >= 0 && give_some(l))
		;
	if (!l->first && l->in < 0)
		hang_up(l);
}

static volatile sig_atomic_t told_to_end;

static void on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static bool has_streams(void)
{
	for (size_t i = 0; i < r.n; i++)
		if (r.line[i].kind == KHO_RELAY_STREAM && (r.line[i].in >= 0 || r.line[i].first))
			return true;
	return false;
}

/* Wait; returns false when there is nothing left to do. */
static bool wait_and_work(uint64_t *last_ms)
{
	struct pollfd p[1 + 2 * KHO_RELAY_LINES];
	bool writers = r.control >= 0, pending = false, stuck = false;
	sigset_t none;
	int ms;

	sigemptyset(&none);
	p[0] = (struct pollfd){ .fd = r.control, .events = POLLIN };
	for (size_t i = 0; i < r.n; i++) {
		const struct line *l = &r.line[i];

		p[1 + 2 * i] = (struct pollfd){ .fd = l->held < KHO_RELAY_BUFFER ? l->in : -1,
						.events = POLLIN };
		p[2 + 2 * i] = (struct pollfd){ .fd = l->out, .events = l->first ? POLLOUT : 0 };
		writers |= l->in >= 0;
		pending |= l->first != NULL;
		stuck |= l->first && l->out < 0;
	}
	if (writers)
		*last_ms = now_ms() + LAST_MS;
	if ((!writers && (!pending || now_ms() >= *last_ms)) || (told_to_end && !has_streams()))
		return false;
	ms = stuck ? RETRY_MS : writers ? -1 : LAST_MS;
	if (ppoll(p, 1 + 2 * r.n, ms < 0 ? NULL : &(struct timespec){ ms / 1000, ms % 1000 * 1000000L },
		  &none) < 0)
		return true;
	for (size_t i = 0, n = r.n; i < n; i++) {
		struct line *l = &r.line[i];

		if (p[1 + 2 * i].revents && l->in >= 0)
			take(l);
		if (p[2 + 2 * i].revents & (POLLHUP | POLLERR))
			hang_up(l);
		give(l);
	}
	if (p[0].revents)
		hear_control();
	return true;
}

int kho_relay_main(int argc, char **argv)
{
	static const int ignored[] = { SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };
	uint64_t last_ms = 0;
	sigset_t term;
	int fd;

	(void)argc;
	(void)argv;
	prctl(PR_SET_NAME, KHO_JOURNAL_COMM);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
	/* heard while it waits, only */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	signal(SIGTERM, on_term);
	/* the writers get SIGPIPE if it ends */
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "-1000", 5);
	close(fd);
	(void)!chdir("/");
	while (wait_and_work(&last_ms))
		;
	return 0;
}
