// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files serializer, for files in RAM.  A root in RAM: the incoming kernel has a copy of it, packed at a
 * certain moment (run_dir/packed holds it); what has changed since is sent while everything runs, and in
 * the blackout what workloads may have written since the last look.  A root on a disk: what lies on tmpfs,
 * of /run only what workloads use and the directories of their units (the rest is the init system's, and made
 * anew by it).
 *
 * A copy of workloads has no disks: what of theirs lies on one is sent as well, with the same path in its root (files-copy.c).
 *
 * Not carried: deletions outside /var, /home, /root, /srv, /opt, /tmp, /mnt, /dev/shm and what lies below /run (the incoming
 * kernel's root has files of its own), hard links between files (each becomes a file of its own), changes that others
 * than workloads make between the last round and the end of the outgoing kernel.
 */
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

static struct {
	Kho__Files *list;	/* found and sent, not yet told */
	int64_t since_ns;	/* everything up to here has been looked at */
	unsigned next_image;
	size_t inline_bytes;	/* in the list */
	char **dirs;		/* carried whole, beside those of everybody */
	size_t ndirs;
} out;

static void dirs_clear(void)
{
	for (size_t i = 0; i < out.ndirs; i++)
		free(out.dirs[i]);
	free(out.dirs);
	out.dirs = NULL;
	out.ndirs = 0;
}

static void list_clear(void)
{
	if (out.list)
		kho__files__free_unpacked(out.list, NULL);
	out.list = NULL;
}

static int list_new(struct kho_err *err)
{
	list_clear();
	out.list = malloc(sizeof(*out.list));
	if (!out.list)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__files__init(out.list);
	out.inline_bytes = 0;
	return 0;
}

/* The next look goes on where the last one has ended: image names, and how much lies in the list itself. */
static struct kho_ramroot collector(struct kho_env *env)
{
	return (struct kho_ramroot){ .env = env, .root = "", .list = out.list, .next_image = out.next_image, .inline_bytes = out.inline_bytes };
}

static void collected(const struct kho_ramroot *f)
{
	out.next_image = f->next_image;
	out.inline_bytes = f->inline_bytes;
}

/* One tick earlier: file times are those of the last timer tick. */
static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec - 20000000;
}

static int packed_at(struct kho_env *env, int64_t *out_ns, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX], *end;

	snprintf(path, sizeof(path), "%s/packed", env->run_dir);
	if (kho_read_line(path, &text, err) < 0)
		return kho_wrap(err, "when was the root file system packed?");
	*out_ns = strtoll(text, &end, 10);
	return *text && !*end ? 0 : kho_fail(err, -EINVAL, "%s: not a time", path);
}

static int scan_whole(struct kho_ramroot *f, int64_t since_ns, struct kho_err *err)
{
	struct statfs fs;
	int ret = 0;

	/* a copy takes what it holds */
	for (const char *const *p = kho_ram_whole; !ret && !f->env->copy && *p; p++)
		if (!statfs(*p, &fs) && fs.f_type == TMPFS_MAGIC)
			ret = kho_ramroot_scan(f, *p, since_ns, false, err);
	for (size_t i = 0; !ret && i < out.ndirs; i++)
		ret = kho_ramroot_scan(f, out.dirs[i], since_ns, false, err);
	return ret;
}

/* What the directories of carried units lie in; they are scanned like the others. */
static int begin_dirs(struct kho_ramroot *f, struct kho_err *err)
{
	struct stat st;
	int ret;

	dirs_clear();
	ret = kho_ramroot_runtime_dirs("", f->env->workloads, &out.dirs, &out.ndirs, err);
	for (size_t i = 0; !ret && i < out.ndirs; i++)
		if (!lstat(out.dirs[i], &st) && S_ISDIR(st.st_mode))
			ret = kho_ramroot_add_parents(f, out.dirs[i], err);
	return ret;
}

static int scan(struct kho_ramroot *f, int64_t since_ns, struct kho_err *err)
{
	return f->env->root_in_ram ? kho_ramroot_scan(f, "", since_ns, false, err)
				   : scan_whole(f, since_ns, err);
}

static int probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	if (env->copy)
		return kho_ramroot_probe_copy(env, r, err);
	if (!env->root_in_ram)
		return 0;
	if (kho_report_add(r, KHO_V_LOSS, "files", "/", "keep data on a disk, or stop others than workloads from writing",
			   "in RAM: moves as a copy; what others than workloads write while memory is copied may be missing"))
		return kho_fail(err, -ENOMEM, "report: out of memory");
	return 0;
}

static int preserve(struct kho_env *env, unsigned round, struct kho_blob *blob, bool *out_more, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int64_t packed = 0;
	int ret = 0;

	*out_more = false;
	if (!round || !out.list) {
		out.next_image = 0;
		if (env->copy)
			ret = kho_ramroot_copy_fits(env, err);
		if (!ret && (env->root_in_ram || env->copy))
			ret = packed_at(env, &packed, err);
		out.since_ns = env->root_in_ram ? packed : 0;
		if (!ret)
			ret = list_new(err);
	}
	if (ret < 0)
		return ret;
	struct kho_ramroot f = collector(env);
	int64_t now = now_ns();

	if (!round && !env->root_in_ram)
		ret = begin_dirs(&f, err);
	if (!ret)
		ret = scan(&f, out.since_ns, err);
	if (!ret && !round)
		ret = kho_ramroot_of_workloads(&f, env->copy ? packed : 0, false, err);
	collected(&f);
	out.since_ns = now;
	kho_phase(env, "file scan", begin);
	if (ret < 0 || round)
		return ret;
	kho_note(env, env->root_in_ram ? "%zu files and directories changed since the root was packed"
				       : "%zu files and directories in RAM", out.list->n_entry);
	ret = kho_pb_pack(&out.list->base, blob, err);
	return ret ? ret : list_new(err);
}

static int unpreserve(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	list_clear();
	dirs_clear();
	return 0;
}

static int freeze(struct kho_env *env, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();

	if (!out.list)
		return kho_fail(err, -EINVAL, "freeze before preserve");
	struct kho_ramroot f = collector(env);
	int ret = kho_ramroot_of_workloads(&f, out.since_ns, true, err);

	if (!ret && !env->root_in_ram)
		ret = scan_whole(&f, out.since_ns, err);
	collected(&f);
	kho_phase(env, "written files", begin);
	return ret;
}

static int drain(struct kho_env *env, struct kho_blob *blob, struct kho_err *err)
{
	(void)env;
	return out.list ? kho_pb_pack(&out.list->base, blob, err) : 0;
}

static int apply(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	Kho__Files *list = in && in->len ? kho_pb_unpack(&kho__files__descriptor, in, err) : NULL;

	if (!list)
		return in && in->len ? -EBADMSG : 0;
	int ret = kho_ramroot_apply(env, "", list, err);

	kho__files__free_unpacked(list, NULL);
	return ret;
}

/* processes first: from then on nothing of theirs changes */
static const char *const needs[] = { "proc", NULL };

extern const struct kho_serializer kho_ser_files;
const struct kho_serializer kho_ser_files = {
	.name = "files",
	.order = 50,
	.flags = KHO_SER_COPY,
	.needs = needs,
	.probe = probe,
	.preserve = preserve,
	.unpreserve = unpreserve,
	.freeze = freeze,
	.drain = drain,
	.forget = unpreserve,
	.prepare = apply,
	.retrieve = apply,
};
