// SPDX-License-Identifier: GPL-2.0-only
/*
 * Credentials of services (LoadCredential=, SetCredential= ...): a small file system that systemd mounts at
 * /run/credentials/UNIT, with a file for each that only the service's user may read.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/units.h"

#define DIR_OF_ALL "/run/credentials"
#define ACL	   "system.posix_acl_access"
#define FILE_MAX   (1u << 20) /* as systemd allows for all of a unit together */
#define FILES_MAX  1024

static int read_acl(int fd, ProtobufCBinaryData *out)
{
	char value[4096];
	ssize_t n = fgetxattr(fd, ACL, value, sizeof(value));

	if (n <= 0)
		return 0;
	out->data = malloc((size_t)n);
	if (!out->data)
		return -ENOMEM;
	memcpy(out->data, value, (size_t)n);
	out->len = (size_t)n;
	return 0;
}

static int read_file(int dir, const char *name, Kho__Credentials *c)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	Kho__Credential *f;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX || c->n_file == FILES_MAX)
		return 0;
	f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	kho__credential__init(f);
	f->mode = st.st_mode & 07777;
	f->uid = st.st_uid;
	f->gid = st.st_gid;
	f->data.data = malloc((size_t)st.st_size + 1);
	n = f->data.data ? pread(fd, f->data.data, (size_t)st.st_size, 0) : -1;
	f->data.len = n > 0 ? (size_t)n : 0;
	if (n >= 0 && !kho_pb_set(&f->name, name) && !read_acl(fd, &f->acl) && !kho_pb_append(&c->file, &c->n_file, f))
		return 0;
	kho__credential__free_unpacked(f, NULL);
	return -ENOMEM;
}

static int read_all(int dir, Kho__Credentials *c)
{
	_cleanup_closedir_ DIR *d = fdopendir(dup(dir));
	struct dirent *e;
	struct stat st;
	int rc = d && !fstat(dir, &st) ? read_acl(dir, &c->acl) : -ENOMEM;

	if (rc)
		return rc;
	c->mode = st.st_mode & 07777;
	c->uid = st.st_uid;
	c->gid = st.st_gid;
	while (!rc && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = read_file(dir, e->d_name, c);
	return rc;
}

int kho_units_credentials_read(const char *unit, Kho__Units *u)
{
	char path[PATH_MAX];
	Kho__Credentials *c;

	snprintf(path, sizeof(path), DIR_OF_ALL "/%s", unit);
	if (!kho_is_mount_point(path))
		return 0;
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return 0;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	kho__credentials__init(c);
	if (!kho_pb_set(&c->unit, unit) && !read_all(dir, c) && !kho_pb_append(&u->credentials, &u->n_credentials, c))
		return 0;
	kho__credentials__free_unpacked(c, NULL);
	return -ENOMEM;
}

/* --- incoming --- */

static int set_acl(int fd, const ProtobufCBinaryData *acl)
{
	return acl->len ? fsetxattr(fd, ACL, acl->data, acl->len, 0) : 0;
}

static int write_file(int dir, const Kho__Credential *f, struct kho_err *err)
{
	_cleanup_close_ int fd = -1;

	if (!*f->name || strchr(f->name, '/') || !strcmp(f->name, ".") || !strcmp(f->name, ".."))
		return kho_fail(err, -EPROTO, "credentials: a name that cannot be");
	fd = openat(dir, f->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || kho_write_all(fd, f->data.data, f->data.len) || fchown(fd, f->uid, f->gid) || fchmod(fd, f->mode) ||
	    set_acl(fd, &f->acl))
		return kho_fail_errno(err, "credential %s", f->name);
	return 0;
}

/* Never swapped, if the kernel can do that. */
static int make_fs(struct kho_err *err)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0)
		return kho_fail_errno(err, "credentials: a tmpfs");
	fsconfig(fs, FSCONFIG_SET_STRING, "source", "tmpfs", 0);
	fsconfig(fs, FSCONFIG_SET_STRING, "size", "1024k", 0);
	fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1024", 0);
	fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0);
	fsconfig(fs, FSCONFIG_SET_FLAG, "noswap", NULL, 0);
	mnt = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) ? -1 : fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return mnt < 0 ? kho_fail_errno(err, "credentials: a tmpfs") : mnt;
}

static int fill(int mnt, const Kho__Credentials *c, struct kho_err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
					       MOUNT_ATTR_NOSYMFOLLOW };
	int rc = 0;

	for (size_t i = 0; !rc && i < c->n_file; i++)
		rc = write_file(mnt, c->file[i], err);
	if (rc)
		return rc;
	_cleanup_close_ int dir = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || fchown(dir, c->uid, c->gid) || fchmod(dir, c->mode) || set_acl(dir, &c->acl) ||
	    syscall(SYS_mount_setattr, mnt, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		return kho_fail_errno(err, "credentials of %s", c->unit);
	return 0;
}

int kho_units_credentials_mount(const Kho__Credentials *c, struct kho_err *err)
{
	_cleanup_close_ int mnt = -1;
	char path[PATH_MAX];
	int rc;

	if (!kho_unit_name_is_valid(c->unit))
		return kho_fail(err, -EPROTO, "credentials: a unit that cannot be");
	snprintf(path, sizeof(path), DIR_OF_ALL "/%s", c->unit);
	if (kho_make_dirs(DIR_OF_ALL, 0755, err))
		return err ? err->code : -EIO;
	mkdir(path, 0700);
	mnt = make_fs(err);
	rc = mnt < 0 ? mnt : fill(mnt, c, err);
	if (rc < 0)
		return rc;
	return syscall(SYS_move_mount, mnt, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH)
		       ? kho_fail_errno(err, "mount %s", path)
		       : 0;
}

void kho_units_credentials_unmount(const Kho__Credentials *c)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DIR_OF_ALL "/%s", c->unit);
	if (kho_unit_name_is_valid(c->unit) && kho_is_mount_point(path))
		(void)!umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}
