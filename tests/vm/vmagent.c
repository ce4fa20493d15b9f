/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent in a lab's VM: runs commands and carries files for the host, over the UART at COM3 by polled port I/O. No
 * driver, no interrupt, no device node: so the same program serves in every kernel of a chain of upgrades. It never
 * hands the line over: when its kernel retires it stops with it, and the next kernel's agent begins with a new epoch
 * (frame.h). Static, because it is started when little else is there.
 *   vmagent [--background]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/sched_events.h"
#include "tests/vm/frame.h"

enum { COM3 = 0x3e8, DATA = COM3, IER = COM3 + 1, FCR = COM3 + 2, LCR = COM3 + 3, MCR = COM3 + 4, LSR = COM3 + 5 };
enum { LSR_DATA = 0x01, LSR_EMPTY = 0x20, FIFO = 16 };
#define REQUESTS 32

enum state { FREE, COLLECT, RUNNING, EXITED, PUTTING, GETTING };
struct request {
	enum state state;
	uint32_t id;
	char *args;
	size_t nargs;
	pid_t pid;
	int fd;			/* command's output, or the file */
	int status;
	char *path, *part;	/* put: where it goes, and what it is called until it is whole */
	mode_t mode;
};

static struct request requests[REQUESTS];
static uint32_t epoch;
static bool greeted;

