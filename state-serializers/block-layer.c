// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of device mapper between a file system and its disks (LVM, LUKS): read from the top down, kept from the bottom up, each
 * once, with its devices as places in what is carried, not as numbers.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block-find.h"
#include "state-serializers/common.h"

#define DEPTH_MAX 8
#define RECORDED "/run/khoctl-record/dmsetup-table"

static int no(struct kho_find *f, const char *what, const char *name)
{
	snprintf(f->why, sizeof(f->why), "%s %s, which is not carried", what, name);
	return -ENOTSUP;
}

static int recorded_table(struct kho_find *f, const char *dir, const char *name, struct kho_dm_table *out, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(f->sysroot, RECORDED), *text = NULL, *uuid = NULL;

	if (!path || kho_read_file(path, 1 << 20, &text, NULL, NULL) < 0)
		return no(f, "a mapping with an unknown table,", name);
	if (kho_find_attr(dir, "dm/uuid", &uuid))
		snprintf(out->uuid, sizeof(out->uuid), "%s", uuid);
	return kho_dm_table_recorded(text, name, out, err);
}

/*
 * The table of a mapping. While an earlier upgrade is merged, a mapping shows that, and its own table is at the device below.
 */
static int read_table(struct kho_find *f, dev_t dev, const char *dir, const char *name, struct kho_dm_table *out, struct kho_err *err)
{
	unsigned maj, min;

	if (*f->sysroot)
		return recorded_table(f, dir, name, out, err);
	int ret = kho_dm_table("", dev, false, out, err);

	if (ret < 0 || out->n != 1 || strncmp(out->target[0].type, "snapshot", 8) || sscanf(out->target[0].params, "%u:%u", &maj, &min) != 2)
		return ret;
	_cleanup_(kho_dm_table_done) struct kho_dm_table below = { 0 };

	ret = kho_dm_table("", makedev(maj, min), false, &below, err);
	if (ret < 0 || strncmp(below.name, KHO_DM_UNDER, strlen(KHO_DM_UNDER)))
		return ret;
	struct kho_dm_target *t = out->target;
	size_t n = out->n;

	out->target = below.target, out->n = below.n;
	below.target = t, below.n = n;
	return 0;
}

static int add_target(struct kho_find *f, const struct kho_dm_target *t, unsigned depth, Kho__BlockLayer *l, struct kho_err *err)
{
	_cleanup_(kho_wipe) char *key = NULL;
	dev_t under[KHO_TABLE_UNDER];
	size_t n;

	if (!kho_table_type_moves(t->type))
		return no(f, "a mapping of type", t->type);
	Kho__BlockTarget *out = malloc(sizeof(*out));

	if (!out)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_target__init(out);
	if (kho_pb_append(&l->target, &l->n_target, out)) {
		free(out);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	int ret = kho_table_split(t, out, under, &n, &key, err);

	if (!ret && key && (l->key.len || *l->keyring))
		return no(f, "a mapping with several keys,", l->name);
	if (!ret && key && *key == ':')
		ret = kho_pb_set(&l->keyring, key);
	else if (!ret && key) {
		l->key.len = strlen(key);
		l->key.data = (uint8_t *)steal_ptr(key);
	}
	for (size_t i = 0; !ret && i < n; i++) {
		Kho__BlockRef *ref = malloc(sizeof(*ref));

		if (!ref)
			return kho_fail(err, -ENOMEM, "out of memory");
		kho__block_ref__init(ref);
		ret = kho_pb_append(&out->under, &out->n_under, ref);
		if (ret)
			free(ref);
		else
			ret = kho_find_under(f, under[i], depth + 1, ref, err);
	}
	return ret == -ENOMEM ? kho_fail(err, ret, "out of memory") : ret;
}

/* A key that the kernel does not show in full is none. */
static bool is_known_key(const Kho__BlockLayer *l)
{
	return !l->key.len || (l->key.len >= 32 && !(l->key.len % 2));
}

static int fill_layer(struct kho_find *f, const struct kho_dm_table *t, unsigned depth, Kho__BlockLayer *l, struct kho_err *err)
{
	int ret = kho_pb_set(&l->name, t->name) || kho_pb_set(&l->uuid, t->uuid) ? kho_fail(err, -ENOMEM, "out of memory") : 0;

	l->readonly = t->readonly;
	if (t->suspended)
		return no(f, "a mapping that is suspended,", t->name);
	for (size_t i = 0; !ret && i < t->n; i++)
		ret = add_target(f, &t->target[i], depth, l, err);
	return !ret && !is_known_key(l) ? no(f, "a mapping without its key,", t->name) : ret;
}

static int add_layer(struct kho_find *f, dev_t dev, const char *dir, const char *name, unsigned depth, uint32_t *out, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };

	for (uint32_t i = 0; i < f->b->n_layer; i++)
		if (!strcmp(f->b->layer[i]->name, name))
			return *out = i, 0;
	int ret = read_table(f, dev, dir, name, &t, err);

	if (ret < 0)
		return ret;
	Kho__BlockLayer *l = malloc(sizeof(*l));

	if (!l)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_layer__init(l);
	ret = fill_layer(f, &t, depth, l, err);
	if (!ret && kho_pb_append(&f->b->layer, &f->b->n_layer, l))
		ret = kho_fail(err, -ENOMEM, "out of memory");
	if (ret < 0) {
		if (l->key.data)
			explicit_bzero(l->key.data, l->key.len);
		kho__block_layer__free_unpacked(l, NULL);
		return ret;
	}
	*out = f->b->n_layer - 1;
	return 0;
}

static int leaf(struct kho_find *f, char dir[PATH_MAX], Kho__BlockRef *out, struct kho_err *err)
{
	char pci[KHO_PCI_LEN];

	if (kho_pci_of_sysfs("", dir, pci) < 0)
		return no(f, "no PCI disk but", strrchr(dir, '/') + 1);
	out->partition = kho_find_number(dir, "partition");
	if (out->partition)
		*strrchr(dir, '/') = '\0';
	return kho_find_disk(f, dir, pci, &out->disk, err);
}

int kho_find_under(struct kho_find *f, dev_t dev, unsigned depth, Kho__BlockRef *out, struct kho_err *err)
{
	_cleanup_free_ char *full = NULL, *name = NULL;
	char path[64], dir[PATH_MAX];
	uint32_t layer = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	full = kho_sysroot_path(f->sysroot, path);
	if (!full || !realpath(full, dir))
		return no(f, "a device that is not in sysfs,", path + strlen("/sys/dev/block/"));
	if (!kho_find_attr(dir, "dm/name", &name))
		return leaf(f, dir, out, err);
	if (!strncmp(name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)))
		return kho_find_see_through(dir) < 0 ? no(f, "a mapping without a disk,", name) : leaf(f, dir, out, err);
	if (depth == DEPTH_MAX)
		return no(f, "too many mappings over each other, down to", name);
	int ret = add_layer(f, dev, dir, name, depth, &layer, err);

	if (!ret)
		out->layer = layer + 1;
	return ret;
}
