// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where state lies that goes over a disk: a folder below a directory that is root's alone, on a file system that the next kernel has before it needs
 * what is in it. See handover/kexec/disk.h.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "handover/engine.h"
#include "handover/kexec/disk.h"
#include "lib/cleanup.h"
#include "lib/fs_freeze.h"
#include "lib/io.h"

#define MIB	  (1ULL << 20)
#define DEPTH_MAX 8 /* mappings over each other, as the serializer of disks has it */

static char *folder_of(const char *dir)
{
	char *path;

	return asprintf(&path, "%s/" KHO_CARRY_NAME, dir) < 0 ? NULL : path;
}

/* --- judge --- */

/* Nobody else can put a file, or another directory, in its place; with the sticky bit (/tmp) not what is root's. */
static int is_roots(const char *dir, struct kho_err *err)
{
	_cleanup_free_ char *path = strdup(dir);
	mode_t sticky = 0; /* does not count for dir itself */
	struct stat st;

	if (!path)
		return kho_fail(err, -ENOMEM, "%s: out of memory", dir);
	for (;;) {
		char *slash = strrchr(path, '/');

		if (lstat(*path ? path : "/", &st))
			return kho_fail_errno(err, "%s", *path ? path : "/");
		if (!S_ISDIR(st.st_mode))
			return kho_fail(err, -ENOTDIR, "%s is no directory", path);
		if (st.st_uid || (st.st_mode & 022 && !(st.st_mode & sticky)))
			return kho_fail(err, -EPERM,
					"%s must be root's, and writable by nobody else: memory of workloads would lie in it; chown root, chmod go-w",
					*path ? path : "/");
		if (!slash)
			return 0;
		sticky = S_ISVTX;
		*slash = '\0';
	}
}

/*
 * A device, or one below it: what is only partly on such a disk the serializer of disks refuses. A host bridge may lie below something else (as Hyper-V's
 * below VMBUS).
 */
static bool is_on_pci(const char *node, unsigned depth)
{
	char full[PATH_MAX], path[PATH_MAX + 16];
	bool is = false;

	if (!realpath(node, full))
		return false;
	if (strstr(full, "/pci"))
		return true;
	snprintf(path, sizeof(path), "%s/slaves", full);
	_cleanup_closedir_ DIR *d = depth < DEPTH_MAX ? opendir(path) : NULL;

	for (struct dirent *e = d ? readdir(d) : NULL; e && !is; e = readdir(d)) {
		char below[PATH_MAX + 300];

		if (e->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		is = is_on_pci(below, depth + 1);
	}
	return is;
}

static int judge_file_system(const char *dir, const struct statfs *fs, dev_t dev, struct kho_err *err)
{
	char node[64];

	if (fs->f_type != EXT4_SUPER_MAGIC && fs->f_type != XFS_SUPER_MAGIC)
		return kho_fail(err, -EOPNOTSUPP,
				"%s lies neither on ext4 nor on xfs; name a directory on a local disk (not on a network, in memory, on btrfs)", dir);
	if (fs->f_flags & ST_RDONLY)
		return kho_fail(err, -EROFS, "%s is mounted read-only; name another directory", dir);
	snprintf(node, sizeof(node), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	if (!is_on_pci(node, 0))
		return kho_fail(err, -EOPNOTSUPP, "%s lies on no PCI disk, so that the next kernel does not have it; name another directory", dir);
	return 0;
}

int kho_disk_judge(const char *dir, uint64_t bytes, uint64_t *out_free, struct kho_err *err)
{
	_cleanup_free_ char *folder = folder_of(dir);
	struct statfs fs;
	struct stat st;
	int ret = is_roots(dir, err);

	*out_free = 0;
	if (ret < 0)
		return ret;
	if (!folder || stat(dir, &st) || statfs(dir, &fs))
		return kho_fail_errno(err, "%s", dir);
	ret = judge_file_system(dir, &fs, st.st_dev, err);
	if (ret < 0)
		return ret;
	if (!lstat(folder, &st))
		return kho_fail(err, -EEXIST, "%s is there already, of an upgrade that was cut or of somebody else; rm -r %s", folder, folder);
	*out_free = (uint64_t)fs.f_bavail * (uint64_t)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
	if (*out_free < bytes)
		return kho_fail(err, -ENOSPC, "%s has %llu MiB of room, %llu MiB may be needed; make room, or name another directory", dir,
				(unsigned long long)(*out_free / MIB), (unsigned long long)(bytes / MIB));
	return 0;
}

/* --- the folder --- */

int kho_disk_open(const char *dir, struct kho_err *err)
{
	_cleanup_free_ char *path = folder_of(dir);
	int fd;

	if (!path)
		return kho_fail(err, -ENOMEM, "%s: out of memory", dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? kho_fail_errno(err, "%s", path) : fd;
}

int kho_disk_make(const char *dir, struct kho_err *err)
{
	_cleanup_free_ char *path = folder_of(dir);

	if (!path)
		return kho_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (mkdir(path, 0700))
		return kho_fail_errno(err, "make %s", path);
	return kho_disk_open(dir, err);
}

int kho_carry_drop(const char *carry_dir, struct kho_err *err)
{
	_cleanup_free_ char *path = folder_of(carry_dir);
	_cleanup_close_ int dir = -1;
	struct stat st;

	if (!path)
		return kho_fail(err, -ENOMEM, "%s: out of memory", carry_dir);
	if (lstat(path, &st))
		return errno == ENOENT || errno == ENOTDIR ? 0 : kho_fail_errno(err, "%s", path);
	kho_remove_tree(path);
	if (!lstat(path, &st))
		return kho_fail(err, -EIO, "%s cannot be removed, and memory of workloads is in it; rm -r %s", path, path);
	/* or a reset would bring it back */
	dir = open(carry_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 || fsync(dir) ? kho_fail_errno(err, "sync %s", carry_dir) : 0;
}

/* --- its file system in the blackout --- */

int kho_disk_thaw(int folder, struct kho_err *err)
{
	int rc = kho_fs_thaw(folder);

	if (rc == -EINVAL)
		return kho_fail(err, rc, "the file system for the state is none of those that are carried; name a directory on another one");
	return rc < 0 ? kho_fail(err, rc, "thaw the file system for the state: %s", strerror(-rc)) : 0;
}

int kho_disk_freeze(int folder, struct kho_err *err)
{
	int rc = kho_fs_freeze(folder);

	return rc < 0 ? kho_fail(err, rc, "freeze the file system for the state again: %s", strerror(-rc)) : 0;
}