static void nap(long us)
{
	nanosleep(&(struct timespec){ 0, us * 1000 }, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void uart_open(void)
{
	outb(0, IER);
	outb(0x80, LCR);
	outb(1, DATA);		/* 115200 baud */
	outb(0, DATA + 1);
	outb(0x03, LCR);
	outb(0xc1, FCR);	/* FIFO on, not cleared: a request may be waiting in it */
	outb(0x03, MCR);
}

static void uart_write(const uint8_t *p, size_t n)
{
	while (n) {
		size_t burst = n < FIFO ? n : FIFO;

		for (unsigned spin = 0; !(inb(LSR) & LSR_EMPTY); spin++)
			if (spin > 200)
				nap(500);	/* the host does not read */
		n -= burst;
		while (burst--)
			outb(*p++, DATA);
	}
}

static size_t uart_read(uint8_t *p, size_t room)
{
	size_t n = 0;

	while (n < room && (inb(LSR) & LSR_DATA))
		p[n++] = inb(DATA);
	return n;
}

static void say(uint32_t id, enum lab_type type, const void *data, size_t len)
{
	uint8_t f[LAB_FRAME_MAX];

	uart_write(f, lab_frame(f, epoch, id, type, data, len));
}

static void say_exit(uint32_t id, int code, const char *text)
{
	char b[sizeof(int32_t) + 200];
	int32_t c = code;

	memcpy(b, &c, sizeof(c));
	snprintf(b + sizeof(c), sizeof(b) - sizeof(c), "%s", text);
	say(id, LAB_EXIT, b, sizeof(c) + strlen(b + sizeof(c)));
}

static void release(struct request *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->part)
		unlink(r->part);
	free(r->args);
	free(r->path);
	free(r->part);
	*r = (struct request){ .fd = -1 };
}

/* r == NULL: there was no room for the request at all. */
static void refuse(struct request *r, uint32_t id, int err, const char *what)
{
	char b[160];

	snprintf(b, sizeof(b), "%s: %s", what, strerror(err));
	say_exit(id, err, b);
	if (r)
		release(r);
}

static struct request *find(uint32_t id, enum state fresh)
{
	struct request *f = NULL;

	for (struct request *r = requests; r < requests + REQUESTS; r++) {
		if (r->state != FREE && r->id == id)
			return r;
		if (r->state == FREE && !f)
			f = r;
	}
	if (fresh == FREE || !f)
		return NULL;
	*f = (struct request){ .state = fresh, .id = id, .fd = -1 };
	return f;
}

/* In the child: nothing of the agent stays, not even the right to its port (it would survive exec). */
static void become(char **argv, int out)
{
	int null = open("/dev/null", O_RDONLY), fd;

	setsid();
	ioperm(COM3, 8, 0);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	for (fd = 3; fd < 64; fd++)
		close(fd);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	fd = open("/proc/self/oom_score_adj", O_WRONLY);
	if (fd >= 0) {
		if (write(fd, "0", 1) < 0)
			perror("oom_score_adj");
		close(fd);
	}
	if (chdir("/root") < 0 && chdir("/") < 0)
		_exit(126);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_exec(struct request *r)
{
	char **argv;
	int p[2];
	size_t n = 0, k = 0;

	for (size_t i = 0; i < r->nargs; i++)
		n += !r->args[i];
	argv = calloc(n + 1, sizeof(*argv));
	if (!argv || !n) {
		free(argv);
		return refuse(r, r->id, argv ? EINVAL : ENOMEM, "exec");
	}
	for (size_t i = 0; i < r->nargs && k < n; i += strlen(r->args + i) + 1)
		argv[k++] = r->args + i;
	if (pipe2(p, O_CLOEXEC) < 0) {
		free(argv);
		return refuse(r, r->id, errno, "pipe");
	}
	r->pid = fork();
	if (!r->pid)
		become(argv, p[1]);
	free(argv);
	close(p[1]);
	r->fd = p[0];
	if (r->pid < 0)
		return refuse(r, r->id, errno, "fork");
	fcntl(r->fd, F_SETFL, O_NONBLOCK);
	r->state = RUNNING;
	say(r->id, LAB_STARTED, NULL, 0);
}

static void start_put(struct request *r)
{
	const char *mode = r->args + strlen(r->args) + 1;

	if (mode >= r->args + r->nargs)
		return refuse(r, r->id, EINVAL, "put");
	r->mode = (mode_t)strtoul(mode, NULL, 8) & 07777;
	r->path = strdup(r->args);
	if (!r->path || asprintf(&r->part, "%s.part-%u", r->path, r->id) < 0)
		return refuse(r, r->id, ENOMEM, "put");
	r->fd = open(r->part, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	if (r->fd < 0)
		return refuse(r, r->id, errno, r->path);
	r->state = PUTTING;
	say(r->id, LAB_STARTED, NULL, 0);
}

static void end_put(struct request *r)
{
	if (fchmod(r->fd, r->mode) < 0 || rename(r->part, r->path) < 0)
		return refuse(r, r->id, errno, r->path);
	free(r->part);
	r->part = NULL;
	say_exit(r->id, 0, "");
	release(r);
}

static void start_get(struct request *r)
{
	struct stat st;

	r->fd = open(r->args, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		return refuse(r, r->id, errno, r->args);
	if (fstat(r->fd, &st) < 0 || S_ISDIR(st.st_mode))
		return refuse(r, r->id, EISDIR, r->args);
	r->state = GETTING;
	say(r->id, LAB_STARTED, NULL, 0);
}

static void collect(struct request *r, const uint8_t *data, size_t len)
{
	char *a;

	if (r->state != COLLECT)
		return;
	a = realloc(r->args, r->nargs + len + 1);
	if (!a)
		return refuse(r, r->id, ENOMEM, "arguments");
	memcpy(a + r->nargs, data, len);
	r->args = a;
	r->nargs += len;
	r->args[r->nargs] = 0;
}

static void cancel(struct request *r)
{
	if (r->state == RUNNING)
		kill(-r->pid, SIGTERM);
	else
		release(r);
}

static void put_bytes(struct request *r, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(r->fd, data, len);

		if (n < 0)
			return refuse(r, r->id, errno, r->path);
		data += n;
		len -= (size_t)n;
	}
}

static void handle(const struct lab_header *h, const uint8_t *data)
{
	bool first = h->type == LAB_NEW;
	struct request *r;

	if (h->type == LAB_HELLO)	/* with no epoch or an old one it is a question */
		greeted = h->epoch == epoch;
	if (h->type == LAB_HELLO || h->epoch != epoch)
		return;
	r = find(h->id, first ? COLLECT : FREE);
	if (!r) {
		if (first)
			refuse(NULL, h->id, EBUSY, "agent");
		return;
	}
	/* the host repeats a request whose STARTED it did not see */
	if (first && r->state == COLLECT)
		r->nargs = 0;
	if (h->type == LAB_ARGS)
		collect(r, data, h->len);
	if (h->type == LAB_CANCEL)
		cancel(r);
	if (h->type == LAB_BYTES && r->state == PUTTING)
		put_bytes(r, data, h->len);
	if (h->type == LAB_END && r->state == PUTTING)
		end_put(r);
	if (h->type != LAB_EXEC && h->type != LAB_PUT && h->type != LAB_GET)
		return;
	if (r->state != COLLECT)
		say(r->id, LAB_STARTED, NULL, 0);
	else if (!r->args)
		refuse(r, r->id, EINVAL, "no arguments");
	else if (h->type == LAB_EXEC)
		start_exec(r);
	else if (h->type == LAB_PUT)
		start_put(r);
	else
		start_get(r);
}

/* One chunk of output; true if there was one. The end of a file or of a command is reported here too. */
static bool serve(struct request *r)
{
	uint8_t b[LAB_DATA];
	ssize_t n;

	if (r->state != RUNNING && r->state != EXITED && r->state != GETTING)
		return false;
	n = read(r->fd, b, sizeof(b));
	if (n > 0) {
		say(r->id, LAB_BYTES, b, (size_t)n);
		return true;
	}
	if (r->state == GETTING) {
		say_exit(r->id, n < 0 ? errno : 0, n < 0 ? strerror(errno) : "");
		release(r);
	} else if (r->state == EXITED) {
		/* a daemon it left behind may still hold the pipe: the command itself has ended */
		say_exit(r->id, WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status) : WEXITSTATUS(r->status), "");
		release(r);
	}
	return false;
}

static void reap(void)
{
	int status;
	pid_t p;

	while ((p = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct request *r = requests; r < requests + REQUESTS; r++)
			if (r->state == RUNNING && r->pid == p) {
				r->state = EXITED;
				r->status = status;
			}
}

static void boot(void)
{
	struct utsname u;

	uname(&u);
	say(0, LAB_BOOT, u.release, strlen(u.release));
}

static void loop(void)
{
	static struct lab_rx rx;
	static uint8_t zero[LAB_FRAME_MAX], data[LAB_DATA];
	uint64_t next_boot = 0, last_busy = 0;
	struct lab_header h;

	uart_write(zero, sizeof(zero));
	for (;;) {
		size_t n = uart_read(rx.buf + rx.n, sizeof(rx.buf) - rx.n);
		bool busy = n > 0;
		uint64_t t = now_ms();

		rx.n += n;
		while (lab_next(&rx, &h, data))
			handle(&h, data);
		reap();
		for (struct request *r = requests; r < requests + REQUESTS; r++)
			busy |= serve(r);
		if (!greeted && t >= next_boot) {
			boot();
			next_boot = t + 250;
		}
		if (busy)
			last_busy = t;
		else
			nap(t - last_busy < 1000 ? 1000 : 10000);
	}
}

int main(int argc, char **argv)
{
	int fd;

	if (argc > 1 && !strcmp(argv[1], "--background") && daemon(0, 0) < 0)
		return 1;
	if (ioperm(COM3, 8, 1) < 0) {
		perror("vmagent: ioperm");
		return 1;
	}
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "-1000", 5) < 0)
			perror("oom_score_adj");
		close(fd);
	}
	(void)kho_sched_events_hold(); /* for good, so that the end of the one in khoctl-incoming changes nothing */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("TERM", "dumb", 1);
	for (struct request *r = requests; r < requests + REQUESTS; r++)
		r->fd = -1;
	while (getrandom(&epoch, sizeof(epoch), GRND_INSECURE) != sizeof(epoch) || !epoch)
		nap(1000);
	uart_open();
	loop();
}
