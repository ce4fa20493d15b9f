// SPDX-License-Identifier: GPL-2.0-only
/*
 * Incoming side of a container: its mounts before CRIU restores it, and podman's files afterwards.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/place.h"

#define ALIVE	"/run/libpod/alive"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/*
 * Podman mounts with "volatile": the overlay then leaves a mark, by which a crash would be known and which
 * forbids another mount. Nothing has crashed: the disk was frozen with all that was written.
 */
static void drop_mark(const char *options)
{
	static const char *const marks[] = { "work/incompat/volatile/dirty", "work/incompat/volatile" };
	const char *work = strstr(options, ",workdir=");
	char path[PATH_MAX];

	for (size_t i = 0; work && i < KHO_ARRAY_SIZE(marks); i++) {
		snprintf(path, sizeof(path), "%.*s/%s", (int)strcspn(work + 9, ","), work + 9, marks[i]);
		(void)!remove(path); /* mounted without */
	}
}

/* Options as mountinfo shows them: "rw" is none of the overlay's, and one is shown in other words than it is given. */
static int mount_with(const char *target, const char *options)
{
	_cleanup_free_ char *copy = strdup(options), *words = calloc(1, strlen(options) + 2);
	char *save = NULL;

	for (char *o = copy && words ? strtok_r(copy, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save)) {
		if (!strcmp(o, "rw"))
			continue;
		if (*words)
			strcat(words, ",");
		strcat(words, !strcmp(o, "fsync=volatile") ? "volatile" : o);
	}
	if (!words)
		return -ENOMEM;
	return mount("overlay", target, "overlay", 0, words) ? -errno : 0;
}

/*
 * CRIU puts the former root at "tmp" for a moment, and where there is none makes a directory for that: not in a root that the container sees
 * read-only (a pod's sandbox has such a one). Ours is known by its mode.
 */
#define PIVOT	   "tmp"
#define PIVOT_MODE 0001

static int make_pivot(const KhoProc__Container *c, struct kho_err *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" PIVOT, c->rootfs);
	if (!mkdir(path, PIVOT_MODE) || errno == EEXIST || (errno == EROFS && !strncmp(c->overlay, "ro", 2)))
		return 0;
	if (errno != EROFS)
		return kho_fail_errno(err, "make %s", path);
	/* an overlay without a work directory is mounted like that; or its upper file system had an error */
	return kho_fail(err, -EROFS, "the container's root at %s became read-only; the incoming kernel's log says why: khoctl log", c->rootfs);
}

void kho_container_settled(const KhoProc__Container *c, const char *new_root)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s%s/" PIVOT, new_root, c->rootfs) < (int)sizeof(path) && !lstat(path, &st) && S_ISDIR(st.st_mode) &&
	    (st.st_mode & 07777) == PIVOT_MODE)
		rmdir(path);
}

/* With the carried root as ours: paths in the options are seen from there, and may be relative to the storage. */
static int mount_root(const KhoProc__Container *c, struct kho_err *err)
{
	char dir[PATH_MAX];
	int rc;

	snprintf(dir, sizeof(dir), "%s", c->rootfs);
	for (int i = 0; i < 2 && strrchr(dir, '/') > dir; i++)
		*strrchr(dir, '/') = '\0';
	if (kho_is_mount_point(c->rootfs))
		return 0;
	if (chdir(dir))
		return kho_fail_errno(err, "enter %s", dir);
	drop_mark(c->overlay);
	(void)!mkdir(c->rootfs, 0711); /* it is there, unless it lies in RAM, where only what a mount does not hide was carried */
	rc = mount_with(c->rootfs, c->overlay);
	if (rc)
		return kho_fail(err, rc, "mount the container's root at %s (%s): %s", c->rootfs, c->overlay, strerror(-rc));
	return make_pivot(c, err);
}

/* In the system's mount namespace: podman finds it there. */
static int mount_for_all(const KhoProc__Container *c, const char *new_root, struct kho_err *err)
{
	_cleanup_close_ int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (!*new_root)
		return mount_root(c, err);
	if (old < 0 || chroot(new_root))
		return kho_fail_errno(err, "enter %s", new_root);
	rc = mount_root(c, err);
	if (fchdir(old) || chroot("."))
		return kho_fail_errno(err, "leave %s", new_root);
	return rc;
}

/* A mount of ours at stage/I, for CRIU to bind. */
static int stage_one(const KhoProc__Mount *m, int root, const char *stage, size_t i, struct kho_err *err)
{
	_cleanup_close_ int tree = kho_ns_tree(root, m, err);
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (tree < 0)
		return tree;
	snprintf(path, sizeof(path), "%s/%zu", stage, i);
	if (fstat(tree, &st))
		return kho_fail_errno(err, "mount %s", m->target);
	fd = S_ISDIR(st.st_mode) ? mkdir(path, 0700) : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return kho_fail_errno(err, "make %s", path);
	if (!S_ISDIR(st.st_mode))
		close(fd);
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH))
		return kho_fail_errno(err, "mount %s at %s", m->target, path);
	return 0;
}

int kho_container_enter(const KhoProc__Container *c, const char *new_root, const char *stage,
			struct kho_err *err)
{
	int rc = mount_for_all(c, new_root, err);

	if (!rc)
		rc = kho_ns_leave(new_root, err);
	if (rc)
		return rc;
	/* we are in its control group: what it sees as the root of them */
	if ((c->own_cgroup_ns && unshare(CLONE_NEWCGROUP)) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", stage, "tmpfs", MS_NOSUID, "mode=0700"))
		return kho_fail_errno(err, "a place for the container's mounts");
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; !rc && i < c->n_external; i++)
		rc = stage_one(c->external[i], root, stage, i, err);
	return rc;
}

void kho_container_leave(const KhoProc__Container *c, const char *new_root)
{
	char path[PATH_MAX];

	if (!kho_path_is_plain(c->rootfs))
		return;
	snprintf(path, sizeof(path), "%s%s", new_root, c->rootfs);
	(void)!umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW); /* EINVAL: it was not mounted */
}

static int tell_runtime(const KhoProc__Container *c, const uint64_t *inodes, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL, *stat = NULL, *out = NULL;
	char path[PATH_MAX];
	size_t len = 0;
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/stat", c->root);
	rc = kho_read_file(path, 65536, &stat, NULL, err);
	kho_container_status_path(c, path);
	if (!rc)
		rc = kho_read_file(path, 1 << 20, &text, &len, err);
	if (!rc)
		rc = kho_container_status(text, len, c, kho_stat_start(stat), inodes, &out, err);
	return rc ? rc : kho_write_file(path, out, strlen(out), err);
}

int kho_container_tell(const KhoProc__Container *c, const uint64_t *inodes, struct kho_err *err)
{
	_cleanup_free_ char *id = NULL, *known = NULL;
	int rc = c->shim || (*c->id && strspn(c->id, "0123456789abcdef") == strlen(c->id))
			 ? tell_runtime(c, inodes, err)
			 : kho_fail(err, -EPROTO, "container: its id is none");

	/* an older podman keeps nothing in it */
	if (!rc && !c->shim && kho_read_line(ALIVE, &known, NULL) >= 0 && strlen(known) == 36 && kho_read_line(BOOT_ID, &id, NULL) >= 0) {
		_cleanup_close_ int fd = open(ALIVE, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0 || kho_write_all(fd, id, strlen(id)) || kho_write_all(fd, "\n", 1))
			rc = kho_fail_errno(err, "write %s", ALIVE);
	}
	return rc;
}
