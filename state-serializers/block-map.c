// SPDX-License-Identifier: GPL-2.0-only
/*
 * block, incoming side: the disks are found again by PCI address, serial, size and unit (names shift); the mappings over them are made
 * anew, from the bottom up, with their names and UUIDs; and each file system's device is looked at through a snapshot with its store
 * in RAM, so that nothing is written to a disk before commit.
 *
 * A file system on a disk or partition gets a device of ours, khoctl-N, which stays, linear in the end. Where it lies on a mapping
 * (LVM, LUKS), that mapping itself shows the snapshot, over khoctl-under-N with the mapping's own table; when all is merged it gets
 * that table back, and nothing of ours is left.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define FIND_TIMEOUT_US (5 * 1000000u)

struct map_layer {
	dev_t dev;
	char name[KHO_DM_NAME]; /* here: its own, or khoctl-under-N */
	bool made;
};

struct map_source {
	dev_t origin, cow;
	char name[KHO_DM_NAME]; /* of what shows the snapshot */
	bool mapped;
};

struct kho_map {
	const Kho__Block *b;
	bool *taken;		    /* for each disk */
	char (*disk)[NAME_MAX + 1]; /* for each disk: its name here */
	struct map_layer *layer;
	struct map_source *source;
	dev_t *leaf; /* disks and partitions that lie at the bottom */
	size_t n_leaf;
};

struct kho_map *kho_map_new(const Kho__Block *b)
{
	struct kho_map *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->b = b;
	m->taken = calloc(b->n_disk + 1, sizeof(*m->taken));
	m->disk = calloc(b->n_disk + 1, sizeof(*m->disk));
	m->layer = calloc(b->n_layer + 1, sizeof(*m->layer));
	m->source = calloc(b->n_source + 1, sizeof(*m->source));
	if (m->taken && m->disk && m->layer && m->source)
		return m;
	kho_map_free(m);
	return NULL;
}

void kho_map_free(struct kho_map *m)
{
	if (!m)
		return;
	free(m->taken);
	free(m->disk);
	free(m->layer);
	free(m->source);
	free(m->leaf);
	free(m);
}

const char *kho_map_name(const struct kho_map *m, size_t i)
{
	return m->source[i].name;
}

/* Is /sys/block/NAME that disk? */
static bool is_disk(const Kho__BlockDisk *d, const char *name)
{
	_cleanup_free_ char *serial = NULL, *size = NULL, *lun = NULL;
	char path[PATH_MAX], pci[KHO_PCI_LEN];

	snprintf(path, sizeof(path), "/sys/block/%s", name);
	if (kho_pci_of_sysfs("", path, pci) < 0 || strcmp(pci, d->pci))
		return false;
	snprintf(path, sizeof(path), "/sys/block/%s/size", name);
	if (kho_read_line(path, &size, NULL) < 0 || strtoull(size, NULL, 10) != d->sectors)
		return false;
	serial = kho_block_serial("", name);
	lun = kho_block_lun("", name);
	return serial && lun && !strcmp(serial, d->serial) && !strcmp(lun, d->lun);
}

/* It is in sysfs before it can be opened; the first one who opens it waits for its partitions to be read. */
static bool is_ready(const char *name)
{
	char dir[PATH_MAX];
	dev_t dev;

	snprintf(dir, sizeof(dir), "/sys/block/%s", name);
	return !kho_dev_number(dir, &dev, NULL) && !kho_dev_drop_cache(dev, NULL);
}

