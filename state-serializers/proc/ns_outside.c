// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that a process had been given before it got its mount namespace: systemd opens standard
 * input and output first.  CRIU finds their mounts nowhere; they are opened for it.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

static bool is_mount_of(const char *mountinfo, long id)
{
	for (const char *line = mountinfo; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (*line && atol(line) == id)
			return true;
	}
	return false;
}

static KhoProc__Inherit *find(KhoProc__Inherit **array, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(array[i]->key, key))
			return array[i];
	return NULL;
}

static int note(KhoProc__Inherit ***array, size_t *n, const char *key, const char *path, int mode)
{
	KhoProc__Inherit *in = find(*array, *n, key);

	if (in) {
		if (in->flags != mode)
			in->flags = O_RDWR;
		return 0;
	}
	in = malloc(sizeof(*in));
	if (!in)
		return -ENOMEM;
	kho_proc__inherit__init(in);
	in->flags = mode;
	if (kho_pb_set(&in->key, key) || kho_pb_set(&in->path, path))
		return -ENOMEM;
	return kho_pb_append(array, n, in);
}

/* Is it what the system, too, has under that name, and something that is opened like any file? */
static int check(pid_t pid, const char *num, const char *target, const struct stat *st,
		 struct kho_err *err)
{
	struct stat here;

	if (stat(target, &here) || here.st_dev != st->st_dev || here.st_ino != st->st_ino ||
	    !(S_ISREG(st->st_mode) || S_ISCHR(st->st_mode) || S_ISDIR(st->st_mode)))
		return kho_fail(err, -ENOTSUP,
				"pid %d fd %s: %.200s lies outside of its mount namespace, and the "
				"system has no such file",
				pid, num, target);
	return 0;
}

/* Is a file system mounted anywhere where the system sees it? */
static bool is_systems(dev_t dev)
{
	_cleanup_free_ char *mountinfo = NULL;
	char want[32];

	snprintf(want, sizeof(want), " %u:%u ", major(dev), minor(dev));
	return !kho_read_file("/proc/self/mountinfo", 16u << 20, &mountinfo, NULL, NULL) && strstr(mountinfo, want);
}

static bool is_carried_whole(dev_t dev)
{
	struct stat st;

	for (const char *const *p = kho_ram_whole; *p; p++)
		if (!stat(*p, &st) && st.st_dev == dev)
			return true;
	return false;
}

/*
 * A file in RAM that the system shows under another name, if at all. What lies on the system's /tmp and the like is carried with it,
 * and a file system of the namespace's own with the namespace; deleted ones are in CRIU's images.
 */
static int check_ram(pid_t pid, const char *num, const char *link, const char *target,
		     const struct stat *st, struct kho_err *err)
{
	struct statfs fs;
	struct stat here;

	if (!S_ISREG(st->st_mode) || !st->st_nlink || statfs(link, &fs) ||
	    (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC) ||
	    (!stat(target, &here) && here.st_dev == st->st_dev && here.st_ino == st->st_ino) ||
	    is_carried_whole(st->st_dev) || !is_systems(st->st_dev))
		return 0;
	return kho_fail(err, -ENOTSUP,
			"pid %d fd %s: %.200s is a file in RAM that the system has under another name, "
			"and is not carried",
			pid, num, target);
}

static int look(pid_t pid, const char *num, const char *mountinfo, KhoProc__Inherit ***array,
		size_t *n, struct kho_err *err)
{
	char path[64], link[64], target[PATH_MAX], key[96];
	_cleanup_free_ char *info = NULL;
	const char *id, *flags;
	struct stat st;
	ssize_t len;
	int rc;

	snprintf(link, sizeof(link), "/proc/%d/fd/%s", pid, num);
	len = readlink(link, target, sizeof(target) - 1);
	if (len <= 0 || target[0] != '/' || stat(link, &st))
		return 0;
	target[len] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, num);
	if (kho_read_file(path, 1 << 16, &info, NULL, NULL))
		return 0;
	id = strstr(info, "mnt_id:");
	flags = strstr(info, "flags:");
	/* a memfd lies on a mount that nobody sees */
	if (!id || !flags || !strncmp(target, "/memfd:", 7))
		return 0;
	if (is_mount_of(mountinfo, atol(id + 7)))
		return check_ram(pid, num, link, target, &st, err);
	rc = check(pid, num, target, &st, err);
	if (rc)
		return rc;
	snprintf(key, sizeof(key), "file[%lx:%llx]", atol(id + 7), (unsigned long long)st.st_ino);
	rc = note(array, n, key, target, (int)strtol(flags + 6, NULL, 8) & (O_ACCMODE | O_DIRECTORY));
	return rc ? kho_fail(err, rc, "look at pid %d: out of memory", pid) : 0;
}

int kho_ns_outside(pid_t pid, KhoProc__Inherit ***array, size_t *n, struct kho_err *err)
{
	_cleanup_free_ char *mountinfo = NULL;
	char path[64];
	struct dirent *e;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	if (kho_read_file(path, 16u << 20, &mountinfo, NULL, err))
		return err ? err->code : -EIO;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			rc = look(pid, e->d_name, mountinfo, array, n, err);
	return rc;
}
