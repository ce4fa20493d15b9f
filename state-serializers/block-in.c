// SPDX-License-Identifier: GPL-2.0-only
/*
 * block, incoming side: what the disks and their mappings need is loaded, then (block-map.c) they are found and looked at through
 * snapshots, mounted; after commit merge.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

static struct {
	Kho__Block *b;
	struct kho_map *map;
	bool *hidden;  /* for each source: mounted at its hidden place */
	bool *mounted; /* for each mount */
} in;

static void in_done(void)
{
	kho_map_free(in.map);
	kho_block_free(in.b);
	free(in.hidden);
	free(in.mounted);
	memset(&in, 0, sizeof(in));
}

/* With room for what it is put below. */
static bool is_target(const char *path)
{
	return kho_path_is_plain(path) && strlen(path) < PATH_MAX / 2;
}

/* Only the kernel's own names of devices: one that leads out of /dev/mapper is none. */
static bool is_layer(const Kho__Block *b, size_t i)
{
	const Kho__BlockLayer *l = b->layer[i];
	bool ok = *l->name && *l->name != '.' && !strchr(l->name, '/') && strlen(l->name) < KHO_DM_NAME && l->n_target &&
		  strncmp(l->name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)) && strlen(l->uuid) < 129;

	for (size_t k = 0; k < l->n_target; k++) {
		const Kho__BlockTarget *t = l->target[k];

		ok = ok && kho_table_type_moves(t->type) && t->n_under <= KHO_TABLE_UNDER;
		/* bottom up */
		for (size_t n = 0; n < t->n_under; n++)
			ok = ok && (t->under[n]->layer ? t->under[n]->layer <= i : t->under[n]->disk < b->n_disk);
	}
	return ok;
}

static int check(const Kho__Block *b, struct kho_err *err)
{
	struct kho_pci_addr a;
	bool ok = true;

	for (size_t i = 0; i < b->n_disk; i++)
		ok = ok && kho_pci_parse(b->disk[i]->pci, &a);
	for (size_t i = 0; i < b->n_layer; i++)
		ok = ok && is_layer(b, i);
	for (size_t i = 0; i < b->n_source; i++)
		ok = ok && (b->source[i]->layer ? b->source[i]->layer <= b->n_layer : b->source[i]->disk < b->n_disk);
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
		kho_block_free(b);
		return -EBADMSG;
	}
	in_done();
	in.b = b;
	in.map = kho_map_new(b);
	in.hidden = calloc(b->n_source + 1, sizeof(*in.hidden));
	in.mounted = calloc(b->n_mount + 1, sizeof(*in.mounted));
	if (!in.map || !in.hidden || !in.mounted) {
		in_done();
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
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

/* "aes-xts-plain64", "capi:xts(aes)-plain64": each word may be an algorithm in a module; there is no modprobe for the kernel to call. */
static void load_cipher(const char *spec)
{
	char name[64];

	for (const char *at = spec; *at && *at != ' ';) {
		size_t len = strcspn(at, "-:(),  ");

		snprintf(name, sizeof(name), "crypto-%.*s", (int)len, at);
		/* built in, or no algorithm */
		(void)!kho_modules_load((const char *const[]){ name }, 1, NULL);
		at += len;
		at += strspn(at, "-:(),");
	}
}

static int load_targets(const Kho__BlockLayer *l, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < l->n_target; i++) {
		const Kho__BlockTarget *t = l->target[i];

		/* "linear" and "striped" are part of dm_mod */
		if (strcmp(t->type, "crypt"))
			continue;
		ret = kho_modules_load((const char *const[]){ "dm_crypt" }, 1, err);
		load_cipher(t->params);
	}
	return ret;
}

/* The kernel would call modprobe, which there may be none. What is not found is the mount's to tell. */
static void load_charsets(const char *options)
{
	char module[64];

	for (int names = 0; names < 2; names++) {
		kho_fat_charset(options, names, module);
		(void)!kho_modules_load((const char *const[]){ module }, 1, NULL);
	}
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
		if (!ret && !strcmp(fs[0], "vfat"))
			load_charsets(in.b->source[i]->options);
	}
	for (size_t i = 0; !ret && i < in.b->n_layer; i++)
		ret = load_targets(in.b->layer[i], err);
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

