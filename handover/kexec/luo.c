// SPDX-License-Identifier: GPL-2.0-only
/* See handover/kexec/luo.h. */
#include "handover/kexec/luo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"

/* include/uapi/linux/liveupdate.h (Linux 7.2): each argument begins with its size, so that it can grow */
struct luo_session {
	uint32_t size;
	int32_t fd;
	uint8_t name[64];
};
struct luo_preserve {
	uint32_t size;
	int32_t fd;
	uint64_t token;
};
struct luo_finish {
	uint32_t size, reserved;
};
#define LUO_CREATE_SESSION   _IO(0xBA, 0x00)
#define LUO_RETRIEVE_SESSION _IO(0xBA, 0x01)
#define LUO_PRESERVE_FD	     _IO(0xBA, 0x40)
#define LUO_RETRIEVE_FD	     _IO(0xBA, 0x41)
#define LUO_FINISH	     _IO(0xBA, 0x42)

/*
 * Who has it for a moment: khoctl check; systemd since 261: PID 1 when it starts, systemd-shutdown on its way to kexec, and since 262 PID 1 when a unit
 * with LUOSession= starts. Each closes it when it has its sessions (docs/limits.md).
 */
#define BUSY_TRIES   100
#define BUSY_WAIT_US 10000

static int held(struct kho_err *err)
{
	struct kho_luo_use use;

	kho_luo_look(KHO_LUO_DEVICE, &use);
	if (!use.holder.pid)
		return kho_fail(err, -EBUSY, KHO_LUO_DEVICE " is held by a process that is not to be seen from here");
	return kho_fail(err, -EBUSY, KHO_LUO_DEVICE " is held by %s (pid %d), and one process at a time can have it", use.holder.name,
			(int)use.holder.pid);
}

static int open_device(struct kho_err *err)
{
	int fd = open(KHO_LUO_DEVICE, O_RDWR | O_CLOEXEC);

	for (int i = 0; fd < 0 && errno == EBUSY && i < BUSY_TRIES; i++) {
		usleep(BUSY_WAIT_US);
		fd = open(KHO_LUO_DEVICE, O_RDWR | O_CLOEXEC);
	}
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return kho_fail(err, -ENOENT,
				"this kernel has no Live Update Orchestrator (CONFIG_LIVEUPDATE, and liveupdate=on kho=on on its command line)");
	case EBUSY:
		return held(err);
	default:
		return kho_fail_errno(err, KHO_LUO_DEVICE);
	}
}

int kho_luo_available(struct kho_err *err)
{
	int fd = open_device(err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int session(const char *name, unsigned long request, const char *what, struct kho_err *err)
{
	struct luo_session s = { .size = sizeof(s), .fd = -1 };
	_cleanup_close_ int dev = open_device(err);

	if (dev < 0)
		return dev;
	snprintf((char *)s.name, sizeof(s.name), "%s", name);
	if (ioctl(dev, request, &s) < 0)
		return kho_fail_errno(err, "%s live update session '%s'", what, name);
	return s.fd;
}

int kho_luo_create(const char *name, struct kho_err *err)
{
	return session(name, LUO_CREATE_SESSION, "make", err);
}

int kho_luo_open(const char *name, struct kho_err *err)
{
	return session(name, LUO_RETRIEVE_SESSION, "get", err);
}

int kho_luo_preserve(int s, int fd, uint64_t token, struct kho_err *err)
{
	struct luo_preserve p = { .size = sizeof(p), .fd = fd, .token = token };

	return ioctl(s, LUO_PRESERVE_FD, &p) < 0 ? kho_fail_errno(err, "preserve file %llu for the next kernel", (unsigned long long)token) : 0;
}

int kho_luo_preserve_bytes(int s, const void *data, size_t len, uint64_t token, struct kho_err *err)
{
	_cleanup_close_ int fd = kho_memfd("khoctl-state", 0, err); /* its seal goes along (memfd-v2) */
	int ret;

	if (fd < 0)
		return fd;
	ret = kho_write_all(fd, data, len);
	if (ret < 0)
		return kho_fail(err, ret, "write the state for the next kernel: %s", strerror(-ret));
	return kho_luo_preserve(s, fd, token, err);
}

int kho_luo_retrieve(int s, uint64_t token, struct kho_err *err)
{
	struct luo_preserve p = { .size = sizeof(p), .fd = -1, .token = token };

	return ioctl(s, LUO_RETRIEVE_FD, &p) < 0 ? kho_fail_errno(err, "get file %llu of the kernel before", (unsigned long long)token) : p.fd;
}

int kho_luo_finish(int s, struct kho_err *err)
{
	struct luo_finish f = { .size = sizeof(f) };

	return ioctl(s, LUO_FINISH, &f) < 0 ? kho_fail_errno(err, "end the live update session") : 0;
}
