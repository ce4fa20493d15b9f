/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's end of a lab's line: owns the socket of the VM's COM3, serves any number of labc at the same time over a
 * UNIX socket. It only carries frames: it gives every client an id of its own, tells clients which agent (epoch) is at the
 * other end, and cancels what a vanished client had asked for. Ends with the VM.
 *   labd QEMU-SOCKET LISTEN-SOCKET LOG
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/frame.h"

#define CLIENTS 32
#define LINE_FULL 65536		/* bytes waiting for the VM above which no client is read */

struct queue {
	uint8_t *p;
	size_t n, room;
};
struct client {
	int fd;			/* 0: free slot */
	uint32_t id;
	struct lab_rx rx;
	struct queue out;
};

static struct client clients[CLIENTS];
static struct queue line;
static int vm = -1;
static uint32_t epoch, last_id;
static char release[LAB_DATA + 1];
static FILE *logfile;

static void push(struct queue *q, const void *data, size_t n)
{
	if (q->n + n > q->room) {
		q->room = (q->n + n) * 2;
		q->p = realloc(q->p, q->room);
		if (!q->p)
			abort();
	}
	memcpy(q->p + q->n, data, n);
	q->n += n;
}

/* Returns -1 if the other end is gone. */
static int flush(int fd, struct queue *q)
{
	ssize_t n = send(fd, q->p, q->n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	q->n -= (size_t)n;
	memmove(q->p, q->p + n, q->n);
	return 0;
}

static void push_frame(struct queue *q, uint32_t e, uint32_t id, enum lab_type type, const void *data, size_t len)
{
	uint8_t f[LAB_FRAME_MAX];

	push(q, f, lab_frame(f, e, id, type, data, len));
}

static void announce(struct client *c)
{
	push_frame(&c->out, epoch, c->id, LAB_BOOT, release, strlen(release));
}

static void drop_client(struct client *c)
{
	push_frame(&line, epoch, c->id, LAB_CANCEL, NULL, 0);
	close(c->fd);
	free(c->out.p);
	memset(c, 0, sizeof(*c));
}

static void from_agent(const struct lab_header *h, const uint8_t *data)
{
	struct client *c;

	if (h->type == LAB_BOOT) {
		push_frame(&line, h->epoch, 0, LAB_HELLO, NULL, 0);
		if (h->epoch == epoch)
			return;
		epoch = h->epoch;
		memcpy(release, data, h->len);
		release[h->len] = 0;
		fprintf(logfile, "%lld agent %08x on %s\n", (long long)time(NULL), epoch, release);
		for (c = clients; c < clients + CLIENTS; c++)
			if (c->fd)
				announce(c);
		return;
	}
	if (h->epoch != epoch)
		return;
	for (c = clients; c < clients + CLIENTS; c++)
		if (c->fd && c->id == h->id)
			push_frame(&c->out, epoch, h->id, h->type, data, h->len);
}

static void from_client(struct client *c, const struct lab_header *h, const uint8_t *data)
{
	if (h->epoch == epoch && h->type != LAB_HELLO)
		push_frame(&line, epoch, c->id, h->type, data, h->len);
}

/* Returns -1 at the end of the stream. */
static int fill(int fd, struct lab_rx *rx)
{
	ssize_t n = recv(fd, rx->buf + rx->n, sizeof(rx->buf) - rx->n, MSG_DONTWAIT);

	if (n > 0)
		rx->n += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -1;
}

static void accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (!c->fd) {
			c->fd = fd;
			c->id = ++last_id;
			if (epoch)
				announce(c);
			return;
		}
	close(fd);
}

static void serve_client(struct client *c, short events)
{
	uint8_t data[LAB_DATA];
	struct lab_header h;

	if ((events & POLLOUT) && flush(c->fd, &c->out) < 0) {
		drop_client(c);
		return;
	}
	if (!(events & (POLLIN | POLLHUP | POLLERR)))
		return;
	if (fill(c->fd, &c->rx) < 0) {
		drop_client(c);
		return;
	}
	while (lab_next(&c->rx, &h, data))
		from_client(c, &h, data);
}

static void loop(int listener)
{
	static struct lab_rx rx;
	struct pollfd p[CLIENTS + 2];
	struct client *of[CLIENTS];
	uint8_t data[LAB_DATA];
	struct lab_header h;

	for (;;) {
		nfds_t n = 2;

		p[0] = (struct pollfd){ .fd = vm, .events = (short)(POLLIN | (line.n ? POLLOUT : 0)) };
		p[1] = (struct pollfd){ .fd = listener, .events = POLLIN };
		for (struct client *c = clients; c < clients + CLIENTS; c++)
			if (c->fd) {
				of[n - 2] = c;
				p[n++] = (struct pollfd){ .fd = c->fd,
					.events = (short)((line.n < LINE_FULL ? POLLIN : 0) | (c->out.n ? POLLOUT : 0)) };
			}
		/* an agent that was there before us is asked until it answers: a VM that goes on from a snapshot loses the first bytes */
		if (poll(p, n, epoch ? -1 : 500) < 0 && errno != EINTR)
			return;
		if (!epoch && !line.n)
			push_frame(&line, 0, 0, LAB_HELLO, NULL, 0);
		if ((p[0].revents & POLLOUT) && flush(vm, &line) < 0)
			return;
		if ((p[0].revents & (POLLIN | POLLHUP)) && fill(vm, &rx) < 0)
			return;
		while (lab_next(&rx, &h, data))
			from_agent(&h, data);
		for (nfds_t i = 2; i < n; i++)
			serve_client(of[i - 2], p[i].revents);
		if (p[1].revents & POLLIN)
			accept_client(listener);
	}
}

static int unix_socket(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(a->sun_path)) {
		fprintf(stderr, "labd: %s: path too long\n", path);
		return -1;
	}
	strcpy(a->sun_path, path);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_un a;
	int listener, tries = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: labd QEMU-SOCKET LISTEN-SOCKET LOG\n");
		return 2;
	}
	umask(0077);
	logfile = fopen(argv[3], "ae");
	vm = unix_socket(argv[1], &a);
	if (!logfile || vm < 0)
		return 1;
	setvbuf(logfile, NULL, _IOLBF, 0);
	while (connect(vm, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (++tries > 100) {
			fprintf(stderr, "labd: %s: %s\n", argv[1], strerror(errno));
			return 1;
		}
		nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	}
	listener = unix_socket(argv[2], &a);
	unlink(argv[2]);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 16) < 0) {
		fprintf(stderr, "labd: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	loop(listener);
	unlink(argv[2]);
	return 0;
}
