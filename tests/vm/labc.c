/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One request to the agent in a lab's VM, through labd:
 *   labc SOCKET exec CMD...		output (stdout and stderr together) as it comes; the command's exit code
 *   labc SOCKET put FILE DEST		mode as FILE's; DEST is replaced when all of it is there
 *   labc SOCKET get FILE DEST
 * A request that the agent had not taken up is repeated when another kernel's agent takes over the line; a transfer starts
 * again. A command that ran is not: exit code 250 says that its kernel retired under it.
 * Exit codes of its own: 250 kernel gone, 251 no agent within $LAB_WAIT seconds (default 120), 252 the VM ended,
 * 253 request failed (put, get), 254 wrong use.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/frame.h"

enum { GONE = 250, NO_AGENT, VM_ENDED, FAILED, USAGE };
enum { REPEAT_MS = 3000 };

struct request {
	enum lab_type type;
	char *args;		/* NUL-terminated strings, one after the other */
	size_t nargs;
	int file;		/* put: read from; get: written to */
	const char *dest, *part;
	bool started, ended;	/* ended: put: all of the file was sent */
};

static int sock;
static uint32_t epoch;

__attribute__((noreturn, format(printf, 2, 3))) static void die(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("lab: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(code);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void write_all(int fd, const void *data, size_t n, const char *what)
{
	const char *p = data;

	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			die(FAILED, "%s: %s", what, strerror(errno));
		p += w;
		n -= (size_t)w;
	}
}

static void tell(enum lab_type type, const void *data, size_t len)
{
	uint8_t f[LAB_FRAME_MAX], *p = f;
	size_t n = lab_frame(f, epoch, 0, type, data, len);

	while (n) {
		ssize_t w = send(sock, p, n, MSG_NOSIGNAL);

		if (w < 0)
			die(VM_ENDED, "the VM ended");
		p += w;
		n -= (size_t)w;
	}
}

static void ask(struct request *r)
{
	tell(LAB_NEW, NULL, 0);
	for (size_t at = 0; at < r->nargs; at += LAB_DATA)
		tell(LAB_ARGS, r->args + at, r->nargs - at < LAB_DATA ? r->nargs - at : LAB_DATA);
	tell(r->type, NULL, 0);
	r->started = r->ended = false;
	if (r->type != LAB_EXEC && lseek(r->file, 0, SEEK_SET) < 0)
		die(FAILED, "%s: %s", r->dest, strerror(errno));
	if (r->type == LAB_GET && ftruncate(r->file, 0) < 0)
		die(FAILED, "%s: %s", r->part, strerror(errno));
}

/* One more piece of the file that is put. */
static void send_piece(struct request *r)
{
	char b[LAB_DATA];
	ssize_t n = read(r->file, b, sizeof(b));

	if (n < 0)
		die(FAILED, "read: %s", strerror(errno));
	tell(n ? LAB_BYTES : LAB_END, b, (size_t)n);
	r->ended = !n;
}

static void finish(struct request *r, const uint8_t *data, size_t len)
{
	int32_t code = FAILED;

	if (len >= sizeof(code))
		memcpy(&code, data, sizeof(code));
	if (len > sizeof(code))
		fprintf(stderr, "lab: %.*s\n", (int)(len - sizeof(code)), (const char *)data + sizeof(code));
	if (r->type == LAB_EXEC)
		exit(code & 0xff);
	if (code)
		exit(FAILED);
	if (r->type == LAB_GET && rename(r->part, r->dest) < 0)
		die(FAILED, "%s: %s", r->dest, strerror(errno));
	exit(0);
}

static void handle(struct request *r, const struct lab_header *h, const uint8_t *data)
{
	if (h->type == LAB_BOOT) {
		if (r->started && r->type == LAB_EXEC)
			die(GONE, "the kernel under this command retired; %.*s answers now", h->len, (const char *)data);
		epoch = h->epoch;
		ask(r);
	} else if (h->epoch != epoch) {
		return;
	} else if (h->type == LAB_STARTED) {
		r->started = true;
	} else if (h->type == LAB_BYTES && r->type == LAB_EXEC) {
		write_all(1, data, h->len, "stdout");
	} else if (h->type == LAB_BYTES && r->type == LAB_GET) {
		write_all(r->file, data, h->len, r->part);
	} else if (h->type == LAB_EXIT) {
		finish(r, data, h->len);
	}
}

__attribute__((noreturn)) static void run(struct request *r, uint64_t wait_ms)
{
	static struct lab_rx rx;
	uint64_t begin = now_ms(), asked = begin;
	uint8_t data[LAB_DATA];
	struct lab_header h;

	for (;;) {
		bool sending = r->type == LAB_PUT && r->started && !r->ended;
		struct pollfd p = { .fd = sock, .events = (short)(POLLIN | (sending ? POLLOUT : 0)) };

		if (poll(&p, 1, 500) < 0 && errno != EINTR)
			die(FAILED, "poll: %s", strerror(errno));
		if (p.revents & (POLLIN | POLLHUP)) {
			ssize_t n = read(sock, rx.buf + rx.n, sizeof(rx.buf) - rx.n);

			if (n <= 0)
				die(VM_ENDED, "the VM ended");
			rx.n += (size_t)n;
			while (lab_next(&rx, &h, data))
				handle(r, &h, data);
		} else if (p.revents & POLLOUT) {
			send_piece(r);
		}
		if (!r->started && now_ms() - begin > wait_ms)
			die(NO_AGENT, "no agent answers in the VM (waited %llu s)", (unsigned long long)wait_ms / 1000);
		if (epoch && !r->started && now_ms() - asked > REPEAT_MS) {
			asked = now_ms();
			ask(r);
		}
	}
}

static void add_arg(struct request *r, const char *s)
{
	size_t n = strlen(s) + 1;

	r->args = realloc(r->args, r->nargs + n);
	if (!r->args)
		die(FAILED, "out of memory");
	memcpy(r->args + r->nargs, s, n);
	r->nargs += n;
}

static void prepare_transfer(struct request *r, const char *from, const char *to)
{
	char mode[16], *s;
	struct stat st;

	if (r->type == LAB_PUT) {
		r->file = open(from, O_RDONLY | O_CLOEXEC);
		if (r->file < 0 || fstat(r->file, &st) < 0)
			die(FAILED, "%s: %s", from, strerror(errno));
		if (!S_ISREG(st.st_mode))
			die(FAILED, "%s: not a regular file", from);
		add_arg(r, to);
		snprintf(mode, sizeof(mode), "%o", st.st_mode & 07777);
		add_arg(r, mode);
		return;
	}
	if (asprintf(&s, "%s.part-%d", to, getpid()) < 0)
		die(FAILED, "out of memory");
	r->dest = to;
	r->part = s;
	r->file = open(r->part, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
	if (r->file < 0)
		die(FAILED, "%s: %s", r->part, strerror(errno));
	add_arg(r, from);
}

int main(int argc, char **argv)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *wait = getenv("LAB_WAIT");
	struct request r = { .file = -1, .dest = "", .part = "" };

	if (argc < 4 || strlen(argv[1]) >= sizeof(a.sun_path))
		die(USAGE, "usage: labc SOCKET exec CMD... | put FILE DEST | get FILE DEST");
	r.type = !strcmp(argv[2], "exec") ? LAB_EXEC : !strcmp(argv[2], "put") ? LAB_PUT : LAB_GET;
	if (r.type == LAB_EXEC)
		for (int i = 3; i < argc; i++)
			add_arg(&r, argv[i]);
	else if (argc == 5)
		prepare_transfer(&r, argv[3], argv[4]);
	else
		die(USAGE, "%s FILE DEST", argv[2]);
	strcpy(a.sun_path, argv[1]);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		die(VM_ENDED, "the VM does not run (%s: %s)", argv[1], strerror(errno));
	run(&r, (wait ? strtoull(wait, NULL, 10) : 120) * 1000);
}
