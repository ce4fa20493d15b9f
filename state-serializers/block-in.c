// SPDX-License-Identifier: GPL-2.0-only
/*
 * block, incoming side: find the disk again by PCI address, serial and size (names shift), look at
 * it through snapshots with their stores in RAM, mount; after commit merge.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define FIND_TIMEOUT_US (5 * 1000000u)

static struct {
	Kho__Block *b;
	bool *taken;		    /* for each disk */
	char (*name)[NAME_MAX + 1]; /* for each disk: its name here */
	struct in_source {
		dev_t origin, cow;
		bool mapped, hidden;
	} * s;
	bool *mounted; /* for each mount */
} in;

static void in_done(void)
{
	if (in.b)
		kho__block__free_unpacked(in.b, NULL);
	free(in.taken);
	free(in.name);
	free(in.s);
	free(in.mounted);
	memset(&in, 0, sizeof(in));
}

/* With room for what it is put below. */
static bool is_target(const char *path)
{
	return kho_path_is_plain(path) && strlen(path) < PATH_MAX / 2;
}

static int check(const Kho__Block *b, struct kho_err *err)
{
	struct kho_pci_addr a;
	bool ok = true;

	for (size_t i = 0; i < b->n_disk; i++)
		ok = ok && kho_pci_parse(b->disk[i]->pci, &a);
	for (size_t i = 0; i < b->n_source; i++)
		ok = ok && b->source[i]->disk < b->n_disk;
	for (size_t i = 0; i < b->n_mount; i++)
		ok = ok && b->mount[i]->source < b->n_source && is_target(b->mount[i]->target);
	for (size_t i = 0; i < b->n_ram; i++)
		ok = ok && is_target(b->ram[i]->target);
	return ok ? 0 : kho_fail(err, -EBADMSG, "state of block devices: does not fit together");
}

