// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sending what was recorded, in one thread: each connection asks when it is time to, and never before it has its last reply. How long replies take is not measured
 * here, where this process would be part of it, but at the packets, as when they were recorded.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/pinned.h"
#include "bpf/replay_parts.h"
#include "lib/cleanup.h"

#define READ_MAX  (64u << 10)
#define READS	  16	/* of one connection, before the next one's turn */
#define BUNCH	  1024	/* packets, likewise */
#define TICK_US	  100000ull

enum state {
	DUE, /* waits for its time; not connected before its first request */
	CONNECTING,
	SENDING,
	WAITING, /* for the first byte of a reply */
	READING, /* what follows it */
	OVER,
};

struct line { /* one connection */
	const struct kho_replay_conn *c;
	enum state state;
	int fd;
	size_t next, sent; /* its request, so many bytes of that */
	uint64_t got;	   /* bytes of the reply */
	uint64_t since_us; /* the last byte went either way, or the connection was begun */
	bool understood;   /* a reply was as long as the recorded one */
	bool other;	   /* the last reply was not */
};

struct run {
	const struct kho_replay *r;
	struct kho_replay_result *out;
	struct line line[KHO_REPLAY_CONNS];
	uint64_t begin_us, now_us;
	struct kho_capture cap;
	struct kho_streams *s; /* NULL: not measured */
	uint8_t buf[READ_MAX];
};

static const struct kho_replay_request *request(const struct line *l)
{
	return &l->c->rq[l->next];
}

static void __attribute__((format(printf, 3, 4))) note(struct run *run, const struct line *l, const char *fmt, ...)
{
	char at[KHO_REPLAY_ADDRESS_TEXT], why[100];
	va_list ap;

	if (*run->out->what)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	snprintf(run->out->what, sizeof(run->out->what), "%s: %s, at request %zu of %zu", kho_replay_address_text(&l->c->server, at), why, l->next + 1, l->c->n);
}

static void end_line(struct line *l)
{
	kho_closep(&l->fd);
	l->fd = -1;
	l->state = OVER;
}

/* No reply. One that lacks its beginning (a login) and was never answered as recorded tells nothing. */
static void fails(struct run *run, struct line *l, uint64_t *kind, const char *why)
{
	if (l->c->begun || l->understood) {
		note(run, l, "%s", why);
		++*kind;
	} else {
		run->out->strange++;
	}
	end_line(l);
}

static void refused(struct run *run, struct line *l, int code)
{
	note(run, l, "no connection: %s", strerror(code));
	run->out->refused++;
	end_line(l);
}

/* The server has ended it, with or without a word. */
static void ended(struct run *run, struct line *l, int code)
{
	fails(run, l, &run->out->cut, code ? strerror(code) : "the connection was closed");
}

/* --- one connection --- */

