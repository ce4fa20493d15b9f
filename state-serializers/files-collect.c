// SPDX-License-Identifier: GPL-2.0-only
/*
 * One file into an entry: what it is, and its contents to the incoming kernel.  And the scan for what
 * has changed: a change of anything in a file moves its ctime, which nobody can set back.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

#define NS_PER_S 1000000000ll

/* Short files go with the list: each of the others costs a round trip to the incoming kernel, in the blackout. */
#define SHORT_BYTES  (48u << 10)
#define INLINE_BYTES (4u << 20) /* in all: the list is one message */

/* Deletions are carried below these only: elsewhere the incoming kernel's root has files of its own. */
static const char *const deletable[] = { "/var/", "/home/", "/root/", "/srv/", "/opt/", "/tmp/", "/run/", "/mnt/" };

static int64_t ns_of(struct timespec t)
{
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Where no directory was given, nothing is. */
static bool is_below(const char *path, const char *dir)
{
	return dir && *dir && kho_path_is_below(path, dir);
}

static bool is_ours(const struct kho_ramroot *f, const char *path)
{
	return is_below(path, f->env->run_dir) || is_below(path, f->env->images_dir);
}

static int add_xattrs(Kho__FileEntry *e, const char *full)
{
	char names[4096], value[4096];
	ssize_t n = llistxattr(full, names, sizeof(names));

	for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
		ssize_t len = lgetxattr(full, p, value, sizeof(value));
		Kho__FileXattr *x = len >= 0 ? malloc(sizeof(*x)) : NULL;

		if (len < 0)
			continue;
		if (!x)
			return -ENOMEM;
		kho__file_xattr__init(x);
		x->value.data = malloc(len ? len : 1);
		if (x->value.data)
			memcpy(x->value.data, value, len);
		x->value.len = len;
		if (!x->value.data || kho_pb_set(&x->name, p) || kho_pb_append(&e->xattr, &e->n_xattr, x)) {
			kho__file_xattr__free_unpacked(x, NULL);
			return -ENOMEM;
		}
	}
	return 0;
}

static int add_names(Kho__FileEntry *e, const char *full)
{
	_cleanup_closedir_ DIR *d = opendir(full);

	for (struct dirent *de = d ? readdir(d) : NULL; de; de = readdir(d)) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		char *name = strdup(de->d_name);

		if (!name || kho_pb_append(&e->names, &e->n_names, name)) {
			free(name);
			return -ENOMEM;
		}
	}
	e->listed = d != NULL;
	return 0;
}

static int add_short(struct kho_ramroot *f, Kho__FileEntry *e, const char *full, struct kho_err *err)
{
	char *data = NULL;
	size_t len = 0;
	int ret = kho_read_file(full, SHORT_BYTES, &data, &len, err);

	e->data.data = (uint8_t *)data;
	e->data.len = len;
	f->inline_bytes += len;
	return ret < 0 ? ret : 0;
}

static int add_contents(struct kho_ramroot *f, Kho__FileEntry *e, const char *full, off_t size, struct kho_err *err)
{
	char name[64];

	/* half: it may grow before it is read */
	if (size <= (off_t)SHORT_BYTES / 2 && f->inline_bytes < INLINE_BYTES)
		return add_short(f, e, full, err);
	snprintf(name, sizeof(name), "files/%u", f->next_image++);
	if (kho_pb_set(&e->image, name))
		return kho_fail(err, -ENOMEM, "out of memory");
	return f->env->ops->put_file(f->env, full, name, err);
}

static bool may_delete_in(const char *path)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(deletable); i++)
		if (!strncmp(path, deletable[i], strlen(deletable[i])))
			return true;
	return false;
}

static int fill(struct kho_ramroot *f, Kho__FileEntry *e, const char *path, const struct stat *st, bool list_names, struct kho_err *err)
{
	char full[PATH_MAX], target[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", f->root, path);
	e->mode = st->st_mode;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->mtime_ns = ns_of(st->st_mtim);
	e->rdev = st->st_rdev;
	if (kho_pb_set(&e->path, path) || add_xattrs(e, full))
		return kho_fail(err, -ENOMEM, "out of memory");
	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlink(full, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		return kho_pb_set(&e->target, target) ? kho_fail(err, -ENOMEM, "out of memory") : 0;
	}
	if (S_ISDIR(st->st_mode) && list_names && may_delete_in(path))
		return add_names(e, full) ? kho_fail(err, -ENOMEM, "out of memory") : 0;
	return S_ISREG(st->st_mode) ? add_contents(f, e, full, st->st_size, err) : 0;
}

int kho_ramroot_add(struct kho_ramroot *f, const char *path, const struct stat *st, bool list_names, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	char full[PATH_MAX];

	if (S_ISSOCK(st->st_mode) || is_ours(f, path))
		return 0;
	Kho__FileEntry *entry = malloc(sizeof(*entry));

	if (!entry)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__file_entry__init(entry);
	int ret = fill(f, entry, path, st, list_names, &e);

	if (!ret && kho_pb_append(&f->list->entry, &f->list->n_entry, entry))
		ret = kho_fail(&e, -ENOMEM, "out of memory");
	if (!ret)
		return 0;
	kho__file_entry__free_unpacked(entry, NULL);
	snprintf(full, sizeof(full), "%s%s", f->root, path);
	/* deleted while we looked */
	if (access(full, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (err)
		*err = e;
	return ret;
}

int kho_ramroot_add_parents(struct kho_ramroot *f, const char *path, struct kho_err *err)
{
	char part[PATH_MAX], full[PATH_MAX];
	struct stat st;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		bool there = false;

		*p = '\0';
		for (size_t i = 0; i < f->list->n_entry; i++)
			there |= !strcmp(f->list->entry[i]->path, part);
		snprintf(full, sizeof(full), "%s%s", f->root, part);
		if (!there && !stat(full, &st) && S_ISDIR(st.st_mode)) {
			int ret = kho_ramroot_add(f, part, &st, false, err);

			if (ret < 0)
				return ret;
		}
		*p = '/';
	}
	return 0;
}

static int scan_dir(struct kho_ramroot *f, const char *dir, dev_t dev, int64_t since, bool one_level, struct kho_err *err)
{
	char full[PATH_MAX], path[PATH_MAX];
	int ret = 0;

	snprintf(full, sizeof(full), "%s%s", f->root, *dir ? dir : "/");
	_cleanup_closedir_ DIR *d = opendir(full);

	for (struct dirent *e = d ? readdir(d) : NULL; e && !ret; e = readdir(d)) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path) ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev || is_ours(f, path))
			continue;
		if (ns_of(st.st_ctim) > since)
			ret = kho_ramroot_add(f, path, &st, true, err);
		if (!ret && S_ISDIR(st.st_mode) && !one_level)
			ret = scan_dir(f, path, dev, since, false, err);
	}
	return ret;
}

int kho_ramroot_scan(struct kho_ramroot *f, const char *dir, int64_t since_ns, bool one_level, struct kho_err *err)
{
	char full[PATH_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", f->root, *dir ? dir : "/");
	if (lstat(full, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (one_level && ns_of(st.st_ctim) > since_ns) {
		int ret = kho_ramroot_add(f, dir, &st, true, err);

		if (ret < 0)
			return ret;
	}
	return scan_dir(f, dir, st.st_dev, since_ns, one_level, err);
}
