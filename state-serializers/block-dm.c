// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device mapper by its ioctls.  libdevmapper would wait for udev, which does not run in an incoming
 * kernel; here nodes are made by hand and nothing waits.  A table may hold a key: the kernel is told so, and every buffer is wiped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
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

/* One call without a table: name, uuid and flags in, device number and flags out. */
static void dm_init(struct dm_ioctl *io, const char *name, uint32_t flags)
{
	*io = (struct dm_ioctl){
		.version = { DM_VERSION_MAJOR, 0, 0 },
		.data_size = sizeof(*io),
		.data_start = sizeof(*io),
		.flags = flags,
	};
	snprintf(io->name, sizeof(io->name), "%s", name);
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

static int dm_call(struct dm_ioctl *io, unsigned long request, const char *what, struct kho_err *err)
{
	_cleanup_close_ int fd = open(DM_CONTROL, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return kho_fail_errno(err, "open %s", DM_CONTROL);
	if (ioctl(fd, request, io) < 0)
		return kho_fail_errno(err, "%s %s", what, io->name);
	return 0;
}

/* A call's buffer with room for a table, which may hold a key. */
struct dm_big {
	struct dm_ioctl *io;
	size_t size;
};

static void big_done(struct dm_big *b)
{
	if (b->io)
		explicit_bzero(b->io, b->size);
	free(b->io);
}

static int big_init(struct dm_big *b, const char *name, size_t room, uint32_t flags, struct kho_err *err)
{
	b->size = sizeof(*b->io) + room;
	b->io = calloc(1, b->size);
	if (!b->io)
		return kho_fail(err, -ENOMEM, "table of %s: out of memory", name);
	dm_init(b->io, name, flags | DM_SECURE_DATA_FLAG);
	b->io->data_size = b->size;
	return 0;
}

/* Each spec is followed by its text; the next one begins at a multiple of 8. */
static size_t target_size(const struct kho_dm_target *t)
{
	return (sizeof(struct dm_target_spec) + strlen(t->params) + 1 + 7) & ~7ul;
}

int kho_dm_load(const char *name, const struct kho_dm_table *t, struct kho_err *err)
{
	_cleanup_(big_done) struct dm_big b = { 0 };
	size_t room = 0;

	for (size_t i = 0; i < t->n; i++)
		room += target_size(&t->target[i]);
	if (big_init(&b, name, room, t->readonly ? DM_READONLY_FLAG : 0, err) < 0)
		return -ENOMEM;
	char *at = (char *)(b.io + 1);

	b.io->target_count = t->n;
	for (size_t i = 0; i < t->n; i++) {
		struct dm_target_spec *spec = (struct dm_target_spec *)at;

		spec->sector_start = t->target[i].start;
		spec->length = t->target[i].sectors;
		spec->next = target_size(&t->target[i]);
		snprintf(spec->target_type, sizeof(spec->target_type), "%s", t->target[i].type);
		strcpy(at + sizeof(*spec), t->target[i].params);
		at += spec->next;
	}
	return dm_call(b.io, DM_TABLE_LOAD, "load table of", err);
}

/* Behind the call's own structure; here `next` counts from the first one. */
static int parse_targets(const struct dm_big *b, struct kho_dm_table *out)
{
	const char *data = (const char *)b->io + b->io->data_start;
	size_t size = b->size - b->io->data_start, at = 0;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < b->io->target_count; i++) {
		const struct dm_target_spec *spec = (const void *)(data + at);

		if (at > size || size - at <= sizeof(*spec))
			return -EIO;
		ret = kho_dm_table_add(out, spec->sector_start, spec->length, spec->target_type, data + at + sizeof(*spec));
		at = spec->next;
	}
	return ret;
}

int kho_dm_table(const char *name, dev_t dev, bool status, struct kho_dm_table *out, struct kho_err *err)
{
	for (size_t room = 16384; room <= 16 << 20; room *= 4) {
		_cleanup_(big_done) struct dm_big b = { 0 };
		char number[32];

		if (big_init(&b, name, room, DM_NOFLUSH_FLAG | (status ? 0 : DM_STATUS_TABLE_FLAG), err) < 0)
			return -ENOMEM;
		/* the kernel wants one of name, uuid and number */
		if (!*name)
			b.io->dev = (minor(dev) & 0xff) | (major(dev) << 8) | ((uint64_t)(minor(dev) & ~0xffu) << 12);
		snprintf(number, sizeof(number), "%u:%u", major(dev), minor(dev));
		if (dm_call(b.io, DM_TABLE_STATUS, "read table of", err) < 0)
			return *name ? err ? err->code : -EIO : kho_wrap(err, "%s", number);
		if (b.io->flags & DM_BUFFER_FULL_FLAG)
			continue;
		snprintf(out->name, sizeof(out->name), "%s", b.io->name);
		snprintf(out->uuid, sizeof(out->uuid), "%s", b.io->uuid);
		out->readonly = b.io->flags & DM_READONLY_FLAG;
		out->suspended = b.io->flags & DM_SUSPEND_FLAG;
		int ret = parse_targets(&b, out);

		if (ret < 0)
			kho_dm_table_done(out);
		return ret < 0 ? kho_fail(err, ret, "read table of %s", b.io->name) : 0;
	}
	return kho_fail(err, -EFBIG, "read table of %s: too large", name);
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

int kho_dm_create(const char *name, const char *uuid, const struct kho_dm_table *t, dev_t *out_dev, struct kho_err *err)
{
	struct dm_ioctl io;
	int ret;

	dm_init(&io, name, 0);
	snprintf(io.uuid, sizeof(io.uuid), "%s", uuid);
	ret = dm_call(&io, DM_DEV_CREATE, "create", err);
	if (ret < 0)
		return ret;
	/* the kernel's encoding of huge device numbers has the minor split like new_encode_dev() */
	*out_dev = makedev((io.dev >> 8) & 0xfff, (io.dev & 0xff) | ((io.dev >> 12) & 0xfff00));
	ret = kho_dm_load(name, t, err);
	if (!ret) {
		dm_init(&io, name, 0);
		ret = dm_call(&io, DM_DEV_SUSPEND, "resume", err);
	}
	if (!ret)
		ret = dm_node(name, *out_dev, err);
	if (ret < 0)
		(void)!kho_dm_remove(name, NULL);
	return ret;
}

int kho_dm_replace(const char *name, const struct kho_dm_table *t, struct kho_err *err)
{
	struct dm_ioctl io;
	int ret = kho_dm_load(name, t, err);

	if (ret < 0)
		return ret;
	dm_init(&io, name, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG);
	ret = dm_call(&io, DM_DEV_SUSPEND, "suspend", err);
	if (ret < 0)
		return ret;
	dm_init(&io, name, DM_SKIP_LOCKFS_FLAG);
	return dm_call(&io, DM_DEV_SUSPEND, "resume", err);
}

int kho_dm_status(const char *name, bool table, char type[32], char params[256], uint64_t *out_sectors, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };
	int ret = kho_dm_table(name, 0, !table, &t, err);

	if (ret < 0)
		return ret;
	if (t.n != 1)
		return kho_fail(err, -EINVAL, "%s has %zu targets", name, t.n);
	snprintf(type, 32, "%s", t.target[0].type);
	snprintf(params, 256, "%.255s", t.target[0].params);
	*out_sectors = t.target[0].sectors;
	return 0;
}

int kho_dm_remove(const char *name, struct kho_err *err)
{
	char path[64 + KHO_DM_NAME];
	struct dm_ioctl io;

	dm_init(&io, name, 0);
	int ret = dm_call(&io, DM_DEV_REMOVE, "remove", err);

	if (ret < 0 && ret != -ENXIO)
		return ret;
	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	(void)!unlink(path);
	return 0;
}
