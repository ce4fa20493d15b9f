// SPDX-License-Identifier: GPL-2.0-only
/*
 * Put carried files where they belong.  A regular file appears under its name whole, by rename.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

static int set_meta(const Kho__FileEntry *e, const char *full, struct kho_err *err)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
				 { .tv_sec = e->mtime_ns / 1000000000,
				   .tv_nsec = e->mtime_ns % 1000000000 } };

	if (lchown(full, e->uid, e->gid) < 0)
		return kho_fail_errno(err, "change owner of %s", full);
	/* after chown, which takes the set-id bits away */
	if (!S_ISLNK(e->mode) && chmod(full, e->mode & 07777) < 0)
		return kho_fail_errno(err, "change mode of %s", full);
	for (size_t i = 0; i < e->n_xattr; i++)
		if (lsetxattr(full, e->xattr[i]->name, e->xattr[i]->value.data,
			      e->xattr[i]->value.len, 0) < 0 &&
		    errno != ENOTSUP)
			return kho_fail_errno(err, "%s: attribute %s", full, e->xattr[i]->name);
	return utimensat(AT_FDCWD, full, t, AT_SYMLINK_NOFOLLOW) < 0
		       ? kho_fail_errno(err, "set time of %s", full)
		       : 0;
}

static int copy_image(struct kho_env *env, const Kho__FileEntry *e, int dst, const char *to, struct kho_err *err)
{
	char from[PATH_MAX];

	snprintf(from, sizeof(from), "%s/%s", env->images_dir, e->image);
	_cleanup_close_ int src = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (src < 0)
		return kho_fail_errno(err, "open %s", from);
	while ((n = sendfile(dst, src, NULL, 1 << 30)) > 0)
		;
	return n < 0 ? kho_fail_errno(err, "copy %s", to) : 0;
}

static int put_contents(struct kho_env *env, const Kho__FileEntry *e, const char *to, struct kho_err *err)
{
	_cleanup_close_ int dst = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (dst < 0)
		return kho_fail_errno(err, "create %s", to);
	if (*e->image)
		return copy_image(env, e, dst, to, err);
	return e->data.len && kho_write_all(dst, e->data.data, e->data.len) ? kho_fail_errno(err, "write %s", to) : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path) < 0 ? -errno : 0;
}

/* Whatever is at path and is not a directory where one belongs, or the other way round, goes. */
static void make_room(const char *full, uint32_t mode)
{
	struct stat st;

	if (lstat(full, &st) < 0 || (S_ISDIR(st.st_mode) && S_ISDIR(mode)))
		return;
	if (S_ISDIR(st.st_mode))
		nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	else if (!S_ISREG(mode))
		(void)!unlink(full);
}

/* Is something mounted at name? nftw() would begin in what is mounted there, a disk's file system perhaps. */
static bool is_mounted_in(int dir, const char *name)
{
	struct stat up, st;

	return fstat(dir, &up) < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != up.st_dev;
}

/* What is in the directory here and was not there. */
static void delete_others(const Kho__FileEntry *e, const char *full)
{
	_cleanup_closedir_ DIR *d = opendir(full);
	char path[PATH_MAX];

	for (struct dirent *de = d ? readdir(d) : NULL; de; de = readdir(d)) {
		bool listed = !strcmp(de->d_name, ".") || !strcmp(de->d_name, "..");

		for (size_t i = 0; !listed && i < e->n_names; i++)
			listed = !strcmp(e->names[i], de->d_name);
		if (!listed && !is_mounted_in(dirfd(d), de->d_name) &&
		    snprintf(path, sizeof(path), "%s/%s", full, de->d_name) < (int)sizeof(path))
			nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	}
}

static int apply_one(struct kho_env *env, const char *root, const Kho__FileEntry *e,
		     struct kho_err *err)
{
	char full[PATH_MAX - 8], tmp[PATH_MAX];
	int ret = 0;

	if (!kho_path_is_plain(e->path) ||
	    snprintf(full, sizeof(full), "%s%s", root, e->path) >= (int)sizeof(full))
		return kho_fail(err, -EBADMSG, "state of files: bad path");
	make_room(full, e->mode);
	if (S_ISDIR(e->mode)) {
		if (mkdir(full, 0700) < 0 && errno != EEXIST)
			return kho_fail_errno(err, "make %s", full);
		if (e->listed)
			delete_others(e, full);
	} else if (S_ISLNK(e->mode)) {
		if (symlink(e->target, full) < 0)
			return kho_fail_errno(err, "make %s", full);
	} else if (!S_ISREG(e->mode)) {
		if (mknod(full, e->mode & (S_IFMT | 07777), e->rdev) < 0)
			return kho_fail_errno(err, "make %s", full);
	} else {
		snprintf(tmp, sizeof(tmp), "%s.kho", full);
		ret = put_contents(env, e, tmp, err);
		if (!ret)
			ret = set_meta(e, tmp, err);
		if (!ret && rename(tmp, full) < 0)
			ret = kho_fail_errno(err, "rename %s", full);
		if (ret < 0)
			(void)!unlink(tmp);
		return ret;
	}
	return set_meta(e, full, err);
}

/* Nothing on the way, and not the last one either, is a link: a later entry of the list may have made one where a directory was. */
static bool is_itself(const char *full)
{
	char real[PATH_MAX];

	return realpath(full, real) && !strcmp(real, full);
}

int kho_ramroot_apply(struct kho_env *env, const char *root, const Kho__Files *list,
		      struct kho_err *err)
{
	int first = 0;

	for (size_t i = 0; i < list->n_entry; i++) {
		struct kho_err e = KHO_ERR_INIT;
		int ret = apply_one(env, root, list->entry[i], &e);

		if (ret < 0)
			kho_note(env, "%s", e.msg);
		kho_first_failure(ret, &e, &first, err);
	}
	/* times of directories again: what was put into them has moved them */
	for (size_t i = list->n_entry; i-- > 0;) {
		char full[PATH_MAX];

		snprintf(full, sizeof(full), "%s%s", root, list->entry[i]->path);
		if (S_ISDIR(list->entry[i]->mode) && kho_path_is_plain(list->entry[i]->path) && is_itself(full))
			(void)!set_meta(list->entry[i], full, NULL);
	}
	return first;
}