static int find_disk(struct kho_map *m, size_t i, struct kho_err *err)
{
	const Kho__BlockDisk *d = m->b->disk[i];
	uint64_t end = kho_clock_us() + FIND_TIMEOUT_US;

	for (;;) {
		_cleanup_closedir_ DIR *dir = opendir("/sys/block");

		for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
			if (e->d_name[0] == '.' || !is_disk(d, e->d_name) || !is_ready(e->d_name))
				continue;
			snprintf(m->disk[i], sizeof(m->disk[i]), "%s", e->d_name);
			return 0;
		}
		if (kho_clock_us() > end)
			return kho_fail(err, -ENODEV, "no disk of %llu sectors with serial \"%s\"%s%s on %s",
					(unsigned long long)d->sectors, d->serial, *d->lun ? ", unit " : "", d->lun, d->pci);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

int kho_map_take(struct kho_map *m, struct kho_env *env, struct kho_err *err)
{
	struct kho_pci_addr a;
	int ret = 0;

	for (size_t i = 0; !ret && i < m->b->n_disk; i++) {
		m->taken[i] = kho_block_first_of_function(m->b, i);
		if (m->taken[i] && kho_pci_parse(m->b->disk[i]->pci, &a))
			ret = env->ops->pci_take(env, a, err);
		if (!ret)
			ret = find_disk(m, i, err);
	}
	return ret;
}

/* The disk, or the partition of it with that number. */
static int find_leaf(struct kho_map *m, uint32_t disk, uint32_t partition, dev_t *out, struct kho_err *err)
{
	char dir[PATH_MAX], path[PATH_MAX + 300];

	snprintf(dir, sizeof(dir), "/sys/block/%s", m->disk[disk]);
	if (!partition)
		return kho_dev_number(dir, out, err);
	_cleanup_closedir_ DIR *d = opendir(dir);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		_cleanup_free_ char *number = NULL;

		snprintf(path, sizeof(path), "%s/%s/partition", dir, e->d_name);
		if (e->d_name[0] == '.' || kho_read_line(path, &number, NULL) < 0 ||
		    strtoul(number, NULL, 10) != partition)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		return kho_dev_number(path, out, err);
	}
	return kho_fail(err, -ENODEV, "%s has no partition %u", m->disk[disk], partition);
}

/* A place at the bottom, read-only from now on for whoever opens it. */
static int use_leaf(struct kho_map *m, uint32_t disk, uint32_t partition, dev_t *out, struct kho_err *err)
{
	int ret = find_leaf(m, disk, partition, out, err);

	for (size_t i = 0; !ret && i < m->n_leaf; i++)
		if (m->leaf[i] == *out)
			return 0;
	dev_t *p = ret ? NULL : reallocarray(m->leaf, m->n_leaf + 1, sizeof(*p));

	if (!ret && !p)
		ret = kho_fail(err, -ENOMEM, "out of memory");
	if (ret < 0)
		return ret;
	m->leaf = p;
	p[m->n_leaf++] = *out;
	return kho_dev_readonly(*out, 1, err);
}

static int target_table(struct kho_map *m, const Kho__BlockTarget *t, const char *key, struct kho_dm_table *out, struct kho_err *err)
{
	_cleanup_(kho_wipe) char *params = NULL;
	dev_t under[KHO_TABLE_UNDER];
	int ret = 0;

	for (size_t i = 0; !ret && i < t->n_under; i++) {
		const Kho__BlockRef *r = t->under[i];

		if (r->layer)
			under[i] = m->layer[r->layer - 1].dev;
		else
			ret = use_leaf(m, r->disk, r->partition, &under[i], err);
	}
	if (!ret)
		ret = kho_table_join(t, under, key, &params, err);
	if (!ret && kho_dm_table_add(out, t->start, t->sectors, t->type, params))
		ret = kho_fail(err, -ENOMEM, "out of memory");
	return ret;
}

/* The source that lies on a mapping, or NULL: then only other mappings do. */
static const Kho__BlockSource *source_on(const Kho__Block *b, size_t layer, size_t *out)
{
	for (size_t i = 0; i < b->n_source; i++)
		if (b->source[i]->layer == layer + 1)
			return *out = i, b->source[i];
	return NULL;
}

static int build_layer(struct kho_map *m, size_t i, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };
	const Kho__BlockLayer *l = m->b->layer[i];
	_cleanup_(kho_wipe) char *key = l->key.len ? strndup((const char *)l->key.data, l->key.len) : NULL;
	struct map_layer *o = &m->layer[i];
	size_t source;
	int ret = 0;

	for (size_t k = 0; !ret && k < l->n_target; k++)
		ret = target_table(m, l->target[k], key, &t, err);
	if (ret < 0)
		return kho_wrap(err, "%s", l->name);
	if (source_on(m->b, i, &source))
		snprintf(o->name, sizeof(o->name), KHO_DM_UNDER "%zu", source);
	else
		snprintf(o->name, sizeof(o->name), "%s", l->name);
	t.readonly = l->readonly;
	o->made = true;
	return kho_dm_create(o->name, strncmp(o->name, KHO_DM_UNDER, strlen(KHO_DM_UNDER)) ? l->uuid : "", &t, &o->dev, err);
}

