// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that cannot be carried, for the refusal tests: holds an io_uring, or a device file, and
 * sleeps.   holder uring|device PATH PIDFILE
 * Somebody else's session of the Live Update Orchestrator, with one file that holds NAME: kept, or got back in the next
 * kernel, its contents printed, and ended.   holder session NAME PIDFILE   holder retrieve NAME
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/liveupdate.h of Linux 7.2 */
struct luo_session {
	uint32_t size;
	int32_t fd;
	uint8_t name[64];
};
struct luo_file {
	uint32_t size;
	int32_t fd;
	uint64_t token;
};
struct luo_finish {
	uint32_t size, reserved;
};

static int luo(const char *name, unsigned nr)
{
	struct luo_session s = { .size = sizeof(s), .fd = -1 };
	int dev = open("/dev/liveupdate", O_RDWR | O_CLOEXEC), ret;

	snprintf((char *)s.name, sizeof(s.name), "%s", name);
	ret = dev < 0 ? -1 : ioctl(dev, _IO(0xBA, nr), &s);
	if (ret < 0)
		perror("/dev/liveupdate");
	if (dev >= 0)
		close(dev); /* as systemd does it: the session stays */
	return ret < 0 ? -1 : s.fd;
}

static int session(const char *name)
{
	int fd = luo(name, 0), m = memfd_create("holder", 0);
	struct luo_file f = { .size = sizeof(f), .fd = m };

	if (fd < 0 || m < 0 || write(m, name, strlen(name)) != (ssize_t)strlen(name))
		return -1;
	return ioctl(fd, _IO(0xBA, 0x40), &f) < 0 ? -1 : fd;
}

static int retrieve(const char *name)
{
	struct luo_file f = { .size = sizeof(f), .fd = -1 };
	struct luo_finish end = { .size = sizeof(end) };
	char buf[64];
	ssize_t n;
	int fd = luo(name, 1);

	if (fd < 0)
		return 1;
	if (ioctl(fd, _IO(0xBA, 0x41), &f) < 0) {
		perror("retrieve");
		return 1;
	}
	n = pread(f.fd, buf, sizeof(buf), 0);
	if (n < 0 || ioctl(fd, _IO(0xBA, 0x42), &end) < 0) {
		perror("finish");
		return 1;
	}
	printf("%.*s\n", (int)n, buf);
	return 0;
}

int main(int argc, char **argv)
{
	struct io_uring_params p = { 0 };
	FILE *f;
	int fd;

	if (argc == 3 && !strcmp(argv[1], "retrieve"))
		return retrieve(argv[2]);
	if (argc != 4)
		return 2;
	if (!strcmp(argv[1], "uring"))
		fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	else if (!strcmp(argv[1], "session"))
		fd = session(argv[2]);
	else
		fd = open(argv[2], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (daemon(0, 1))
		return 1;
	f = fopen(argv[3], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	for (;;)
		pause();
}
