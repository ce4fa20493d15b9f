// SPDX-License-Identifier: GPL-2.0-only
/*
 * The loads that need nothing but system calls: scheduler, memory, files, network.  See bpf/load.def.
 */
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/load_mix.h"
#include "bpf/pinned.h"
#include "lib/cleanup.h"

static void close_both(struct kho_mix_place *p)
{
	kho_closep(&p->fd[0]);
	kho_closep(&p->fd[1]);
	p->fd[0] = p->fd[1] = -1;
}

/* --- sched --- */

#define END (1ull << 32)

static void *answer(void *arg)
{
	struct kho_mix_place *p = arg;
	uint64_t n = 0;

	while (read(p->fd[0], &n, sizeof(n)) > 0 && n < END)
		if (write(p->fd[1], &n, sizeof(n)) < 0)
			break;
	return NULL;
}

static int sched_open(struct kho_mix_place *p, struct kho_err *err)
{
	int rc;

	p->fd[0] = eventfd(0, EFD_CLOEXEC);
	p->fd[1] = eventfd(0, EFD_CLOEXEC);
	if (p->fd[0] < 0 || p->fd[1] < 0)
		return kho_fail_errno(err, "eventfd");
	rc = kho_pinned_start(&p->partner, p->cpu, answer, p);
	if (rc)
		close_both(p);
	return rc ? kho_fail(err, rc, "a second thread on CPU %d: %s", p->cpu, strerror(-rc)) : 0;
}

static int sched_op(struct kho_mix_place *p, struct kho_err *err)
{
	uint64_t n = 1;

	if (write(p->fd[0], &n, sizeof(n)) < 0 || read(p->fd[1], &n, sizeof(n)) < 0)
		return kho_fail_errno(err, "eventfd");
	return n == 1 ? 0 : kho_fail(err, -EIO, "woken once, answered %llu times", (unsigned long long)n);
}

static void sched_close(struct kho_mix_place *p)
{
	const uint64_t end = END;

	if (p->fd[0] >= 0 && p->fd[1] >= 0 && write(p->fd[0], &end, sizeof(end)) > 0)
		pthread_join(p->partner, NULL);
	close_both(p);
}

const struct kho_mix_ops kho_mix_sched = { sched_open, sched_op, sched_close };

/* --- memory --- */

#define PAGES	   16
#define PAGE_BYTES 4096

static int memory_open(struct kho_mix_place *p, struct kho_err *err)
{
	(void)p;
	(void)err;
	return 0;
}

static int touch(volatile uint64_t *m, uint64_t mark)
{
	const size_t step = PAGE_BYTES / sizeof(*m);
	int bad = 0;

	for (size_t i = 0; i < PAGES; i++) {
		m[i * step] = mark;
		bad += m[i * step + step - 1] != 0; /* another's bytes would be here */
	}
	for (size_t i = 0; i < PAGES; i++)
		bad += m[i * step] != mark;
	return bad;
}

static int memory_op(struct kho_mix_place *p, struct kho_err *err)
{
	const size_t bytes = PAGES * PAGE_BYTES;
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int bad, rc;

	if (m == MAP_FAILED)
		return kho_fail_errno(err, "mmap");
	(void)madvise(m, bytes, MADV_NOHUGEPAGE); /* whether one would come depends on what is free; a kernel without them says EINVAL */
	bad = touch(m, p->turn + 1);
	rc = mprotect(m, bytes, PROT_READ);
	if (rc < 0)
		rc = kho_fail_errno(err, "mprotect");
	if (munmap(m, bytes) < 0 && !rc)
		rc = kho_fail_errno(err, "munmap");
	return !rc && bad ? kho_fail(err, -EIO, "%d words of fresh memory are not what they should be", bad) : rc;
}

static void memory_close(struct kho_mix_place *p)
{
	(void)p;
}

const struct kho_mix_ops kho_mix_memory = { memory_open, memory_op, memory_close };

/* --- vfs --- */

#define FILE_BYTES 4096

