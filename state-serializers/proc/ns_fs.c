// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a rebuilt mount namespace has of its own: small file systems with what was in them, places
 * that something is mounted on.  Names come from the other kernel: none may lead out.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

static const struct {
	const char *name;
	uint64_t attr;
} attrs[] = {
	{ "ro", MOUNT_ATTR_RDONLY },	      { "nosuid", MOUNT_ATTR_NOSUID },
	{ "nodev", MOUNT_ATTR_NODEV },	      { "noexec", MOUNT_ATTR_NOEXEC },
	{ "nodiratime", MOUNT_ATTR_NODIRATIME },
#ifdef MOUNT_ATTR_NOSYMFOLLOW
	{ "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW },
#endif
};

void kho_ns_attr(const char *options, struct mount_attr *out)
{
	_cleanup_free_ char *copy = strdup(options);
	char *save = NULL;

	*out = (struct mount_attr){ .attr_clr = MOUNT_ATTR__ATIME,
				    .attr_set = MOUNT_ATTR_STRICTATIME };
	for (size_t i = 0; i < KHO_ARRAY_SIZE(attrs); i++)
		out->attr_clr |= attrs[i].attr;
	for (char *o = copy ? strtok_r(copy, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save)) {
		if (!strcmp(o, "noatime"))
			out->attr_set = (out->attr_set & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR_NOATIME;
		else if (!strcmp(o, "relatime"))
			out->attr_set = (out->attr_set & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR_RELATIME;
		for (size_t i = 0; i < KHO_ARRAY_SIZE(attrs); i++)
			if (!strcmp(o, attrs[i].name))
				out->attr_set |= attrs[i].attr;
	}
}

/* The directory of path below dirfd, and its last component. */
static int open_parent(int dirfd, const char *path, const char **name)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";

	*name = slash ? slash + 1 : path;
	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	if (!**name || !strcmp(*name, "..") || (!strcmp(*name, ".") && slash))
		return -EINVAL;
	int fd = (int)syscall(SYS_openat2, dirfd, dir, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int make(int dir, const char *name, const KhoProc__Node *n)
{
	_cleanup_free_ char *target = NULL;
	_cleanup_close_ int fd = -1;

	switch (n->mode & S_IFMT) {
	case S_IFDIR:
		return mkdirat(dir, name, 0700);
	case S_IFLNK:
		target = strndup(n->data.data ? (char *)n->data.data : "", n->data.len);
		return target ? symlinkat(target, dir, name) : -1;
	case S_IFREG:
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -1;
		return !n->data.len || write(fd, n->data.data, n->data.len) == (ssize_t)n->data.len
			       ? 0
			       : -1;
	default:
		return mknodat(dir, name, n->mode & (S_IFMT | 0600), n->rdev);
	}
}

int kho_ns_make_node(int dirfd, const KhoProc__Node *n, struct kho_err *err)
{
	const char *name;
	_cleanup_close_ int dir = open_parent(dirfd, n->path, &name);

	if (dir < 0)
		return kho_fail(err, dir, "make %s: %s", n->path, strerror(-dir));
	if (strcmp(name, ".") && make(dir, name, n)) {
		if (errno == EEXIST)
			return 0;
		return kho_fail_errno(err, "make %s", n->path);
	}
	if (fchownat(dir, name, n->uid, n->gid, AT_SYMLINK_NOFOLLOW) ||
	    (!S_ISLNK(n->mode) && fchmodat(dir, name, n->mode & 07777, 0)))
		return kho_fail_errno(err, "owner and mode of %s", n->path);
	return 0;
}

static void set_options(int fs, const char *options, bool *ro)
{
	_cleanup_free_ char *copy = strdup(options);
	char *save = NULL;

	for (char *o = copy ? strtok_r(copy, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save)) {
		char *value = strchr(o, '=');

		if (!strcmp(o, "rw"))
			continue;
		if (!strcmp(o, "ro")) {
			*ro = true; /* when all is in it */
			continue;
		}
		if (value)
			*value++ = '\0';
		/* shown by the other kernel, and not known to this one: it cannot do without */
		fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o, value, 0);
	}
}

/* The directory that is mounted, where it is not the root of the file system. */
static int open_root(int fs, const KhoProc__Mount *m, struct kho_err *err)
{
	KhoProc__Node dir = KHO_PROC__NODE__INIT;
	char part[PATH_MAX];

	dir.mode = S_IFDIR | 0755;
	snprintf(part, sizeof(part), "%s/", m->root + 1);
	for (char *p = m->root[1] ? strchr(part, '/') : NULL; p; p = strchr(p + 1, '/')) {
		*p = '\0';
		dir.path = part;
		if (kho_ns_make_node(fs, &dir, err))
			return err ? err->code : -EIO;
		if (!p[1])
			break;
		*p = '/';
	}
	int fd = openat(fs, m->root[1] ? part : ".", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? kho_fail_errno(err, "contents of %s: open %s", m->target, m->root) : fd;
}

int kho_ns_make_nodes(int fs, const KhoProc__Mount *m, struct kho_err *err)
{
	_cleanup_close_ int root = open_root(fs, m, err);

	if (root < 0)
		return root;
	for (size_t i = 0; i < m->n_nodes; i++)
		if (kho_ns_make_node(root, m->nodes[i], err))
			return kho_wrap(err, "contents of %s", m->target);
	return 0;
}

int kho_ns_make_fs(const KhoProc__Mount *m, struct kho_err *err)
{
	_cleanup_close_ int fs = fsopen(m->type, FSOPEN_CLOEXEC), mnt = -1;
	bool ro = false;

	if (fs < 0)
		return kho_fail_errno(err, "mount %s: file system %s", m->target, m->type);
	set_options(fs, m->super, &ro);
	fsconfig(fs, FSCONFIG_SET_STRING, "source", m->type, 0);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return kho_fail_errno(err, "mount %s: make a %s", m->target, m->type);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0)
		return kho_fail_errno(err, "mount %s", m->target);
	if (kho_ns_make_nodes(mnt, m, err))
		return err ? err->code : -EIO;
	if (ro && (fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) ||
		   fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0)))
		return kho_fail_errno(err, "mount %s read-only", m->target);
	return steal_fd(mnt);
}
