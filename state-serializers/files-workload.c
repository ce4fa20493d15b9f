// SPDX-License-Identifier: GPL-2.0-only
/*
 * What workloads hold: open files, directories they stand in, paths of their sockets, pid files.  On
 * tmpfs all of it is carried (the incoming kernel's tmpfs is empty); on the root only what they may
 * have written since the last scan.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/container.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

struct look {
	struct kho_ramroot *f;
	int64_t since;
	bool written_only;
	dev_t root_dev;
	uint64_t *sockets; /* inodes of the workloads' sockets */
	size_t nsockets;
};

static bool has_entry(const struct kho_ramroot *f, const char *path)
{
	for (size_t i = 0; i < f->list->n_entry; i++)
		if (!strcmp(f->list->entry[i]->path, path))
			return true;
	return false;
}

/* The kernel's own: each has one. */
static bool is_kernels(const char *path)
{
	return kho_path_is_below(path, "/proc") || kho_path_is_below(path, "/sys") || kho_path_is_below(path, "/dev");
}

/* Where it lies. */
enum where {
	NOWHERE, /* not ours: /proc, or a disk, which the block serializer carries */
	RAM,	 /* tmpfs */
	ROOT,	 /* the root, in RAM */
	DISK,	 /* of a copy alone */
};

static enum where where(const struct look *l, const char *path, const struct stat *st)
{
	if (st->st_dev == l->root_dev && l->f->env->root_in_ram)
		return ROOT;
	if (kho_is_in_ram(path))
		return RAM;
	return l->f->env->copy && !is_kernels(path) ? DISK : NOWHERE;
}

/* Has the other kernel's initramfs this one, as it was when that was packed? (handover/beside/initramfs.c) */
static bool is_packed(const struct look *l, enum where at, const struct stat *st)
{
	return at == ROOT || (st->st_dev == l->root_dev && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)));
}

