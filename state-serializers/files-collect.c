// SPDX-License-Identifier: GPL-2.0-only
/*
 * One file into an entry: what it is, and its contents to the incoming kernel.  And the scan for what
 * has changed: a change of anything in a file moves its ctime, which nobody can set back.
 *
 * Anybody may write to some of these directories, and swap there what we have just looked at for a link to
 * what only root may read, or for a FIFO.  So each file is held by a descriptor that opens nothing (O_PATH), and
 * what it is, its attributes and its contents are all asked of that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

#define NS_PER_S 1000000000ll
#define FD_NAME 32 /* room for "/proc/self/fd/..." */

/* Short files go with the list: each of the others costs a round trip to the incoming kernel, in the blackout. */
#define SHORT_BYTES  (48u << 10)
#define INLINE_BYTES (4u << 20) /* in all: the list is one message */

/* Deletions are carried in and below these only: elsewhere the incoming kernel's root has files of its own. */
static const char *const deletable[] = { "/var", "/home", "/root", "/srv", "/opt", "/tmp", "/mnt", "/dev/shm" };

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

/* There is nothing (any more), or what is there is reached through a link only. */
static bool is_gone(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Name of what a descriptor holds: leads to that itself, a link included. */
static void name_of(int fd, char name[FD_NAME])
{
	snprintf(name, FD_NAME, "/proc/self/fd/%d", fd);
}

/* fd is the directory's from now on. */
static DIR *dir_of(int fd)
{
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

/* O_PATH descriptor of what is at path, and what it is. -ELOOP: a link on the way. */
static int hold(const struct kho_ramroot *f, const char *path, struct stat *st)
{
	const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	_cleanup_close_ int root = open(*f->root ? f->root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = root < 0 ? -1 : (int)syscall(SYS_openat2, root, *path && path[1] ? path + 1 : ".", &how, sizeof(how));

	return fd < 0 || fstat(fd, st) < 0 ? -errno : steal_fd(fd);
}

/* The same of a directory, links followed. */
static int hold_dir(const struct kho_ramroot *f, const char *path, struct stat *st)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", f->root, path);
	_cleanup_close_ int fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fstat(fd, st) < 0 ? -errno : steal_fd(fd);
}

/* A regular file that is held, to be read. Not to be waited for, either: somebody may have a lease on it. */
static int open_held(int held)
{
	char name[FD_NAME];

	name_of(held, name);
	int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kho_ramroot_open(const struct kho_ramroot *f, const char *path)
{
	struct stat st;
	_cleanup_close_ int held = hold(f, path, &st);

	if (held < 0)
		return held;
	return S_ISREG(st.st_mode) ? open_held(held) : -EINVAL;
}

static int add_xattrs(Kho__FileEntry *e, int held)
{
	char names[4096], value[4096], full[FD_NAME];

	name_of(held, full);
	ssize_t n = listxattr(full, names, sizeof(names));

	for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
		ssize_t len = getxattr(full, p, value, sizeof(value));
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

static int add_names(Kho__FileEntry *e, int held)
{
	_cleanup_closedir_ DIR *d = dir_of(openat(held, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	for (struct dirent *de = d ? readdir(d) : NULL; de; de = readdir(d)) {
		if (is_dots(de->d_name))
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

static int add_short(struct kho_ramroot *f, Kho__FileEntry *e, int held, struct kho_err *err)
{
	_cleanup_close_ int fd = open_held(held);
	char *data = NULL;
	size_t len = 0;

	if (fd < 0)
		return kho_fail(err, fd, "open %s: %s", e->path, strerror(-fd));
	int ret = kho_read_fd(fd, e->path, SHORT_BYTES, &data, &len, err);

	e->data.data = (uint8_t *)data;
	e->data.len = len;
	f->inline_bytes += len;
	return ret < 0 ? ret : 0;
}

static int add_contents(struct kho_ramroot *f, Kho__FileEntry *e, int held, off_t size, struct kho_err *err)
{
	char name[64], local[FD_NAME];
	int ret;

	/* half: it may grow before it is read */
	if (size <= (off_t)SHORT_BYTES / 2 && f->inline_bytes < INLINE_BYTES)
		return add_short(f, e, held, err);
	snprintf(name, sizeof(name), "files/%u", f->next_image++);
	if (kho_pb_set(&e->image, name))
		return kho_fail(err, -ENOMEM, "out of memory");
	name_of(held, local);
	ret = f->env->ops->put_file(f->env, local, name, err);
	return ret < 0 ? kho_wrap(err, "%s", e->path) : 0;
}

static bool may_delete_in(const char *path)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(deletable); i++)
		if (kho_path_is_below(path, deletable[i]))
			return true;
	/* what lies in /run itself is the incoming init's as well */
	return kho_path_is_below(path, "/run") && strcmp(path, "/run");
}

static int fill(struct kho_ramroot *f, Kho__FileEntry *e, const char *path, int held, const struct stat *st, bool list_names,
		struct kho_err *err)
{
	char target[PATH_MAX];

	e->mode = st->st_mode;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->mtime_ns = ns_of(st->st_mtim);
	e->rdev = st->st_rdev;
	if (kho_pb_set(&e->path, path) || add_xattrs(e, held))
		return kho_fail(err, -ENOMEM, "out of memory");
	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(held, "", target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		return kho_pb_set(&e->target, target) ? kho_fail(err, -ENOMEM, "out of memory") : 0;
	}
	if (S_ISDIR(st->st_mode) && list_names && may_delete_in(path))
		return add_names(e, held) ? kho_fail(err, -ENOMEM, "out of memory") : 0;
	return S_ISREG(st->st_mode) ? add_contents(f, e, held, st->st_size, err) : 0;
}

static int add_held(struct kho_ramroot *f, const char *path, int held, const struct stat *st, bool list_names, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	struct stat now;

	if (S_ISSOCK(st->st_mode) || is_ours(f, path))
		return 0;
	Kho__FileEntry *entry = malloc(sizeof(*entry));

	if (!entry)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__file_entry__init(entry);
	int ret = fill(f, entry, path, held, st, list_names, &e);

	if (!ret && kho_pb_append(&f->list->entry, &f->list->n_entry, entry))
		ret = kho_fail(&e, -ENOMEM, "out of memory");
	if (!ret)
		return 0;
	kho__file_entry__free_unpacked(entry, NULL);
	/* deleted while we looked */
	if (!fstat(held, &now) && !now.st_nlink)
		return 0;
	if (err)
		*err = e;
	return ret;
}

static int not_held(int code, const char *path, struct kho_err *err)
{
	return is_gone(code) ? 0 : kho_fail(err, code, "open %s: %s", path, strerror(-code));
}

int kho_ramroot_add(struct kho_ramroot *f, const char *path, bool list_names, struct kho_err *err)
{
	struct stat st;
	_cleanup_close_ int held = hold(f, path, &st);

	/* the place of a socket may be named through a link, and of a directory no contents are read */
	if (held == -ELOOP)
		held = hold_dir(f, path, &st);
	return held < 0 ? not_held(held, path, err) : add_held(f, path, held, &st, list_names, err);
}

int kho_ramroot_add_parents(struct kho_ramroot *f, const char *path, struct kho_err *err)
{
	char part[PATH_MAX];
	struct stat st;
	int ret = 0;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = strchr(part + 1, '/'); p && !ret; p = strchr(p + 1, '/')) {
		bool there = false;

		*p = '\0';
		for (size_t i = 0; i < f->list->n_entry; i++)
			there |= !strcmp(f->list->entry[i]->path, part);
		_cleanup_close_ int held = there ? -1 : hold_dir(f, part, &st);

		if (held >= 0)
			ret = add_held(f, part, held, &st, false, err);
		*p = '/';
	}
	return ret;
}

/* --- the scan --- */

struct walk {
	struct kho_ramroot *f;
	dev_t dev;
	int64_t since;
	bool one_level;
	char path[PATH_MAX]; /* where it stands */
};

static int walk_dir(struct walk *w, int fd, struct kho_err *err);

/* w->path, which is name in the directory dir. */
static int walk_one(struct walk *w, int dir, const char *name, struct kho_err *err)
{
	struct stat st;
	int ret = 0;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != w->dev || is_ours(w->f, w->path))
		return 0;
	if (ns_of(st.st_ctim) > w->since) {
		_cleanup_close_ int held = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		/* the name may be another file's by now */
		if (held < 0 || fstat(held, &st) < 0)
			return not_held(-errno, w->path, err);
		if (st.st_dev != w->dev)
			return 0;
		ret = add_held(w->f, w->path, held, &st, true, err);
	}
	if (ret || !S_ISDIR(st.st_mode) || w->one_level)
		return ret;
	return walk_dir(w, openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err);
}

/* All in the directory w->path, whose descriptor fd is closed. */
static int walk_dir(struct walk *w, int fd, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = dir_of(fd);
	size_t len = strlen(w->path), room = sizeof(w->path) - len;
	int ret = 0;

	for (struct dirent *e = d ? readdir(d) : NULL; e && !ret; e = readdir(d))
		if (!is_dots(e->d_name) && snprintf(w->path + len, room, "/%s", e->d_name) < (int)room)
			ret = walk_one(w, dirfd(d), e->d_name, err);
	w->path[len] = '\0';
	return ret;
}

int kho_ramroot_scan(struct kho_ramroot *f, const char *dir, int64_t since_ns, bool one_level, struct kho_err *err)
{
	struct walk w = { .f = f, .since = since_ns, .one_level = one_level };
	struct stat st;
	_cleanup_close_ int held = hold(f, dir, &st);
	int ret = 0;

	if (held < 0)
		return not_held(held, dir, err);
	if (!S_ISDIR(st.st_mode))
		return 0;
	/* what is deleted in it moves its ctime; before the first look nothing of it has been sent that could have been deleted */
	if (*dir && ns_of(st.st_ctim) > since_ns)
		ret = add_held(f, dir, held, &st, since_ns > 0, err);
	w.dev = st.st_dev;
	snprintf(w.path, sizeof(w.path), "%s", dir);
	return ret ? ret : walk_dir(&w, openat(held, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err);
}