static int mount_sources(struct kho_env *env, struct kho_err *err)
{
	char node[KHO_DM_NAME + 16], dir[PATH_MAX];
	int ret = 0;

	for (size_t i = 0; !ret && i < in.b->n_source; i++) {
		const Kho__BlockSource *s = in.b->source[i];

		snprintf(node, sizeof(node), "/dev/mapper/%s", kho_map_name(in.map, i));
		hidden_dir(env, i, dir);
		in.hidden[i] = true;
		ret = kho_mount_hidden(node, s->fstype, s->options, dir, env, err);
	}
	return ret;
}

static void unmount_hidden(struct kho_env *env, size_t i)
{
	char dir[PATH_MAX];

	if (!in.hidden[i])
		return;
	hidden_dir(env, i, dir);
	(void)!umount2(dir, 0);
	(void)!rmdir(dir);
	in.hidden[i] = false;
}

int kho_block_retrieve(struct kho_env *env, const struct kho_blob *blob, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	char dir[PATH_MAX], target[PATH_MAX];
	int ret = set_state(blob, err);

	if (ret < 0 || !in.b->n_disk)
		return ret;
	ret = kho_map_take(in.map, env, err);
	kho_phase(env, "disk take", begin);
	begin = kho_clock_us();
	if (!ret)
		ret = kho_map_build(in.map, err);
	/* the kernel has them now */
	kho_block_wipe_keys(in.b);
	kho_phase(env, "disk map", begin);
	begin = kho_clock_us();
	if (!ret)
		ret = mount_sources(env, err);
	for (size_t i = 0; !ret && i < in.b->n_mount; i++) {
		const Kho__BlockMount *m = in.b->mount[i];

		hidden_dir(env, m->source, dir);
		target_of(env, i, target);
		ret = kho_mount_at(dir, m->root, target, m->options, m->propagation, err);
		in.mounted[i] = !ret;
	}
	for (size_t i = 0; !ret && i < in.b->n_source; i++)
		unmount_hidden(env, i);
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
		const char *name = kho_map_name(in.map, i);
		char type[32], status[256];
		struct kho_err e = KHO_ERR_INIT;
		unsigned long long used, total;
		uint64_t sectors;

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

/* Who had it may be dead already, and its files not yet closed. */
static int unmount_free(const char *target)
{
	uint64_t end = kho_clock_us() + KHO_BLOCK_FREE_US;
	int ret;

	while ((ret = umount2(target, UMOUNT_NOFOLLOW)) < 0 && errno == EBUSY && kho_clock_us() < end)
		usleep(5000);
	return ret;
}

int kho_block_discard(struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	char target[PATH_MAX];
	int first = 0;

	if (in.b && *kho_new_root(env))
		kho_root_strip(env, in.b);
	for (size_t i = in.b ? in.b->n_mount : 0; i-- > 0;) {
		if (!in.mounted[i])
			continue;
		target_of(env, i, target);
		if (unmount_free(target) < 0) {
			kho_fail_errno(&e, "unmount %s", target);
			kho_first_failure(e.code, &e, &first, err);
		}
		in.mounted[i] = false;
	}
	for (size_t i = in.b ? in.b->n_source : 0; i-- > 0;)
		unmount_hidden(env, i);
	if (in.map)
		kho_first_failure(kho_map_undo(in.map, env, &e), &e, &first, err);
	return first;
}

int kho_block_inherit(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	return in.b && in.b->n_source ? kho_merge_watch(err) : 0;
}

int kho_block_finish(struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	(void)env;
	if (!in.b || !in.b->n_source)
		return 0;
	kho_first_failure(kho_map_merge(in.map, &e), &e, &first, err);
	kho_first_failure(kho_merge_watch(&e), &e, &first, err);
	in_done();
	return first;
}