static int build_source(struct kho_map *m, size_t i, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };
	const Kho__BlockSource *s = m->b->source[i];
	const Kho__BlockLayer *l = s->layer ? m->b->layer[s->layer - 1] : NULL;
	struct map_source *o = &m->source[i];
	char params[128], ram[64];
	dev_t dev;
	int ret = 0;

	if (l)
		o->origin = m->layer[s->layer - 1].dev;
	else
		ret = use_leaf(m, s->disk, s->partition, &o->origin, err);
	snprintf(ram, sizeof(ram), "/sys/block/ram%zu", i);
	if (!ret)
		ret = kho_dev_number(ram, &o->cow, err);
	if (ret < 0)
		return ret;
	if (l)
		snprintf(o->name, sizeof(o->name), "%s", l->name);
	else
		snprintf(o->name, sizeof(o->name), KHO_DM_PREFIX "%zu", i);
	snprintf(params, sizeof(params), "%u:%u %u:%u P 8", major(o->origin), minor(o->origin), major(o->cow), minor(o->cow));
	if (kho_dm_table_add(&t, 0, s->sectors, "snapshot", params))
		return kho_fail(err, -ENOMEM, "out of memory");
	o->mapped = true;
	return kho_dm_create(o->name, l ? l->uuid : "", &t, &dev, err);
}

int kho_map_build(struct kho_map *m, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < m->b->n_layer; i++)
		ret = build_layer(m, i, err);
	for (size_t i = 0; !ret && i < m->b->n_source; i++)
		ret = build_source(m, i, err);
	return ret;
}

/* A file system lives on for moments after the last one who had it: the kernel lets go of it in its own time. */
static int remove_free(const char *name, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + KHO_BLOCK_FREE_US;
	int ret;

	while ((ret = kho_dm_remove(name, err)) == -EBUSY && kho_clock_us() < end)
		usleep(5000);
	return ret;
}

/* All devices of ours, the stores and the caches: the disks are the other kernel's again. */
static int unbuild(struct kho_map *m, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = m->b->n_source; i-- > 0;) {
		struct map_source *s = &m->source[i];

		if (s->mapped)
			kho_first_failure(remove_free(s->name, &e), &e, &first, err);
		/* a store that is used again must begin with zeros */
		if (s->cow)
			kho_first_failure(kho_dev_clear(s->cow, &e), &e, &first, err);
		memset(s, 0, sizeof(*s));
	}
	for (size_t i = m->b->n_layer; i-- > 0;) {
		if (m->layer[i].made)
			kho_first_failure(remove_free(m->layer[i].name, &e), &e, &first, err);
		memset(&m->layer[i], 0, sizeof(m->layer[i]));
	}
	for (; m->n_leaf; m->n_leaf--) {
		kho_first_failure(kho_dev_drop_cache(m->leaf[m->n_leaf - 1], &e), &e, &first, err);
		kho_first_failure(kho_dev_readonly(m->leaf[m->n_leaf - 1], 0, &e), &e, &first, err);
	}
	return first;
}

int kho_map_undo(struct kho_map *m, struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_pci_addr a;
	int first = unbuild(m, err);

	for (size_t i = m->b->n_disk; i-- > 0;) {
		if (m->taken[i] && kho_pci_parse(m->b->disk[i]->pci, &a))
			kho_first_failure(env->ops->pci_give(env, a, &e), &e, &first, err);
		m->taken[i] = false;
	}
	return first;
}

/*
 * What the udev of an initramfs leaves behind for that of the root: this mapping is set up. Without it the device would not be there for
 * systemd, and units that wait for it would fail. (Of no use, and no harm, where no udev starts.)
 */
static int announce(const char *name, struct kho_err *err)
{
	static const char text[] = "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\nE:DM_UDEV_RULES_VSN=3\nV:1\n";
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	if (stat(path, &st) < 0)
		return kho_fail_errno(err, "%s", path);
	int ret = kho_make_dirs("/run/udev/data", 0755, err);

	snprintf(path, sizeof(path), "/run/udev/data/b%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return ret < 0 || kho_exists(path) ? ret : kho_write_file(path, text, sizeof(text) - 1, err);
}

int kho_map_merge(struct kho_map *m, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < m->b->n_layer; i++)
		kho_first_failure(announce(m->b->layer[i]->name, &e), &e, &first, err);

	for (size_t i = 0; i < m->n_leaf; i++)
		kho_first_failure(kho_dev_readonly(m->leaf[i], 0, &e), &e, &first, err);
	for (size_t i = 0; i < m->b->n_source; i++) {
		struct map_source *s = &m->source[i];

		if (s->mapped)
			kho_first_failure(kho_merge_begin(s->name, s->origin, s->cow, m->b->source[i]->sectors, &e), &e, &first, err);
	}
	return first;
}
