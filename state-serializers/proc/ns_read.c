// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mount namespace as its processes see it, in words with which it can be made again: which of its
 * mounts show what the system has mounted elsewhere (nearly all of a sandboxed unit), and which are
 * file systems of its own (a private /dev, empty ones that hide something).
 */
#include <dirent.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

#define MOUNTS_MAX 4096

static void table_unrefp(struct libmnt_table **t)
{
	mnt_unref_table(*t);
}

static void iter_freep(struct libmnt_iter **i)
{
	mnt_free_iter(*i);
}

struct reader {
	pid_t pid;
	const char *run_dir;
	struct libmnt_table *his, *ours;
	KhoProc__Namespace *ns;
	dev_t own[256]; /* devices of file systems of its own: instance - 1 */
	uint32_t n_own;
	int root; /* its root directory */
};

/* What only the system itself makes, and what is ours. */
static bool is_left_out(const struct reader *r, struct libmnt_fs *fs)
{
	const char *type = mnt_fs_get_fstype(fs);

	return !strcmp(type, "autofs") || !strcmp(type, "nsfs") ||
	       kho_path_is_below(mnt_fs_get_target(fs), r->run_dir);
}

/* --- one mount --- */

/* Is what is at a path on that mount, and not on one that was mounted over it? (A kernel before 5.8 does not tell.) */
static bool is_on(int dir, const char *path, struct libmnt_fs *mount)
{
	struct statx st;

	return !statx(dir, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) &&
	       (!(st.stx_mask & STATX_MNT_ID) || st.stx_mnt_id == (uint64_t)mnt_fs_get_id(mount));
}

/* What its processes find at its place is on another mount: nobody sees this one. */
static bool is_hidden(const struct reader *r, struct libmnt_fs *fs)
{
	const char *target = mnt_fs_get_target(fs);

	return !is_on(r->root, target[1] ? target + 1 : ".", fs);
}

/* The place in our own namespace where the same directory of the same file system is; false: none */
static bool find_from(struct reader *r, struct libmnt_fs *fs, char from[PATH_MAX])
{
	_cleanup_(iter_freep) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	const char *root = mnt_fs_get_root(fs);
	struct libmnt_fs *ours;
	struct stat st;

	while (it && !mnt_table_next_fs(r->ours, it, &ours)) {
		const char *base = mnt_fs_get_root(ours), *at = mnt_fs_get_target(ours);
		size_t n = strcmp(base, "/") ? strlen(base) : 0;

		if (mnt_fs_get_devno(ours) != mnt_fs_get_devno(fs) || kho_path_is_below(at, r->run_dir) ||
		    strcmp(mnt_fs_get_fstype(ours), mnt_fs_get_fstype(fs)) ||
		    (n && !kho_path_is_below(root, base)))
			continue;
		snprintf(from, PATH_MAX, "%s%s", strcmp(at, "/") ? at : "", root + n);
		if (from[0] && from[1] && from[strlen(from) - 1] == '/')
			from[strlen(from) - 1] = '\0';
		if (!*from)
			strcpy(from, "/");
		if (is_on(AT_FDCWD, from, ours) || (!lstat(from, &st) && is_hidden(r, fs)))
			return true;
	}
	return false;
}

static int take_from(KhoProc__Mount *m, const char *from)
{
	struct stat st;

	if (kho_pb_set(&m->from, from) || lstat(from, &st))
		return -ENOMEM;
	m->node = malloc(sizeof(*m->node));
	if (!m->node)
		return -ENOMEM;
	kho_proc__node__init(m->node);
	m->node->mode = st.st_mode;
	m->node->uid = st.st_uid;
	m->node->gid = st.st_gid;
	m->node->rdev = st.st_rdev;
	return kho_pb_set(&m->node->path, from);
}