static int set_state(const struct kho_blob *blob, struct kho_err *err)
{
	Kho__Block *b = kho_pb_unpack(&kho__block__descriptor, blob, err);

	if (!b)
		return err ? err->code : -EBADMSG;
	if (check(b, err) < 0) {
		kho__block__free_unpacked(b, NULL);
		return -EBADMSG;
	}
	in_done();
	in.b = b;
	in.taken = calloc(b->n_disk + 1, sizeof(*in.taken));
	in.name = calloc(b->n_disk + 1, sizeof(*in.name));
	in.s = calloc(b->n_source + 1, sizeof(*in.s));
	in.mounted = calloc(b->n_mount + 1, sizeof(*in.mounted));
	if (!in.taken || !in.name || !in.s || !in.mounted) {
		in_done();
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static void dm_name(size_t i, char name[KHO_DM_NAME])
{
	snprintf(name, KHO_DM_NAME, KHO_DM_PREFIX "%zu", i);
}

static void hidden_dir(struct kho_env *env, size_t i, char dir[PATH_MAX])
{
	snprintf(dir, PATH_MAX, "%s/disk-%zu", env->run_dir, i);
}

/* Where mount i belongs on this side. */
static void target_of(struct kho_env *env, size_t i, char target[PATH_MAX])
{
	const char *t = in.b->mount[i]->target, *root = kho_new_root(env);

	snprintf(target, PATH_MAX, "%s%s", root, *root && !strcmp(t, "/") ? "" : t);
}

static int load_modules(struct kho_err *err)
{
	uint64_t kib = 0;
	char brd[64];
	int ret = 0;

	for (size_t i = 0; i < in.b->n_source; i++)
		if (in.b->source[i]->cow_bytes >> 10 > kib)
			kib = in.b->source[i]->cow_bytes >> 10;
	/* pages are allocated when they are written */
	snprintf(brd, sizeof(brd), "brd rd_nr=%zu rd_size=%llu", in.b->n_source,
		 (unsigned long long)kib);
	const char *const base[] = { "dm_mod", "dm_snapshot", brd };

	ret = kho_modules_load(base, KHO_ARRAY_SIZE(base), err);
	for (size_t i = 0; !ret && i < in.b->n_disk; i++)
		ret = kho_modules_load((const char *const *)in.b->disk[i]->modules,
				       in.b->disk[i]->n_modules, err);
	for (size_t i = 0; !ret && i < in.b->n_source; i++) {
		const char *const fs[] = { in.b->source[i]->fstype };

		ret = kho_modules_load(fs, 1, err);
	}
	return ret;
}

int kho_block_prepare(struct kho_env *env, const struct kho_blob *blob, struct kho_err *err)
{
	int ret = set_state(blob, err);

	if (ret < 0 || !in.b->n_disk)
		return ret;
	ret = load_modules(err);
	if (!ret)
		ret = kho_dm_ready(err);
	if (!ret && *kho_new_root(env))
		return kho_root_prepare(env, in.b, err);
	for (size_t i = 0; !ret && i < in.b->n_mount; i++)
		ret = kho_make_dirs(in.b->mount[i]->target, 0755, err);
	return ret;
}

int kho_block_unprepare(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	if (in.b && in.b->n_disk)
		kho_module_unload("brd");
	in_done();
	return 0;
}

/* Is /sys/block/NAME that disk? */
static bool is_disk(const Kho__BlockDisk *d, const char *name)
{
	_cleanup_free_ char *serial = NULL, *size = NULL;
	char path[PATH_MAX], pci[KHO_PCI_LEN];

	snprintf(path, sizeof(path), "/sys/block/%s", name);
	if (kho_pci_of_sysfs("", path, pci) < 0 || strcmp(pci, d->pci))
		return false;
	snprintf(path, sizeof(path), "/sys/block/%s/size", name);
	if (kho_read_line(path, &size, NULL) < 0 || strtoull(size, NULL, 10) != d->sectors)
		return false;
	serial = kho_block_serial("", name);
	return serial && !strcmp(serial, d->serial);
}

static int find_disk(size_t i, struct kho_err *err)
{
	const Kho__BlockDisk *d = in.b->disk[i];
	uint64_t end = kho_clock_us() + FIND_TIMEOUT_US;

	for (;;) {
		_cleanup_closedir_ DIR *dir = opendir("/sys/block");

		for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
			if (e->d_name[0] == '.' || !is_disk(d, e->d_name))
				continue;
			snprintf(in.name[i], sizeof(in.name[i]), "%s", e->d_name);
			return 0;
		}
		if (kho_clock_us() > end)
			return kho_fail(err, -ENODEV,
					"no disk of %llu sectors with serial \"%s\" on %s",
					(unsigned long long)d->sectors, d->serial, d->pci);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

/* The node of a source in sysfs: the disk, or the partition with that number. */
static int find_source(size_t i, dev_t *out, struct kho_err *err)
{
	const Kho__BlockSource *s = in.b->source[i];
	const char *disk = in.name[s->disk];
	char dir[PATH_MAX], path[PATH_MAX + 300];

	snprintf(dir, sizeof(dir), "/sys/block/%s", disk);
	if (!s->partition)
		return kho_dev_number(dir, out, err);
	_cleanup_closedir_ DIR *d = opendir(dir);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		_cleanup_free_ char *number = NULL;

		snprintf(path, sizeof(path), "%s/%s/partition", dir, e->d_name);
		if (e->d_name[0] == '.' || kho_read_line(path, &number, NULL) < 0 ||
		    strtoul(number, NULL, 10) != s->partition)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		return kho_dev_number(path, out, err);
	}
	return kho_fail(err, -ENODEV, "%s has no partition %u", disk, s->partition);
}

static int map_source(struct kho_env *env, size_t i, struct kho_err *err)
{
	char name[KHO_DM_NAME], params[128], node[64], ram[64], dir[PATH_MAX];
	struct in_source *s = &in.s[i];
	dev_t dev;
	int ret = find_source(i, &s->origin, err);

	snprintf(ram, sizeof(ram), "/sys/block/ram%zu", i);
	if (!ret)
		ret = kho_dev_number(ram, &s->cow, err);
	if (!ret)
		ret = kho_dev_readonly(s->origin, 1, err);
	if (ret < 0)
		return ret;
	dm_name(i, name);
	snprintf(params, sizeof(params), "%u:%u %u:%u P 8", major(s->origin), minor(s->origin),
		 major(s->cow), minor(s->cow));
	s->mapped = true;
	ret = kho_dm_create(name, "snapshot", in.b->source[i]->sectors, params, &dev, err);
	if (ret < 0)
		return ret;
	snprintf(node, sizeof(node), "/dev/mapper/%s", name);
	hidden_dir(env, i, dir);
	s->hidden = true;
	return kho_mount_hidden(node, in.b->source[i]->fstype, in.b->source[i]->options, dir, env,
				err);
}

static int take_disks(struct kho_env *env, struct kho_err *err)
{
	struct kho_pci_addr a;
	int ret = 0;

	for (size_t i = 0; !ret && i < in.b->n_disk; i++) {
		bool again = false;

		/* several disks on one function */
		for (size_t k = 0; k < i; k++)
			again |= !strcmp(in.b->disk[k]->pci, in.b->disk[i]->pci);
		in.taken[i] = !again;
		if (!again && kho_pci_parse(in.b->disk[i]->pci, &a))
			ret = env->ops->pci_take(env, a, err);
		if (!ret)
			ret = find_disk(i, err);
	}
	return ret;
}

int kho_block_retrieve(struct kho_env *env, const struct kho_blob *blob, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	char dir[PATH_MAX], target[PATH_MAX];
	int ret = set_state(blob, err);

	if (ret < 0 || !in.b->n_disk)
		return ret;
	ret = take_disks(env, err);
	kho_phase(env, "disk take", begin);
	begin = kho_clock_us();
	for (size_t i = 0; !ret && i < in.b->n_source; i++)
		ret = map_source(env, i, err);
	for (size_t i = 0; !ret && i < in.b->n_mount; i++) {
		const Kho__BlockMount *m = in.b->mount[i];

		hidden_dir(env, m->source, dir);
		target_of(env, i, target);
		ret = kho_mount_at(dir, m->root, target, m->options, m->propagation, err);
		in.mounted[i] = !ret;
	}
	for (size_t i = 0; !ret && i < in.b->n_source; i++) {
		hidden_dir(env, i, dir);
		(void)!umount2(dir, 0);
		(void)!rmdir(dir);
		in.s[i].hidden = false;
	}
	/* last: the hidden places are below /run, which is bound with all that is mounted there */
	if (!ret && *kho_new_root(env))
		ret = kho_root_furnish(env, in.b, err);
	kho_phase(env, "mount", begin);
	return ret;
}

int kho_block_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; in.b && !ret && i < in.b->n_source; i++) {
		char name[KHO_DM_NAME], type[32], status[256];
		struct kho_err e = KHO_ERR_INIT;
		unsigned long long used, total;
		uint64_t sectors;

		dm_name(i, name);
		if (kho_dm_status(name, false, type, status, &sectors, &e) < 0)
			ret = kho_report_add(r, KHO_V_NO, "device", name, NULL, "%s", e.msg);
		else if (sscanf(status, "%llu/%llu", &used, &total) != 2)
			ret = kho_report_add(r, KHO_V_NO, "device", name, NULL,
					     "its store for what is written before commit: %s",
					     status);
		else
			ret = kho_report_add(r, KHO_V_OK, "device", name, NULL,
					     "%llu of %llu KiB of its store in use", used / 2,
					     total / 2);
	}
	for (size_t i = 0; in.b && !ret && i < in.b->n_mount; i++) {
		char target[PATH_MAX];
		struct statvfs st;

		target_of(env, i, target);
		if (statvfs(target, &st) < 0)
			ret = kho_report_add(r, KHO_V_NO, "mount", in.b->mount[i]->target, NULL,
					     "%s", strerror(errno));
	}
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}