static socklen_t fill(const struct kho_replay_address *a, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (a->family == 4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(a->port);
		memcpy(&v4->sin_addr, a->a, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(a->port);
	memcpy(&v6->sin6_addr, a->a, 16);
	return sizeof(*v6);
}

static void begin_connection(struct run *run, struct line *l)
{
	struct sockaddr_storage ss;
	socklen_t len = fill(&l->c->server, &ss);
	int on = 1;

	l->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd >= 0)
		(void)!setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	l->since_us = run->now_us;
	if (l->fd >= 0 && (connect(l->fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS))
		l->state = CONNECTING;
	else
		refused(run, l, errno);
}

/* What is there to read, until there is no more: how much; -1: the server has ended the connection, and *code says how. */
static ssize_t drain(struct run *run, struct line *l, int *code)
{
	size_t all = 0;

	*code = 0;
	for (unsigned i = 0; i < READS; i++) {
		ssize_t n = recv(l->fd, run->buf, sizeof(run->buf), MSG_DONTWAIT);

		if (n > 0) {
			all += (size_t)n;
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		*code = n < 0 ? errno : 0;
		return all ? (ssize_t)all : -1;
	}
	return (ssize_t)all;
}

/* Its time has come. What is read now is still of the last reply. */
static void begin_request(struct run *run, struct line *l)
{
	int code;
	ssize_t n = drain(run, l, &code);

	if (n < 0) {
		ended(run, l, code);
		return;
	}
	if (n && !l->other && l->next) {
		run->out->other_length++;
		l->other = true;
	}
	l->sent = 0;
	l->got = 0;
	/* the server speaks first: what it has said already */
	if (!l->next && !request(l)->bytes)
		l->got = (uint64_t)n;
	l->since_us = run->now_us;
	l->state = SENDING;
	run->out->requests++;
}

static void send_some(struct run *run, struct line *l)
{
	const struct kho_replay_request *rq = request(l);

	while (l->sent < rq->bytes) {
		ssize_t n = send(l->fd, rq->data + l->sent, rq->bytes - l->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			ended(run, l, errno);
			return;
		}
		l->sent += (size_t)n;
		l->since_us = run->now_us;
	}
	l->state = l->got ? READING : WAITING;
}

static void reply_over(struct run *run, struct line *l)
{
	run->out->replies++;
	l->other = l->got != request(l)->reply_bytes;
	if (l->other)
		run->out->other_length++;
	else
		l->understood = true;
	l->state = DUE;
	if (++l->next == l->c->n)
		end_line(l);
}

static void read_some(struct run *run, struct line *l)
{
	int code;
	ssize_t n = drain(run, l, &code);

	if (n < 0 && l->got) {
		reply_over(run, l);
		if (l->state != OVER)
			ended(run, l, code);
		return;
	}
	if (n < 0) {
		ended(run, l, code);
		return;
	}
	if (!n)
		return;
	l->got += (uint64_t)n;
	l->since_us = run->now_us;
	if (l->state == WAITING)
		l->state = READING;
}

static void connected(struct run *run, struct line *l)
{
	socklen_t len = sizeof(int);
	int code = 0;

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &code, &len) || code)
		refused(run, l, code ? code : errno);
	else
		begin_request(run, l);
}

/* When something is to happen to it if nothing comes. */
static uint64_t due(const struct run *run, const struct line *l)
{
	switch (l->state) {
	case DUE:
		return run->begin_us + request(l)->at_us;
	case CONNECTING:
		return l->since_us + KHO_REPLAY_REPLY_US;
	case SENDING:
	case WAITING:
		return l->since_us + KHO_REPLAY_REPLY_US + request(l)->reply_ns / 1000;
	case READING:
		return l->got >= request(l)->reply_bytes ? 0 : l->since_us + KHO_REPLAY_QUIET_US;
	default:
		return UINT64_MAX;
	}
}

static void on_time(struct run *run, struct line *l)
{
	if (l->state == DUE && l->fd < 0)
		begin_connection(run, l);
	else if (l->state == DUE)
		begin_request(run, l);
	else if (l->state == CONNECTING)
		refused(run, l, ETIMEDOUT);
	else if (l->state == READING)
		reply_over(run, l);
	else
		fails(run, l, &run->out->silent, "no reply in time");
}

static void step(struct run *run, struct line *l, short events)
{
	if (l->state == CONNECTING && events)
		connected(run, l);
	else if ((l->state == SENDING || l->state == WAITING || l->state == READING) && events & (POLLIN | POLLHUP | POLLERR))
		read_some(run, l);
	if (l->state != OVER && run->now_us >= due(run, l))
		on_time(run, l);
	if (l->state == SENDING)
		send_some(run, l);
	/* what the server said first may be there already */
	if (l->state == READING && run->now_us >= due(run, l))
		reply_over(run, l);
}

/* --- all of them --- */

static short wanted(const struct line *l)
{
	return l->state == CONNECTING ? POLLOUT : l->state == SENDING ? POLLIN | POLLOUT : POLLIN;
}

/* Until something comes, or something is due; false: all are over. */
static bool wait_for(struct run *run, struct pollfd *p)
{
	uint64_t next = run->now_us + TICK_US, at;
	struct timespec t;
	bool live = false;

	for (size_t i = 0; i < run->r->n; i++) {
		const struct line *l = &run->line[i];

		live |= l->state != OVER;
		at = due(run, l);
		next = at < next ? at : next;
		/* who waits for its time is not asked whether the other side has gone */
		p[i] = (struct pollfd){ .fd = l->state == DUE || l->state == OVER ? -1 : l->fd, .events = wanted(l) };
	}
	if (!live)
		return false;
	at = next > run->now_us ? next - run->now_us : 0;
	t = (struct timespec){ (time_t)(at / 1000000), (long)(at % 1000000) * 1000 };
	(void)!ppoll(p, run->r->n, &t, NULL);
	return true;
}

static void measure(struct run *run, size_t most)
{
	if (run->s)
		(void)kho_capture_take(&run->cap, run->s, most);
}

static void go(struct run *run)
{
	struct pollfd p[KHO_REPLAY_CONNS];
	uint64_t end;

	run->begin_us = run->now_us = kho_now_ns() / 1000;
	end = run->begin_us + run->r->us + KHO_REPLAY_LATE_US;
	while (run->now_us < end && wait_for(run, p)) {
		/* before anything is asked: the server may have no other CPU than this one. Packets wake nobody, they can wait */
		measure(run, BUNCH);
		run->now_us = kho_now_ns() / 1000;
		for (size_t i = 0; i < run->r->n; i++)
			step(run, &run->line[i], p[i].revents);
	}
	for (size_t i = 0; i < run->r->n; i++) {
		struct line *l = &run->line[i];

		if (l->state != OVER)
			run->out->late += l->c->n - l->next;
		end_line(l);
	}
}

static int open_capture(struct run *run, struct kho_replay_listeners *servers, struct kho_err *err)
{
	for (size_t i = 0; i < run->r->n; i++) {
		int rc = kho_replay_listeners_add(servers, &run->r->conn[i].server, err);

		if (rc < 0)
			return rc;
	}
	return kho_capture_open(&run->cap, servers, err);
}

void kho_replay_send(const struct kho_replay *r, struct kho_replay_result *out)
{
	static struct run run;
	struct kho_replay_listeners servers = { 0 };
	struct kho_err why = KHO_ERR_INIT;

	*out = (struct kho_replay_result){ .known = true };
	run = (struct run){ .r = r, .out = out, .cap = KHO_CAPTURE_INIT };
	for (size_t i = 0; i < r->n; i++)
		run.line[i] = (struct line){ .c = &r->conn[i], .fd = -1 };
	if (open_capture(&run, &servers, &why) == 0)
		run.s = kho_streams_new(false, kho_capture_now(), &why);
	out->timed = run.s;
	go(&run);
	measure(&run, SIZE_MAX);
	if (run.s)
		kho_streams_times(run.s, &out->ns);
	else if (!*out->what)
		snprintf(out->what, sizeof(out->what), "%s", why.msg);
	kho_capture_close(&run.cap);
	kho_streams_free(run.s);
	explicit_bzero(run.buf, sizeof(run.buf));
}