/* By its name alone, so that it counts once. */
static int count(struct look *l, const char *path, const struct stat *st, struct kho_err *err)
{
	struct kho_ramroot_sum *s = l->f->sum;
	Kho__FileEntry *e = malloc(sizeof(*e));

	if (!e)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__file_entry__init(e);
	if (kho_pb_set(&e->path, path) || kho_pb_append(&l->f->list->entry, &l->f->list->n_entry, e)) {
		kho__file_entry__free_unpacked(e, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	if (!S_ISREG(st->st_mode))
		return 0;
	s->n++;
	s->bytes += (uint64_t)st->st_size;
	if ((uint64_t)st->st_size < s->largest_bytes)
		return 0;
	s->largest_bytes = (uint64_t)st->st_size;
	snprintf(s->largest, sizeof(s->largest), "%s", path);
	return 0;
}

static int take(struct look *l, const char *path, bool written, struct kho_err *err)
{
	char full[PATH_MAX], dir[PATH_MAX];
	struct stat st;
	enum where at;

	snprintf(full, sizeof(full), "%s%s", l->f->root, path);
	at = path[0] != '/' || lstat(full, &st) < 0 ? NOWHERE : where(l, full, &st);
	if (at == NOWHERE)
		return 0;
	bool changed = st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec > l->since;

	/* a shared mapping is written to without a trace in ctime: `written` is enough */
	if (has_entry(l->f, path) || ((is_packed(l, at, &st) || l->written_only) && !written && !changed))
		return 0;
	if (l->f->sum)
		return count(l, path, &st, err);
	/* of a copy it comes when nobody writes to it */
	if (l->f->env->copy && written && !l->written_only)
		return 0;
	int ret = at == ROOT ? 0 : kho_ramroot_add_parents(l->f, path, err);

	if (!ret)
		ret = kho_ramroot_add(l->f, path, false, err);
	if (ret || !l->written_only || at == DISK)
		return ret;
	/* what was renamed into place beside it */
	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	if (!*dir || has_entry(l->f, dir))
		return 0;
	return kho_ramroot_scan(l->f, dir, l->since, true, err);
}

static int note_socket(struct look *l, const char *link, struct kho_err *err)
{
	uint64_t ino, *more;

	if (sscanf(link, "socket:[%" SCNu64 "]", &ino) != 1)
		return 0;
	more = realloc(l->sockets, (l->nsockets + 1) * sizeof(*more));
	if (!more)
		return kho_fail(err, -ENOMEM, "out of memory");
	l->sockets = more;
	more[l->nsockets++] = ino;
	return 0;
}

static int look_at_fd(struct look *l, int proc, const char *number, struct kho_err *err)
{
	char link[64], target[PATH_MAX], info[64], text[256];

	snprintf(link, sizeof(link), "fd/%s", number);
	ssize_t n = readlinkat(proc, link, target, sizeof(target) - 1);

	if (n <= 0)
		return 0;
	target[n] = '\0';
	if (target[0] != '/')
		return note_socket(l, target, err);
	if (n > 10 && !strcmp(target + n - 10, " (deleted)")) /* CRIU has it, and makes it anew in its directory */
		return l->f->env->copy && !is_kernels(target) ? kho_ramroot_add_parents(l->f, target, err) : 0;
	snprintf(info, sizeof(info), "fdinfo/%s", number);
	_cleanup_close_ int fd = openat(proc, info, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *flags;

	text[got > 0 ? got : 0] = '\0';
	flags = strstr(text, "flags:");
	return take(l, target, flags && (strtoul(flags + 6, NULL, 8) & O_ACCMODE) != O_RDONLY, err);
}

/* Shared writable mappings of files, of a copy all mappings: "addr-addr rw-s off dev inode path". */
static int look_at_maps(struct look *l, pid_t pid, struct kho_err *err)
{
	char path[64], *line = NULL;
	size_t size = 0;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	while (f && !ret && getline(&line, &size, f) > 0) {
		char *perms = strchr(line, ' '), *name = strchr(line, '/');

		bool written = perms && perms[2] == 'w' && perms[4] == 's';

		if (!name || (!written && !l->f->env->copy) || strstr(name, " (deleted)"))
			continue;
		name[strcspn(name, "\n")] = '\0';
		ret = take(l, name, written, err);
	}
	free(line);
	return ret;
}

static int look_at_process(struct look *l, pid_t pid, struct kho_err *err)
{
	char path[64], target[PATH_MAX];
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	_cleanup_close_ int proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	strcat(path, "/fd");
	_cleanup_closedir_ DIR *d = opendir(path);

	for (struct dirent *e = d ? readdir(d) : NULL; e && !ret; e = readdir(d))
		if (e->d_name[0] != '.')
			ret = look_at_fd(l, proc, e->d_name, err);
	ssize_t n = proc < 0 ? -1 : readlinkat(proc, "cwd", target, sizeof(target) - 1);

	if (!ret && n > 0) {
		target[n] = '\0';
		ret = take(l, target, false, err);
	}
	return ret ? ret : look_at_maps(l, pid, err);
}

static bool is_pid_of(const struct kho_workload_list *w, pid_t pid)
{
	for (size_t i = 0; w && i < w->n; i++)
		for (size_t k = 0; k < w->w[i].npids; k++)
			if (w->w[i].pids[k] == pid)
				return true;
	return false;
}

static bool is_socket_of(const struct look *l, const char *line)
{
	uint64_t ino;

	if (sscanf(line, "%*s %*s %*s %*s %*s %*s %" SCNu64, &ino) != 1)
		return false;
	for (size_t i = 0; i < l->nsockets; i++)
		if (l->sockets[i] == ino)
			return true;
	return false;
}

/* A directory of a workload below /run: on a machine whose init system makes /run anew, with all that is in it. */
static int take_dir(struct look *l, const char *dir, bool own, struct kho_err *err)
{
	int ret = take(l, dir, false, err);

	if (ret || !own || l->root_dev || strncmp(dir, "/run/", 5))
		return ret;
	return kho_ramroot_scan(l->f, dir, l->since, false, err);
}

/* Directories of bound sockets: CRIU binds them again, and needs the place. */
static int look_at_sockets(struct look *l, struct kho_err *err)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL, path[PATH_MAX];
	size_t size = 0;
	int ret = 0;

	while (f && !ret && getline(&line, &size, f) > 0) {
		char *name = strchr(line, '/');

		if (!name)
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)strcspn(name, "\n"), name);
		if (l->f->env->copy && is_socket_of(l, line))
			ret = kho_ramroot_add_parents(l->f, path, err);
		*strrchr(path, '/') = '\0';
		if (!ret && (!strncmp(path, "/run/", 5) || !strncmp(path, "/tmp/", 5)))
			ret = take_dir(l, path, is_socket_of(l, line), err);
	}
	free(line);
	return ret;
}

/* Links of the system may be in its name: "/var/run/x.pid". */
static int take_named(struct look *l, const char *path, struct kho_err *err)
{
	const char *name = strrchr(path, '/');
	char dir[PATH_MAX], there[PATH_MAX], real[2 * PATH_MAX];

	if (!name)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s/", (int)(name - path), path);
	if (!realpath(dir, there))
		return 0;
	snprintf(real, sizeof(real), "%s%s", strcmp(there, "/") ? there : "", name);
	return take(l, real, false, err);
}

