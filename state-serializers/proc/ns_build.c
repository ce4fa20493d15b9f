// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making a mount namespace again from its description.  The new tree is put together at a place of
 * its own out of clones of what the system has mounted, and becomes the root when it is complete:
 * nothing of the old one is left in it.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif
#define FUSECTL_MAGIC  0x65735543
#define CONFIGFS_MAGIC 0x62656570

/* What the kernel has one of each (or tmpfs): known by its number. And where the system has none: */
static const struct {
	const char *type;
	long magic;
	enum { NEEDED, MADE, LEFT_OUT } missing;
} kinds[] = {
	{ "proc", PROC_SUPER_MAGIC, NEEDED },	{ "sysfs", SYSFS_MAGIC, NEEDED },
	{ "cgroup2", CGROUP2_SUPER_MAGIC, NEEDED }, { "devpts", DEVPTS_SUPER_MAGIC, NEEDED },
	{ "tmpfs", TMPFS_MAGIC, NEEDED },	{ "devtmpfs", TMPFS_MAGIC, NEEDED },
	{ "ramfs", RAMFS_MAGIC, NEEDED },	{ "mqueue", MQUEUE_MAGIC, MADE },
	{ "debugfs", DEBUGFS_MAGIC, MADE },	{ "tracefs", TRACEFS_MAGIC, MADE },
	{ "securityfs", SECURITYFS_MAGIC, MADE }, { "bpf", BPF_FS_MAGIC, MADE },
	{ "pstore", PSTOREFS_MAGIC, MADE },	{ "hugetlbfs", HUGETLBFS_MAGIC, MADE },
	{ "binfmt_misc", BINFMTFS_MAGIC, MADE }, { "efivarfs", EFIVARFS_MAGIC, MADE },
	{ "fusectl", FUSECTL_MAGIC, MADE },	{ "configfs", CONFIGFS_MAGIC, MADE },
	/*
	 * A container's root: the unit gets it like all others when it is mounted. A second overlay of the same directories, be it for a
	 * moment, empties the work directory under the first one, which is read-only then or has worse.
	 */
	{ "overlay", OVERLAYFS_SUPER_MAGIC, LEFT_OUT },
};

struct build {
	const KhoProc__Namespace *ns;
	const char *stage;
	int old, new; /* roots */
	int *hidden;  /* by instance - 1: a file system whose root is nowhere in the new tree; -1: none */
	size_t nhidden;
};

static int find_kind(const char *type)
{
	for (int i = 0; i < (int)KHO_ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].type, type))
			return i;
	return -1;
}

/* Nobody misses it when it is not there. */
static bool may_miss(int kind)
{
	return kind >= 0 && kinds[kind].missing != NEEDED;
}

static int open_in(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, path[1] ? path + 1 : ".", &how, sizeof(how));
}