/* Mounted nowhere: nobody else sees it, and it is gone with the descriptor. */
static int vfs_open(struct kho_mix_place *p, struct kho_err *err)
{
	p->fd[0] = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (p->fd[0] < 0 || fsconfig(p->fd[0], FSCONFIG_SET_STRING, "size", "16m", 0) < 0 ||
	    fsconfig(p->fd[0], FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return kho_fail_errno(err, "make a tmpfs");
	p->fd[1] = fsmount(p->fd[0], FSMOUNT_CLOEXEC, 0);
	return p->fd[1] < 0 ? kho_fail_errno(err, "mount a tmpfs") : 0;
}

static int use_file(int dir, int fd, const char *a, const char *b, uint64_t turn, struct kho_err *err)
{
	char out[FILE_BYTES], in[FILE_BYTES];
	struct stat st;

	memset(out, (int)(turn & 0xff), sizeof(out));
	memcpy(out, &turn, sizeof(turn));
	if (write(fd, out, sizeof(out)) != sizeof(out) || pread(fd, in, sizeof(in), 0) != sizeof(in))
		return kho_fail_errno(err, "write and read");
	if (memcmp(in, out, sizeof(in)))
		return kho_fail(err, -EIO, "a file has not what was written to it");
	if (renameat(dir, a, dir, b) < 0 || fstatat(dir, b, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return kho_fail_errno(err, "rename and stat");
	return st.st_size == FILE_BYTES ? 0 : kho_fail(err, -EIO, "a file of %d bytes has %lld", FILE_BYTES, (long long)st.st_size);
}

static int vfs_op(struct kho_mix_place *p, struct kho_err *err)
{
	char a[32], b[32];
	int fd, rc;

	snprintf(a, sizeof(a), "a%llu", (unsigned long long)p->turn);
	snprintf(b, sizeof(b), "b%llu", (unsigned long long)p->turn);
	fd = openat(p->fd[1], a, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return kho_fail_errno(err, "make a file");
	rc = use_file(p->fd[1], fd, a, b, p->turn, err);
	close(fd);
	if (unlinkat(p->fd[1], rc ? a : b, 0) < 0 && !rc)
		rc = kho_fail_errno(err, "remove a file");
	return rc;
}

const struct kho_mix_ops kho_mix_vfs = { vfs_open, vfs_op, close_both };

/* --- net --- */

#define MESSAGE 1024
#define WAIT_S	2 /* loopback loses nothing: this one is lost for good */

static int loopback_up(struct kho_err *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? kho_fail_errno(err, "loopback of a new network") : 0;
}

/* This process gets a network without the machine's rules, addresses and connections. */
static int net_open(struct kho_mix_place *p, struct kho_err *err)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (unshare(CLONE_NEWNET) < 0)
		return kho_fail_errno(err, "a network of its own");
	if (loopback_up(err) < 0)
		return err->code;
	p->fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd[0] < 0 || bind(p->fd[0], (struct sockaddr *)&a, sizeof(a)) < 0 || listen(p->fd[0], 16) < 0)
		return kho_fail_errno(err, "listen");
	return 0;
}

static int careful(int fd)
{
	const struct timeval wait = { .tv_sec = WAIT_S };
	const struct linger at_once = { .l_onoff = 1 }; /* else thousands of connections wait for their end */

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
			       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
			       setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0
		       ? -1
		       : 0;
}

static int pass(int from, int to, uint64_t mark, struct kho_err *err)
{
	char out[MESSAGE], in[MESSAGE];

	memset(out, (int)(mark & 0xff), sizeof(out));
	memcpy(out, &mark, sizeof(mark));
	if (send(from, out, sizeof(out), MSG_NOSIGNAL) != sizeof(out) || recv(to, in, sizeof(in), MSG_WAITALL) != sizeof(in))
		return kho_fail_errno(err, "send and receive");
	return memcmp(in, out, sizeof(in)) ? kho_fail(err, -EIO, "what was received is not what was sent") : 0;
}

static int net_op(struct kho_mix_place *p, struct kho_err *err)
{
	_cleanup_close_ int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), b = -1;
	struct sockaddr_in to;
	socklen_t len = sizeof(to);
	int rc;

	if (a < 0 || careful(a) < 0 || getsockname(p->fd[0], (struct sockaddr *)&to, &len) < 0 || connect(a, (struct sockaddr *)&to, len) < 0)
		return kho_fail_errno(err, "connect");
	b = accept4(p->fd[0], NULL, NULL, SOCK_CLOEXEC);
	if (b < 0 || careful(b) < 0)
		return kho_fail_errno(err, "accept");
	rc = pass(a, b, p->turn, err);
	return rc < 0 ? rc : pass(b, a, ~p->turn, err);
}

const struct kho_mix_ops kho_mix_net = { net_open, net_op, close_both };
