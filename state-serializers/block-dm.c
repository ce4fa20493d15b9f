// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device mapper by its ioctls.  libdevmapper would wait for udev, which does not run in an incoming
 * kernel; here nodes are made by hand and nothing waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define DM_CONTROL "/dev/mapper/control"
#define DM_MINOR 236		/* of the misc device, fixed since 2.6.36 */

struct dm_buf {
	struct dm_ioctl io;
	struct dm_target_spec spec;
	char params[1024];
};

static void dm_init(struct dm_buf *b, const char *name, uint32_t flags)
{
	*b = (struct dm_buf){ .io = {
		.version = { DM_VERSION_MAJOR, 0, 0 },
		.data_size = sizeof(*b),
		.data_start = offsetof(struct dm_buf, spec),
		.flags = flags,
	} };
	snprintf(b->io.name, sizeof(b->io.name), "%s", name);
}

int kho_dm_ready(struct kho_err *err)
{
	if (!access(DM_CONTROL, F_OK))
		return 0;
	if ((mkdir("/dev/mapper", 0755) < 0 && errno != EEXIST) ||
	    (mknod(DM_CONTROL, S_IFCHR | 0600, makedev(10, DM_MINOR)) < 0 && errno != EEXIST))
		return kho_fail_errno(err, "make %s", DM_CONTROL);
	return 0;
}

static int dm_call(struct dm_buf *b, unsigned long request, const char *what, struct kho_err *err)
{
	_cleanup_close_ int fd = open(DM_CONTROL, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return kho_fail_errno(err, "open %s", DM_CONTROL);
	if (ioctl(fd, request, b) < 0)
		return kho_fail_errno(err, "%s %s", what, b->io.name);
	return 0;
}

static int dm_load(const char *name, const char *type, uint64_t sectors, const char *params, struct kho_err *err)
{
	struct dm_buf b;

	dm_init(&b, name, 0);
	b.io.target_count = 1;
	b.spec.length = sectors;
	snprintf(b.spec.target_type, sizeof(b.spec.target_type), "%s", type);
	snprintf(b.params, sizeof(b.params), "%s", params);
	int ret = dm_call(&b, DM_TABLE_LOAD, "load table of", err);

	return ret ? kho_wrap(err, "%s %s", type, params) : 0;
}

static int dm_node(const char *name, dev_t dev, struct kho_err *err)
{
	char path[64 + KHO_DM_NAME];

	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	(void)!unlink(path);
	if (mknod(path, S_IFBLK | 0600, dev) < 0)
		return kho_fail_errno(err, "make %s", path);
	return 0;
}

int kho_dm_create(const char *name, const char *type, uint64_t sectors, const char *params, dev_t *out_dev, struct kho_err *err)
{
	struct dm_buf b;
	int ret;

	dm_init(&b, name, 0);
	ret = dm_call(&b, DM_DEV_CREATE, "create", err);
	if (ret < 0)
		return ret;
	/* the kernel's encoding of huge device numbers has the minor split like new_encode_dev() */
	*out_dev = makedev((b.io.dev >> 8) & 0xfff, (b.io.dev & 0xff) | ((b.io.dev >> 12) & 0xfff00));
	ret = dm_load(name, type, sectors, params, err);
	if (!ret) {
		dm_init(&b, name, 0);
		ret = dm_call(&b, DM_DEV_SUSPEND, "resume", err);
	}
	if (!ret)
		ret = dm_node(name, *out_dev, err);
	if (ret < 0)
		(void)!kho_dm_remove(name, NULL);
	return ret;
}

int kho_dm_replace(const char *name, const char *type, uint64_t sectors, const char *params, struct kho_err *err)
{
	struct dm_buf b;
	int ret = dm_load(name, type, sectors, params, err);

	if (ret < 0)
		return ret;
	dm_init(&b, name, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG);
	ret = dm_call(&b, DM_DEV_SUSPEND, "suspend", err);
	if (ret < 0)
		return ret;
	dm_init(&b, name, DM_SKIP_LOCKFS_FLAG);
	return dm_call(&b, DM_DEV_SUSPEND, "resume", err);
}

int kho_dm_status(const char *name, bool table, char type[32], char params[256], uint64_t *out_sectors, struct kho_err *err)
{
	struct dm_buf b;

	dm_init(&b, name, DM_NOFLUSH_FLAG | (table ? DM_STATUS_TABLE_FLAG : 0));
	int ret = dm_call(&b, DM_TABLE_STATUS, "status of", err);

	if (ret < 0)
		return ret;
	if (b.io.target_count != 1)
		return kho_fail(err, -EINVAL, "%s has %u targets", name, b.io.target_count);
	/* spec and text come back at data_start */
	snprintf(type, 32, "%.16s", b.spec.target_type);
	snprintf(params, 256, "%.255s", b.params);
	*out_sectors = b.spec.length;
	return 0;
}

int kho_dm_remove(const char *name, struct kho_err *err)
{
	char path[64 + KHO_DM_NAME];
	struct dm_buf b;

	dm_init(&b, name, 0);
	int ret = dm_call(&b, DM_DEV_REMOVE, "remove", err);

	if (ret < 0 && ret != -ENXIO)
		return ret;
	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	(void)!unlink(path);
	return 0;
}