/* Make what is not there, with the directories that lead to it. */
static int make_path(int root, const char *path, const KhoProc__Node *like, struct kho_err *err)
{
	KhoProc__Node dir = KHO_PROC__NODE__INIT, last = KHO_PROC__NODE__INIT;
	char part[PATH_MAX];

	snprintf(part, sizeof(part), "%s", path + 1);
	for (char *p = strchr(part, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		dir.path = part;
		/* where units have their private temporary directories */
		dir.mode = S_IFDIR | (strstr(part, "systemd-private-") ? 0700 : 0755);
		if (kho_ns_make_node(root, &dir, err))
			return err ? err->code : -EIO;
		*p = '/';
	}
	last = *like;
	last.path = part;
	return kho_ns_make_node(root, &last, err);
}

/* What the system has at `from`: cloned. -ENODEV: it has something else there. */
static int clone_from(const struct build *b, const KhoProc__Mount *m, struct kho_err *err)
{
	int kind = find_kind(m->type);
	_cleanup_close_ int at = open_in(b->old, m->from);
	struct statfs fs;

	if (at < 0 && errno == ENOENT && m->node && !make_path(b->old, m->from, m->node, err))
		at = open_in(b->old, m->from);
	if (at < 0)
		return kho_fail_errno(err, "mount %s: open %s", m->target, m->from);
	if (kind >= 0 && (fstatfs(at, &fs) || fs.f_type != kinds[kind].magic))
		return kho_fail(err, -ENODEV, "mount %s: there is no %s at %s", m->target, m->type,
				m->from);
	int tree = (int)syscall(SYS_open_tree, at, "",
				AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? kho_fail_errno(err, "mount %s: clone %s", m->target, m->from) : tree;
}

/* Another mount of a file system of its own, which is in the new tree already. */
static int clone_own(const struct build *b, const KhoProc__Mount *m, const KhoProc__Mount *first,
		     struct kho_err *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%s", first->target, m->root) >= (int)sizeof(path))
		return kho_fail(err, -ENAMETOOLONG, "mount %s", m->target);
	_cleanup_close_ int at = open_in(b->new, path);
	int tree = at < 0 ? -1
			  : (int)syscall(SYS_open_tree, at, "",
					 AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? kho_fail_errno(err, "mount %s: clone %s", m->target, path) : tree;
}

/*
 * A file system of which only directories are to be seen: its root is mounted where only the old tree
 * shows it, because a part can be cloned only of what is mounted somewhere.
 */
static int make_hidden(struct build *b, size_t i, struct kho_err *err)
{
	const KhoProc__Mount *m = b->ns->mounts[i];
	_cleanup_close_ int fs = kho_ns_make_fs(m, err);
	int rc = 0;

	for (size_t k = i + 1; fs >= 0 && !rc && k < b->ns->n_mounts; k++)
		if (b->ns->mounts[k]->instance == m->instance && b->ns->mounts[k]->n_nodes)
			rc = kho_ns_make_nodes(fs, b->ns->mounts[k], err);
	if (fs < 0 || rc)
		return fs < 0 ? fs : rc;
	if (syscall(SYS_move_mount, fs, "", AT_FDCWD, b->stage, MOVE_MOUNT_F_EMPTY_PATH))
		return kho_fail_errno(err, "mount %s: at the stage", m->target);
	b->hidden[m->instance - 1] = steal_fd(fs);
	return 0;
}

static int clone_hidden(const struct build *b, const KhoProc__Mount *m, struct kho_err *err)
{
	_cleanup_close_ int at = open_in(b->hidden[m->instance - 1], m->root);
	int tree = at < 0 ? -1
			  : (int)syscall(SYS_open_tree, at, "",
					 AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? kho_fail_errno(err, "mount %s: clone %s", m->target, m->root) : tree;
}

/* Those come first: afterwards the stage is covered by the new root. */
static int make_all_hidden(struct build *b, struct kho_err *err)
{
	int rc = 0;

	b->nhidden = b->ns->n_mounts;
	b->hidden = malloc((b->nhidden + 1) * sizeof(*b->hidden));
	if (!b->hidden)
		return kho_fail(err, -ENOMEM, "mount namespace: out of memory");
	for (size_t i = 0; i < b->nhidden; i++)
		b->hidden[i] = -1;
	for (size_t i = 1; !rc && i < b->ns->n_mounts; i++) {
		const KhoProc__Mount *m = b->ns->mounts[i];
		bool first = m->instance > 0 && !*m->from;

		if (m->instance > b->nhidden || !kho_path_is_plain(m->root))
			return kho_fail(err, -EINVAL, "mount namespace: a number or path that cannot be");
		for (size_t k = 1; first && k < i; k++)
			first = b->ns->mounts[k]->instance != m->instance;
		if (first && strcmp(m->root, "/"))
			rc = make_hidden(b, i, err);
	}
	return rc;
}

int kho_ns_tree(int root, const KhoProc__Mount *m, struct kho_err *err)
{
	struct build b = { .old = root };
	struct mount_attr attr;
	_cleanup_close_ int tree = -1;

	if (*m->from && !kho_path_is_plain(m->from))
		return kho_fail(err, -EINVAL, "mount %s: a path that cannot be", m->target);
	tree = *m->from ? clone_from(&b, m, err) : kho_ns_make_fs(m, err);
	if (tree < 0)
		return tree;
	kho_ns_attr(m->options, &attr);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		return kho_fail_errno(err, "mount %s: options %s", m->target, m->options);
	return steal_fd(tree);
}

static int get_tree(const struct build *b, size_t i, struct kho_err *err)
{
	const KhoProc__Mount *m = b->ns->mounts[i];
	int kind = find_kind(m->type), tree;

	if (*m->from) {
		tree = clone_from(b, m, err);
		if (tree == -ENODEV && kind >= 0 && kinds[kind].missing == MADE && !strcmp(m->root, "/"))
			tree = kho_ns_make_fs(m, err);
		return tree;
	}
	if (m->instance && m->instance <= b->nhidden && b->hidden[m->instance - 1] >= 0)
		return clone_hidden(b, m, err);
	for (size_t k = 0; k < i; k++)
		if (b->ns->mounts[k]->instance == m->instance)
			return clone_own(b, m, b->ns->mounts[k], err);
	if (kind < 0 || kinds[kind].missing == LEFT_OUT)
		return kho_fail(err, -ENOTSUP, "mount %s: a %s cannot be made", m->target, m->type);
	return kho_ns_make_fs(m, err);
}

static int move_to(const struct build *b, const KhoProc__Mount *m, int tree, struct kho_err *err)
{
	KhoProc__Node place = KHO_PROC__NODE__INIT;
	struct stat st;
	_cleanup_close_ int at = open_in(b->new, m->target);

	if (at < 0 && errno == ENOENT && !fstat(tree, &st)) {
		place.mode = S_ISDIR(st.st_mode) ? S_IFDIR | 0755 : S_IFREG;
		if (!make_path(b->old, m->target, &place, err))
			at = open_in(b->new, m->target);
	}
	if (at < 0)
		return kho_fail_errno(err, "mount %s: open it", m->target);
	if (syscall(SYS_move_mount, tree, "", at, "",
		    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		return kho_fail_errno(err, "mount %s", m->target);
	return 0;
}

static int add_mount(const struct build *b, size_t i, struct kho_err *err)
{
	const KhoProc__Mount *m = b->ns->mounts[i];
	_cleanup_close_ int tree = -1, map = -1;
	struct mount_attr attr;
	int kind = find_kind(m->type), rc;

	if (!kho_path_is_plain(m->target) || (*m->from && !kho_path_is_plain(m->from)) || !kho_path_is_plain(m->root))
		return kho_fail(err, -EINVAL, "mount namespace: a path that cannot be");
	tree = get_tree(b, i, err);
	if (tree < 0)
		return may_miss(kind) && (*m->from || kinds[kind].missing == MADE) ? 0 : tree;
	kho_ns_attr(m->options, &attr);
	attr.propagation = m->shared ? MS_SHARED : 0;
	if (m->idmapped) {
		map = kho_ns_idmap(m, err);
		if (map < 0)
			return map;
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)map;
	}
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		return kho_fail_errno(err, "mount %s: options %s", m->target, m->options);
	rc = move_to(b, m, tree, err);
	/* on a shared mount it has become shared */
	attr = (struct mount_attr){ .propagation = MS_SLAVE };
	if (!rc && !m->shared &&
	    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		return kho_fail_errno(err, "mount %s: propagation", m->target);
	return rc && may_miss(kind) ? 0 : rc;
}

/* The first mount is the root: at the stage, where everything else is put on top. */
static int add_root(struct build *b, struct kho_err *err)
{
	const KhoProc__Mount *m = b->ns->mounts[0];
	_cleanup_close_ int tree = -1;
	struct mount_attr attr;

	if (strcmp(m->target, "/") || !kho_path_is_plain(m->from))
		return kho_fail(err, -EINVAL, "mount namespace: its first mount is no root");
	tree = clone_from(b, m, err);
	if (tree < 0)
		return tree;
	kho_ns_attr(m->options, &attr);
	attr.propagation = m->shared ? MS_SHARED : 0;
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) ||
	    syscall(SYS_move_mount, tree, "", AT_FDCWD, b->stage, MOVE_MOUNT_F_EMPTY_PATH))
		return kho_fail_errno(err, "mount the root at %s", b->stage);
	b->new = open(b->stage, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return b->new < 0 ? kho_fail_errno(err, "open %s", b->stage) : 0;
}

/* A root in RAM cannot be pivoted: it is covered instead. */
static int switch_root(const struct build *b, struct kho_err *err)
{
	if (fchdir(b->new))
		return kho_fail_errno(err, "enter %s", b->stage);
	if (!syscall(SYS_pivot_root, ".", ".")) {
		if (umount2(".", MNT_DETACH))
			return kho_fail_errno(err, "leave the old root");
	} else if (mount(".", "/", NULL, MS_MOVE, NULL)) {
		return kho_fail_errno(err, "make %s the root", b->stage);
	}
	if (chroot(".") || chdir("/"))
		return kho_fail_errno(err, "enter the new root");
	return 0;
}

int kho_ns_leave(const char *new_root, struct kho_err *err)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return kho_fail_errno(err, "new mount namespace");
	if (!*new_root)
		return 0;
	if (chdir(new_root) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return kho_fail_errno(err, "make %s the root", new_root);
	return 0;
}

int kho_ns_build(const KhoProc__Namespace *ns, const char *new_root, const char *stage,
		 struct kho_err *err)
{
	struct build b = { .ns = ns, .stage = stage, .old = -1, .new = -1 };
	int rc = ns->n_mounts ? kho_ns_leave(new_root, err)
			      : kho_fail(err, -EINVAL, "mount namespace: nothing in it");

	if (rc)
		return rc;
	b.old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b.old < 0)
		return kho_fail_errno(err, "open /");
	rc = make_all_hidden(&b, err);
	if (!rc)
		rc = add_root(&b, err);
	for (size_t i = 1; !rc && i < ns->n_mounts; i++)
		rc = add_mount(&b, i, err);
	if (!rc)
		rc = switch_root(&b, err);
	close(b.old);
	if (b.new >= 0)
		close(b.new);
	for (size_t i = 0; b.hidden && i < b.nhidden; i++)
		if (b.hidden[i] >= 0)
			close(b.hidden[i]);
	free(b.hidden);
	return rc;
}