static bool can_be_made(const char *type)
{
	static const char *const types[] = { "tmpfs", "ramfs",	"proc",	  "sysfs",
					     "mqueue", "cgroup2", "devpts", "hugetlbfs" };

	for (size_t i = 0; i < KHO_ARRAY_SIZE(types); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

static bool is_in_ram(const KhoProc__Mount *m)
{
	return !strcmp(m->type, "tmpfs") || !strcmp(m->type, "ramfs");
}

/* Another mount shows all that this one does. (The last is m itself.) */
static bool is_shown(const struct reader *r, const KhoProc__Mount *m)
{
	for (size_t i = 0; i + 1 < r->ns->n_mounts; i++) {
		const KhoProc__Mount *o = r->ns->mounts[i];

		if (o->instance == m->instance &&
		    (!strcmp(o->root, "/") || kho_path_is_below(m->root, o->root)))
			return true;
	}
	return false;
}

/* Of a file system in RAM some directories may be mounted (/tmp and /var/tmp of one), and not its root. */
static int take_own(struct reader *r, struct libmnt_fs *fs, KhoProc__Mount *m, struct kho_err *err)
{
	dev_t dev = mnt_fs_get_devno(fs);

	for (uint32_t i = 0; i < r->n_own && !m->instance; i++)
		if (r->own[i] == dev)
			m->instance = i + 1;
	if (m->instance && (!is_in_ram(m) || is_shown(r, m)))
		return 0;
	if (!can_be_made(m->type) || (strcmp(m->root, "/") && !is_in_ram(m)) ||
	    r->n_own == KHO_ARRAY_SIZE(r->own))
		return kho_fail(err, -ENOTSUP,
				"its mount namespace has a file system (%s at %s) that the system "
				"has not mounted",
				m->type, m->target);
	if (!m->instance) {
		r->own[r->n_own++] = dev;
		m->instance = r->n_own;
	}
	return is_in_ram(m) ? kho_ns_read_nodes(r->root, m, err) : 0;
}

/* The map is not to be read; what it makes of the owner of the directory is all of it that systemd uses. */
static int take_idmap(struct reader *r, KhoProc__Mount *m, struct kho_err *err)
{
	struct stat st;

	if (!strstr(m->options, "idmapped"))
		return 0;
	if (!m->node || fstatat(r->root, m->target[1] ? m->target + 1 : ".", &st, AT_SYMLINK_NOFOLLOW) ||
	    (st.st_uid == m->node->uid && st.st_gid == m->node->gid))
		return kho_fail(err, -ENOTSUP, "its mount namespace has a mount (at %s) with a map of owners that is not understood",
				m->target);
	m->idmapped = true;
	m->idmap_uid = st.st_uid;
	m->idmap_gid = st.st_gid;
	return 0;
}

/*
 * A device out of a /dev of its own, mounted over a file (runc hides /proc/kcore so): the system has the same one. *from is its
 * path there.
 */
static bool find_device(const struct reader *r, struct libmnt_fs *fs, char from[PATH_MAX])
{
	const char *target = mnt_fs_get_target(fs), *root = mnt_fs_get_root(fs), *name = root ? strrchr(root, '/') : NULL;
	struct stat its, ours;

	if (!name || !name[1] || fstatat(r->root, target + 1, &its, AT_SYMLINK_NOFOLLOW) || !S_ISCHR(its.st_mode))
		return false;
	snprintf(from, PATH_MAX, "/dev%s", name);
	return !lstat(from, &ours) && S_ISCHR(ours.st_mode) && ours.st_rdev == its.st_rdev;
}

static int take_mount(struct reader *r, struct libmnt_fs *fs, struct kho_err *err)
{
	const char *optional = mnt_fs_get_optional_fields(fs), *super = mnt_fs_get_fs_options(fs);
	KhoProc__Mount *m = malloc(sizeof(*m));
	char from[PATH_MAX];
	int rc;

	if (!m)
		return kho_fail(err, -ENOMEM, "its mount namespace: out of memory");
	kho_proc__mount__init(m);
	rc = kho_pb_append(&r->ns->mounts, &r->ns->n_mounts, m);
	if (!rc && (kho_pb_set(&m->target, mnt_fs_get_target(fs)) ||
		    kho_pb_set(&m->root, mnt_fs_get_root(fs)) ||
		    kho_pb_set(&m->type, mnt_fs_get_fstype(fs)) ||
		    kho_pb_set(&m->options, mnt_fs_get_vfs_options(fs)) ||
		    kho_pb_set(&m->super, super ? super : "")))
		rc = -ENOMEM;
	m->shared = optional && strstr(optional, "shared:");
	if (!rc && (find_from(r, fs, from) || find_device(r, fs, from))) {
		rc = take_from(m, from);
		if (!rc)
			return take_idmap(r, m, err);
	} else if (!rc) {
		return strstr(m->options, "idmapped") ? take_idmap(r, m, err) : take_own(r, fs, m, err);
	}
	return rc ? kho_fail(err, rc, "its mount namespace: out of memory") : 0;
}

/* Something else is mounted on a directory that leads to it: nobody sees it. */
static bool is_covered(struct reader *r, struct libmnt_fs *fs)
{
	_cleanup_(iter_freep) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	const char *target = mnt_fs_get_target(fs);
	struct libmnt_fs *o;

	while (it && !mnt_table_next_fs(r->his, it, &o))
		if (mnt_fs_get_parent_id(o) == mnt_fs_get_parent_id(fs) && o != fs &&
		    strcmp(mnt_fs_get_target(o), "/") && strcmp(mnt_fs_get_target(o), target) &&
		    kho_path_is_below(target, mnt_fs_get_target(o)))
			return true;
	return false;
}

/*
 * The same is mounted on it once more. (What the system mounts while it starts gets below what the unit has there already, and is
 * one of it from then on: with every upgrade there would be more.)
 */
static bool is_doubled(struct reader *r, struct libmnt_fs *fs)
{
	_cleanup_(iter_freep) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *o;

	while (it && !mnt_table_next_fs(r->his, it, &o))
		if (mnt_fs_get_parent_id(o) == mnt_fs_get_id(fs) && o != fs &&
		    mnt_fs_get_devno(o) == mnt_fs_get_devno(fs) &&
		    !strcmp(mnt_fs_get_target(o), mnt_fs_get_target(fs)) &&
		    !strcmp(mnt_fs_get_root(o), mnt_fs_get_root(fs)))
			return true;
	return false;
}

/* A mount comes behind what it is mounted on; the kernel's order is that of their making. */
static int take_children(struct reader *r, struct libmnt_fs *parent, int deep, struct kho_err *err)
{
	_cleanup_(iter_freep) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	int rc = 0;

	if (deep > 64 || r->ns->n_mounts > MOUNTS_MAX)
		return kho_fail(err, -ENOTSUP, "its mount namespace: too many mounts");
	while (!rc && it && !mnt_table_next_fs(r->his, it, &fs)) {
		if (mnt_fs_get_parent_id(fs) != mnt_fs_get_id(parent) || fs == parent ||
		    is_left_out(r, fs) || is_covered(r, fs))
			continue;
		if (!is_doubled(r, fs))
			rc = take_mount(r, fs, err);
		if (!rc)
			rc = take_children(r, fs, deep + 1, err);
	}
	return rc;
}

static int read_all(struct reader *r, struct kho_err *err)
{
	struct libmnt_fs *root = NULL;
	int rc;

	r->ns = malloc(sizeof(*r->ns));
	if (!r->ns)
		return kho_fail(err, -ENOMEM, "its mount namespace: out of memory");
	kho_proc__namespace__init(r->ns);
	if (mnt_table_get_root_fs(r->his, &root) || strcmp(mnt_fs_get_target(root), "/"))
		return kho_fail(err, -ENOTSUP, "its mount namespace has no root that is a mount");
	rc = take_mount(r, root, err);
	if (!rc && !*r->ns->mounts[0]->from)
		return kho_fail(err, -ENOTSUP, "its mount namespace has a root of its own");
	return rc ? rc : take_children(r, root, 0, err);
}

int kho_ns_read(pid_t pid, const char *run_dir, KhoProc__Namespace **out, struct kho_err *err)
{
	char path[64];
	_cleanup_(table_unrefp) struct libmnt_table *his = NULL, *ours = NULL;
	struct reader r = { .pid = pid, .run_dir = run_dir };
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	r.his = his = mnt_new_table_from_file(path);
	r.ours = ours = mnt_new_table_from_file("/proc/self/mountinfo");
	if (!his || !ours)
		return kho_fail(err, -EIO, "read %s", his ? "/proc/self/mountinfo" : path);
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	_cleanup_close_ int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return kho_fail_errno(err, "open %s", path);
	r.root = root;
	rc = read_all(&r, err);
	if (rc && r.ns)
		kho_proc__namespace__free_unpacked(r.ns, NULL);
	else
		*out = r.ns;
	return rc;
}
