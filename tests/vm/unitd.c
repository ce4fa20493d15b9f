// SPDX-License-Identifier: GPL-2.0-only
/*
 * A service that systemd's sockets start, for the test of units: serves HTTP (GET /n/N is answered by N) on whatever sockets it is
 * given, and leaves descriptors with systemd: a memfd that it closes itself ("closed"), one that it keeps ("kept"), and the
 * listening socket ("listener"). GET /closed and /kept answer what is in them; of "closed" after systemd has given it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST 3 /* systemd's first descriptor */
#define MOST  64

static struct pollfd p[MOST];
static int listeners, used, kept = -1, closed = -1;

static bool tell(const char *text, int fd)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct iovec io = { (char *)text, strlen(text) };
	struct msghdr m = { .msg_name = &sun, .msg_namelen = sizeof(sun), .msg_iov = &io, .msg_iovlen = 1 };
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!path || s < 0 || strlen(path) >= sizeof(sun.sun_path))
		exit(1);
	strcpy(sun.sun_path, path);
	if (fd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	}
	bool heard = sendmsg(s, &m, 0) >= 0;

	close(s);
	return heard;
}

static int store(const char *name)
{
	int fd = memfd_create(name, 0);
	char text[64];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	if (fd < 0 || dprintf(fd, "what is in %s\n", name) < 0)
		exit(1);
	if (!tell(text, fd))
		exit(1);
	return fd;
}

/* What systemd gives: sockets, and (after a restart) what was left with it. */
static void receive(void)
{
	const char *n = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	char *list = strdup(names ? names : ""), *name = strtok(list, ":");

	for (int i = 0; i < (n ? atoi(n) : 0); i++, name = name ? strtok(NULL, ":") : NULL) {
		if (name && !strcmp(name, "kept"))
			kept = FIRST + i;
		else if (name && !strcmp(name, "closed"))
			closed = FIRST + i;
		else if (!name || strcmp(name, "listener"))
			p[listeners++] = (struct pollfd){ .fd = FIRST + i, .events = POLLIN };
	}
	free(list);
	used = listeners;
}

static void answer(int fd, const char *asked)
{
	char body[256] = "?\n", head[128];
	unsigned long long n;
	ssize_t len;

	if (sscanf(asked, "GET /n/%llu ", &n) == 1)
		snprintf(body, sizeof(body), "%llu\n", n);
	else if (!strncmp(asked, "GET /kept ", 10) || !strncmp(asked, "GET /closed ", 12)) {
		len = pread(asked[5] == 'k' ? kept : closed, body, sizeof(body) - 1, 0);
		body[len > 0 ? len : 0] = '\0';
	}
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(body));
	if (write(fd, head, strlen(head)) < 0 || write(fd, body, strlen(body)) < 0)
		return;
}

/* One request in one packet: whoever asks sends the next when he has his answer, or several whole ones. */
static int serve(int fd)
{
	char b[65536];
	ssize_t n = read(fd, b, sizeof(b) - 1);

	if (n <= 0)
		return -1;
	b[n] = '\0';
	for (char *at = b; (at = strstr(at, "GET ")); at += 4)
		answer(fd, at);
	return 0;
}

int main(void)
{
	const char *watchdog = getenv("WATCHDOG_USEC");
	int ms = watchdog ? atoi(watchdog) / 2000 : -1;

	receive();
	if (kept < 0) {
		kept = store("kept");
		close(store("closed"));
		if (listeners)
			tell("FDSTORE=1\nFDNAME=listener\nFDPOLL=0", p[0].fd);
	}
	tell("READY=1", -1);
	/* a process that is carried has its system call interrupted */
	while (poll(p, (nfds_t)used, ms) >= 0 || errno == EINTR) {
		if (watchdog)
			tell("WATCHDOG=1", -1);
		for (int i = 0; i < used; i++) {
			int fd;

			if (!p[i].revents)
				continue;
			if (i >= listeners && serve(p[i].fd)) {
				close(p[i].fd);
				p[i--] = p[--used];
			} else if (i < listeners && (fd = accept(p[i].fd, NULL, NULL)) >= 0) {
				if (used < MOST)
					p[used++] = (struct pollfd){ .fd = fd, .events = POLLIN };
				else
					close(fd);
			}
		}
	}
	return 0;
}
