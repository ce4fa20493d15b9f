// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in a file system that only one mount namespace has (in RAM: an empty /tmp of its own, a private
 * /dev): directories, files, links, devices. Read when the namespace is described, and once more,
 * what can be written to, when its processes are frozen.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

#define DEEP	  16		/* directories inside each other */
#define NODES_MAX 4096
#define BYTES_MAX (16u << 20)	/* contents of one mount */

static int add_node(KhoProc__Mount *m, const char *path, const struct stat *st, const void *data,
		    size_t len)
{
	KhoProc__Node *n = malloc(sizeof(*n));

	if (!n)
		return -ENOMEM;
	kho_proc__node__init(n);
	n->mode = st->st_mode;
	n->uid = st->st_uid;
	n->gid = st->st_gid;
	n->rdev = st->st_rdev;
	if (kho_pb_set(&n->path, path))
		return -ENOMEM;
	if (len) {
		n->data.data = malloc(len);
		if (!n->data.data)
			return -ENOMEM;
		memcpy(n->data.data, data, len);
		n->data.len = len;
	}
	return kho_pb_append(&m->nodes, &m->n_nodes, n);
}

static int take_file(KhoProc__Mount *m, int dir, const char *name, const char *path,
		     const struct stat *st, size_t *room)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	if ((uint64_t)st->st_size > *room)
		return -EFBIG;
	data = malloc((size_t)st->st_size + 1);
	if (!data)
		return -ENOMEM;
	n = pread(fd, data, (size_t)st->st_size, 0);
	if (n < 0)
		return -errno;
	*room -= (size_t)n;
	return add_node(m, path, st, data, (size_t)n);
}

static int take_dir(KhoProc__Mount *m, int dir, const char *prefix, size_t *room, int deep);

static int take_entry(KhoProc__Mount *m, int dir, const char *name, const char *prefix, dev_t dev,
		      size_t *room, int deep)
{
	char path[PATH_MAX], target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int rc;

	snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "/" : "", name);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return errno == ENOENT ? 0 : -errno;
	if (m->n_nodes >= NODES_MAX || deep > DEEP)
		return -EFBIG;
	/* a socket is bound again by whoever has it */
	if (S_ISSOCK(st.st_mode) && st.st_dev == dev)
		return 0;
	if (S_ISREG(st.st_mode) && st.st_dev == dev)
		return take_file(m, dir, name, path, &st, room);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dir, name, target, sizeof(target));
		return n < 0 ? -errno : add_node(m, path, &st, target, (size_t)n);
	}
	rc = add_node(m, path, &st, NULL, 0);
	/* where something is mounted, the place is enough */
	if (rc || !S_ISDIR(st.st_mode) || st.st_dev != dev)
		return rc;
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : take_dir(m, fd, path, room, deep + 1);
}

static int take_dir(KhoProc__Mount *m, int dir, const char *prefix, size_t *room, int deep)
{
	_cleanup_closedir_ DIR *d = fdopendir(dup(dir));
	struct dirent *e;
	struct stat st;
	int rc = 0;

	if (!d || fstat(dir, &st))
		return -errno;
	while (!rc && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = take_entry(m, dir, e->d_name, prefix, st.st_dev, room, deep);
	return rc;
}

int kho_ns_read_nodes(int root, KhoProc__Mount *m, struct kho_err *err)
{
	_cleanup_close_ int dir = -1;
	size_t room = BYTES_MAX;
	struct stat st;
	int rc;

	dir = openat(root, m->target[1] ? m->target + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st))
		return kho_fail_errno(err, "its mount namespace: open %s", m->target);
	rc = add_node(m, ".", &st, NULL, 0);
	if (!rc)
		rc = take_dir(m, dir, "", &room, 0);
	return rc ? kho_fail(err, rc, "its mount namespace: what is in %s cannot be carried: %s",
			     m->target, strerror(-rc))
		  : 0;
}

static bool is_writable(const KhoProc__Mount *m)
{
	return m->instance && m->n_nodes && (!strcmp(m->type, "tmpfs") || !strcmp(m->type, "ramfs")) &&
	       !strncmp(m->options, "rw", 2) && !strncmp(m->super, "rw", 2);
}

int kho_ns_read_own(pid_t pid, const KhoProc__Namespace *ns, KhoProc__Mount ***array, size_t *n,
		    struct kho_err *err)
{
	_cleanup_close_ int root = -1;
	char path[64];
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	for (size_t i = 0; !rc && i < ns->n_mounts; i++) {
		KhoProc__Mount *m;

		if (!is_writable(ns->mounts[i]))
			continue;
		if (root < 0 && (root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
			return kho_fail_errno(err, "open %s", path);
		m = malloc(sizeof(*m));
		if (!m)
			return kho_fail(err, -ENOMEM, "its mount namespace: out of memory");
		kho_proc__mount__init(m);
		rc = kho_pb_set(&m->target, ns->mounts[i]->target);
		rc = rc ? kho_fail(err, rc, "its mount namespace: out of memory")
			: kho_ns_read_nodes(root, m, err);
		if (!rc && kho_pb_append(array, n, m))
			rc = kho_fail(err, -ENOMEM, "its mount namespace: out of memory");
		if (rc)
			kho_proc__mount__free_unpacked(m, NULL);
	}
	return rc;
}
