// SPDX-License-Identifier: GPL-2.0-only
/*
 * Block devices by number: what sysfs says of them, and what is done to one through a node of our own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"

int kho_dev_number(const char *dir, dev_t *out, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	unsigned maj, min;

	snprintf(path, sizeof(path), "%s/dev", dir);
	if (kho_read_line(path, &text, err) < 0)
		return err ? err->code : -EIO;
	if (sscanf(text, "%u:%u", &maj, &min) != 2)
		return kho_fail(err, -EIO, "read %s", path);
	*out = makedev(maj, min);
	return 0;
}

/*
 * Through a node of our own: there is no udev, and the name in /dev may be another's.  In /dev
 * because other tmpfs mounts are commonly nodev.
 */
static int open_node(dev_t dev, int flags, struct kho_err *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/dev/.khoctl-%u-%u", major(dev), minor(dev));
	(void)!unlink(path);
	if (mknod(path, S_IFBLK | 0600, dev) < 0)
		return kho_fail_errno(err, "make %s", path);
	int fd = open(path, flags | O_CLOEXEC), code = errno;

	(void)!unlink(path);
	errno = code;
	return fd < 0 ? kho_fail_errno(err, "open block device %u:%u", major(dev), minor(dev)) : fd;
}

int kho_dev_readonly(dev_t dev, int on, struct kho_err *err)
{
	_cleanup_close_ int fd = open_node(dev, O_RDONLY, err);

	if (fd < 0)
		return fd;
	if (ioctl(fd, BLKROSET, &on) < 0)
		return kho_fail_errno(err, "make block device %u:%u %s", major(dev), minor(dev),
				      on ? "read-only" : "writable");
	return 0;
}

/* Nothing of it may be left in this kernel's cache when it comes again. */
int kho_dev_drop_cache(dev_t dev, struct kho_err *err)
{
	_cleanup_close_ int fd = open_node(dev, O_RDONLY, err);

	if (fd < 0)
		return fd;
	return ioctl(fd, BLKFLSBUF, 0) < 0
		       ? kho_fail_errno(err, "flush block device %u:%u", major(dev), minor(dev))
		       : 0;
}

/* A store whose first chunk is zero is a new one to dm-snapshot. */
int kho_dev_clear(dev_t dev, struct kho_err *err)
{
	_cleanup_close_ int fd = open_node(dev, O_WRONLY, err);
	static const char zero[4096];

	if (fd < 0)
		return fd;
	if (pwrite(fd, zero, sizeof(zero), 0) != sizeof(zero) || fsync(fd) < 0)
		return kho_fail_errno(err, "clear store %u:%u", major(dev), minor(dev));
	return 0;
}