/* Does a file of anybody's (/run/lock is everybody's) name a process of a workload? */
static bool names_pid(const struct look *l, const char *path)
{
	char real[PATH_MAX], text[32];
	_cleanup_close_ int fd = realpath(path, real) ? kho_ramroot_open(l->f, real) : -1;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return is_pid_of(l->f->env->workloads, strtol(text, NULL, 10));
}

static int look_at_pidfiles(struct look *l, struct kho_err *err)
{
	static const char *const patterns[] = { "/run/*.pid", "/run/*/*.pid" };
	const struct kho_workload_list *w = l->f->env->workloads;
	int ret = 0;

	for (size_t i = 0; w && !ret && i < w->n; i++)
		if (w->w[i].pidfile)
			ret = take_named(l, w->w[i].pidfile, err);
	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(patterns); i++) {
		glob_t g = { 0 };

		glob(patterns[i], GLOB_NOSORT, NULL, &g);
		/* only of what moves: others' would point at nobody */
		for (size_t k = 0; !ret && k < g.gl_pathc; k++)
			if (names_pid(l, g.gl_pathv[k]))
				ret = take_named(l, g.gl_pathv[k], err);
		globfree(&g);
	}
	return ret;
}

/*
 * What podman, containerd and their runtimes keep of containers, all of them: they would find a half of it to be broken. A few
 * small files, which others than workloads write: once more when all is frozen.
 */
static int look_at_containers(struct look *l, struct kho_err *err)
{
	static const char *const dirs[] = { "/run/containers", "/run/libpod", "/run/crun", "/run/runc", "/run/containerd" };
	const struct kho_workload_list *w = l->f->env->workloads;
	struct stat st;
	bool any = false;
	glob_t g = { 0 };
	int ret = 0;

	for (size_t i = 0; w && i < w->n; i++)
		any |= w->w[i].container != NULL;
	if (!any || l->root_dev)
		return 0;
	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(dirs); i++) {
		if (lstat(dirs[i], &st))
			continue;
		ret = kho_ramroot_add(l->f, dirs[i], true, err);
		if (!ret)
			ret = kho_ramroot_scan(l->f, dirs[i], 0, false, err);
	}
	/* of quadlet's services: the container's id */
	glob("/run/*.cid", GLOB_NOSORT, NULL, &g);
	for (size_t k = 0; !ret && k < g.gl_pathc; k++)
		ret = take(l, g.gl_pathv[k], false, err);
	globfree(&g);
	return ret;
}

/* What a container has in its /dev/shm: a mount of the system's for each of them. */
static int look_at_shm(struct look *l, struct kho_err *err)
{
	const struct kho_workload_list *w = l->f->env->workloads;
	glob_t g = { 0 };
	int ret = 0;

	for (size_t i = 0; w && !ret && i < w->n; i++) {
		char id[KHO_CONTAINER_ID_LEN], pattern[PATH_MAX];

		if (!w->w[i].container || l->root_dev || kho_container_id("", w->w[i].container, id, NULL))
			continue;
		snprintf(pattern, sizeof(pattern), "/var/lib/containers/storage/*-containers/%s/userdata/shm", id);
		glob(pattern, GLOB_NOSORT, NULL, &g);
		for (size_t k = 0; !ret && k < g.gl_pathc; k++)
			if (kho_is_in_ram(g.gl_pathv[k]))
				ret = kho_ramroot_scan(l->f, g.gl_pathv[k], l->written_only ? l->since : 0, false, err);
		globfree(&g);
	}
	return ret;
}

int kho_ramroot_of_workloads(struct kho_ramroot *f, int64_t since_ns, bool written_only, struct kho_err *err)
{
	struct look l = { .f = f, .since = since_ns, .written_only = written_only };
	const struct kho_workload_list *w = f->env->workloads;
	char root[PATH_MAX];
	struct stat st;
	int ret = 0;

	snprintf(root, sizeof(root), "%s/", f->root);
	if (stat(root, &st) < 0)
		return kho_fail_errno(err, "stat %s", root);
	/* a root on a disk is the block serializer's, but for a copy: 0 is no device */
	l.root_dev = f->env->root_in_ram || f->env->copy ? st.st_dev : 0;
	for (size_t i = 0; w && !ret && i < w->n; i++)
		for (size_t k = 0; !ret && k < w->w[i].npids; k++)
			ret = look_at_process(&l, w->w[i].pids[k], err);
	if (!ret)
		ret = look_at_pidfiles(&l, err);
	if (!ret)
		ret = look_at_containers(&l, err);
	if (!ret)
		ret = look_at_shm(&l, err);
	if (!ret && !written_only)
		ret = look_at_sockets(&l, err);
	free(l.sockets);
	return ret;
}