static int unmap_source(struct kho_env *env, size_t i, struct kho_err *err)
{
	char name[KHO_DM_NAME], dir[PATH_MAX];
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	if (in.s[i].hidden) {
		hidden_dir(env, i, dir);
		(void)!umount2(dir, 0);
		(void)!rmdir(dir);
	}
	if (in.s[i].mapped) {
		dm_name(i, name);
		kho_first_failure(kho_dm_remove(name, &e), &e, &first, err);
	}
	/* a store that is used again must begin with zeros */
	if (in.s[i].cow)
		kho_first_failure(kho_dev_clear(in.s[i].cow, &e), &e, &first, err);
	if (in.s[i].origin) {
		kho_first_failure(kho_dev_drop_cache(in.s[i].origin, &e), &e, &first, err);
		kho_first_failure(kho_dev_readonly(in.s[i].origin, 0, &e), &e, &first, err);
	}
	memset(&in.s[i], 0, sizeof(in.s[i]));
	return first;
}

int kho_block_discard(struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_pci_addr a;
	char target[PATH_MAX];
	int first = 0;

	if (in.b && *kho_new_root(env))
		kho_root_strip(env, in.b);
	for (size_t i = in.b ? in.b->n_mount : 0; i-- > 0;) {
		if (!in.mounted[i])
			continue;
		target_of(env, i, target);
		if (umount2(target, UMOUNT_NOFOLLOW) < 0) {
			kho_fail_errno(&e, "unmount %s", target);
			kho_first_failure(e.code, &e, &first, err);
		}
		in.mounted[i] = false;
	}
	for (size_t i = in.b ? in.b->n_source : 0; i-- > 0;)
		kho_first_failure(unmap_source(env, i, &e), &e, &first, err);
	for (size_t i = in.b ? in.b->n_disk : 0; i-- > 0;) {
		if (in.taken[i] && kho_pci_parse(in.b->disk[i]->pci, &a))
			kho_first_failure(env->ops->pci_give(env, a, &e), &e, &first, err);
		in.taken[i] = false;
	}
	return first;
}

int kho_block_finish(struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	char name[KHO_DM_NAME];
	int first = 0;

	(void)env;
	if (!in.b || !in.b->n_source)
		return 0;
	for (size_t i = 0; i < in.b->n_source; i++) {
		struct in_source *s = &in.s[i];

		if (!s->mapped)
			continue;
		dm_name(i, name);
		kho_first_failure(kho_dev_readonly(s->origin, 0, &e), &e, &first, err);
		kho_first_failure(kho_merge_begin(name, s->origin, s->cow, in.b->source[i]->sectors,
						  &e),
				  &e, &first, err);
	}
	kho_first_failure(kho_merge_watch(&e), &e, &first, err);
	in_done();
	return first;
}
