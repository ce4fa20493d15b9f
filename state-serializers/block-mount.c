// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounting with the options that another kernel shows in mountinfo, disks and tmpfs.  By fsconfig(), option by option: one
 * that this kernel does not know any more is left out and said, instead of failing the mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

static void set_option(int fs, char *option, const char *device, struct kho_env *env)
{
	char *value = strchr(option, '=');

	if (!strcmp(option, "rw"))
		return;
	if (value)
		*value++ = '\0';
	if (fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option, value, 0) < 0)
		kho_note(env, "%s: this kernel does not take the mount option %s", device, option);
}

void kho_fat_charset(const char *options, bool names, char module[64])
{
	const char *option = names ? "iocharset=" : "codepage=", *at = strstr(options, option);

	/* the kernel shows both; else it has what most are built with */
	at = at ? at + strlen(option) : names ? "ascii" : "437";
	snprintf(module, 64, "%s%.*s", names ? "nls_" : "nls_cp", (int)strcspn(at, ","), at);
}

/* The kernel's own words, "e ..." lines read from the context. */
static void fs_message(int fs, char *buf, size_t size)
{
	ssize_t n = read(fs, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
}

/* Create or change the super block of a context. */
static int command(int fs, unsigned cmd, const char *what, const char *fstype, struct kho_err *err)
{
	char text[200];

	if (!fsconfig(fs, cmd, NULL, NULL, 0))
		return 0;
	int code = -errno;

	fs_message(fs, text, sizeof(text));
	return kho_fail(err, code, "mount %s (%s): %s %s", what, fstype, strerror(-code), text);
}

static int attach(int fs, const char *what, const char *dir, struct kho_err *err)
{
	_cleanup_close_ int mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);

	if (mnt < 0)
		return kho_fail_errno(err, "mount %s", what);
	return move_mount(mnt, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? kho_fail_errno(err, "mount %s at %s", what, dir) : 0;
}

int kho_mount_hidden(const char *device, const char *fstype, const char *options, const char *dir,
		     struct kho_env *env, struct kho_err *err)
{
	_cleanup_close_ int fs = fsopen(fstype, FSOPEN_CLOEXEC);
	_cleanup_free_ char *copy = strdup(options);
	char *save = NULL;

	if (fs < 0)
		return kho_fail_errno(err, "mount %s: file system %s", device, fstype);
	if (!copy)
		return kho_fail(err, -ENOMEM, "mount %s: out of memory", device);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0)
		return kho_fail_errno(err, "mount %s", device);
	/* of btrfs the top: what is mounted of it where, subvolumes too, is said by the roots of the mounts */
	bool btrfs = !strcmp(fstype, "btrfs");

	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save))
		if (!btrfs || strncmp(o, "subvol", 6))
			set_option(fs, o, device, env);
	if (btrfs && fsconfig(fs, FSCONFIG_SET_STRING, "subvolid", "5", 0) < 0)
		return kho_fail_errno(err, "mount %s: subvolid=5", device);
	int ret = command(fs, FSCONFIG_CMD_CREATE, device, fstype, err);

	if (ret < 0)
		return ret;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return kho_fail_errno(err, "make %s", dir);
	return attach(fs, device, dir, err);
}

static const struct { const char *name; uint64_t attr; } attrs[] = {
	{ "ro", MOUNT_ATTR_RDONLY }, { "nosuid", MOUNT_ATTR_NOSUID }, { "nodev", MOUNT_ATTR_NODEV },
	{ "noexec", MOUNT_ATTR_NOEXEC }, { "nodiratime", MOUNT_ATTR_NODIRATIME },
#ifdef MOUNT_ATTR_NOSYMFOLLOW
	{ "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW },
#endif
};

static struct mount_attr attr_of(const char *options, unsigned long propagation)
{
	struct mount_attr a = { .attr_clr = MOUNT_ATTR__ATIME, .attr_set = MOUNT_ATTR_STRICTATIME };
	_cleanup_free_ char *copy = strdup(options);
	char *save = NULL;

	a.propagation = propagation;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(attrs); i++)
		a.attr_clr |= attrs[i].attr;
	for (char *o = copy ? strtok_r(copy, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save)) {
		if (!strcmp(o, "noatime"))
			a.attr_set = (a.attr_set & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR_NOATIME;
		else if (!strcmp(o, "relatime"))
			a.attr_set = (a.attr_set & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR_RELATIME;
		for (size_t i = 0; i < KHO_ARRAY_SIZE(attrs); i++)
			if (!strcmp(o, attrs[i].name))
				a.attr_set |= attrs[i].attr;
	}
	return a;
}

int kho_mount_at(const char *dir, const char *root, const char *target, const char *options, unsigned long propagation,
		 struct kho_err *err)
{
	struct mount_attr attr = attr_of(options, propagation);
	char from[PATH_MAX];

	if (snprintf(from, sizeof(from), "%s%s", dir, strcmp(root, "/") ? root : "") >= (int)sizeof(from))
		return kho_fail(err, -ENAMETOOLONG, "mount %s", target);
	_cleanup_close_ int tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return kho_fail_errno(err, "mount %s", target);
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return kho_fail_errno(err, "mount %s: options %s", target, options);
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return kho_fail_errno(err, "mount %s", target);
	return 0;
}

/* Said by mount_setattr(), and not to the super block. */
static bool is_of_mount(const char *option)
{
	bool is = !strcmp(option, "noatime") || !strcmp(option, "relatime");

	for (size_t i = 0; i < KHO_ARRAY_SIZE(attrs); i++)
		is = is || !strcmp(option, attrs[i].name);
	return is;
}

static int make_ram(int fs, const char *target, struct kho_err *err)
{
	int ret;

	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "tmpfs", 0) < 0)
		return kho_fail_errno(err, "mount tmpfs at %s", target);
	ret = command(fs, FSCONFIG_CMD_CREATE, target, "tmpfs", err);
	return ret ? ret : attach(fs, "tmpfs", target, err);
}

int kho_mount_ram(const char *target, const char *options, struct kho_env *env, struct kho_err *err)
{
	bool there = kho_is_mount_point(target);
	_cleanup_close_ int fs = there ? fspick(AT_FDCWD, target, FSPICK_CLOEXEC) : fsopen("tmpfs", FSOPEN_CLOEXEC);
	struct mount_attr attr = attr_of(options, 0);
	_cleanup_free_ char *copy = strdup(options);
	struct kho_err e = KHO_ERR_INIT;
	char *save = NULL;
	int ret = 0;

	if (fs < 0)
		return kho_fail_errno(err, "mount tmpfs at %s", target);
	if (!copy)
		return kho_fail(err, -ENOMEM, "mount %s: out of memory", target);
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save))
		if (!is_of_mount(o))
			set_option(fs, o, target, env);
	if (!there)
		ret = make_ram(fs, target, err);
	else if (command(fs, FSCONFIG_CMD_RECONFIGURE, target, "tmpfs", &e) < 0)
		/* there are options that a mounted one does not take (noswap): it is of use without them */
		kho_note(env, "%s", e.msg);
	attr.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	if (!ret && mount_setattr(AT_FDCWD, target, 0, &attr, sizeof(attr)) < 0)
		ret = kho_fail_errno(err, "mount %s: options %s", target, options);
	return ret;
}
