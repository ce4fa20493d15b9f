// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list itself.  kho_files_close sorts by name: a directory then comes before what is in it,
 * which the kernel's unpacker needs.
 */
#include "handover/beside/files.h"

#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handover/beside/machine.h"
#include "lib/cleanup.h"

#define MAX_LINKS 40

static int no_memory(struct kho_err *err)
{
	return kho_fail(err, -ENOMEM, "list of files: out of memory");
}

static const char *relative(const char *path)
{
	return path + strspn(path, "/");
}

static int add(struct kho_files *l, const struct kho_file *what, struct kho_err *err)
{
	struct kho_file *f = kho_array_add(&l->f, &l->n, sizeof(*f));

	if (!f)
		return no_memory(err);
	*f = *what;
	f->dst = strdup(relative(what->dst));
	f->src = what->src ? strdup(what->src) : NULL;
	f->data = what->data ? strdup(what->data) : NULL;
	if (!f->dst || (what->src && !f->src) || (what->data && !f->data))
		return no_memory(err);
	return 0;
}

int kho_files_add_as(struct kho_files *l, const char *path, const char *dst, struct kho_err *err)
{
	struct kho_file f = { .dst = (char *)dst, .src = (char *)path, .wins = true };
	struct stat st;

	if (lstat(path, &st) < 0)
		return kho_fail_errno(err, "%s", path);
	f.bytes = S_ISREG(st.st_mode) ? st.st_size : 0;
	f.mode = st.st_mode;
	return add(l, &f, err);
}

int kho_files_add_made(struct kho_files *l, const char *dst, mode_t mode, const char *data,
		       dev_t rdev, struct kho_err *err)
{
	struct kho_file f = {
		.dst = (char *)dst, .data = (char *)data, .mode = mode, .rdev = rdev, .wins = true
	};

	f.bytes = data ? strlen(data) : 0;
	return add(l, &f, err);
}

/* Where a symbolic link at `path` leads: absolute path of its target, not resolved further. */
static int link_target(const char *path, char out[PATH_MAX], struct kho_err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	int len;

	if (n < 0)
		return kho_fail_errno(err, "%s", path);
	target[n] = '\0';
	if (*target == '/')
		len = snprintf(out, PATH_MAX, "%s", target);
	else
		len = snprintf(out, PATH_MAX, "%.*s/%s", (int)(strrchr(path, '/') - path), path,
			       target);
	return len < PATH_MAX ? 0 : kho_fail(err, -ENAMETOOLONG, "%s: target too long", path);
}

struct walk {
	struct kho_files *l;
	struct kho_err *err;
	char here[PATH_MAX]; /* resolved so far, "" = the root */
	char todo[PATH_MAX]; /* still to go */
	unsigned links;
};

/* Take the next component of `todo` into `here`; false at the end. */
static bool next_component(struct walk *w)
{
	size_t skip = strspn(w->todo, "/"), n = strcspn(w->todo + skip, "/"),
	       used = strlen(w->here);
	char *name = w->todo + skip, *slash;

	if (!n)
		return false;
	if (n == 2 && !memcmp(name, "..", 2)) {
		slash = strrchr(w->here, '/');
		if (slash)
			*slash = '\0';
	} else if (!(n == 1 && *name == '.')) {
		snprintf(w->here + used, sizeof(w->here) - used, "/%.*s", (int)n, name);
	}
	memmove(w->todo, name + n, strlen(name + n) + 1);
	return true;
}

/* `here` is a symbolic link: go on from what it stands for. */
static int follow(struct walk *w)
{
	char target[PATH_MAX];
	int ret = link_target(w->here, target, w->err);

	if (ret < 0)
		return ret;
	if (++w->links > MAX_LINKS)
		return kho_fail(w->err, -ELOOP, "%s: too many symbolic links", w->here);
	if (strlen(target) + strlen(w->todo) + 2 > sizeof(w->todo))
		return kho_fail(w->err, -ENAMETOOLONG, "%s: too long", target);
	memmove(w->todo + strlen(target), w->todo, strlen(w->todo) + 1);
	memcpy(w->todo, target, strlen(target));
	w->here[0] = '\0';
	return 0;
}

int kho_files_add(struct kho_files *l, const char *path, struct kho_err *err)
{
	struct walk w = { .l = l, .err = err };
	struct stat st;
	int ret = 0;

	if (strlen(path) >= sizeof(w.todo))
		return kho_fail(err, -ENAMETOOLONG, "%s: too long", path);
	strcpy(w.todo, path);
	while (!ret && next_component(&w)) {
		struct kho_file f = { .dst = w.here, .src = w.here };

		if (!w.here[0])
			continue;
		if (lstat(w.here, &st) < 0)
			return kho_fail_errno(err, "%s", w.here);
		f.mode = st.st_mode;
		f.bytes = S_ISREG(st.st_mode) ? st.st_size : 0;
		ret = add(l, &f, err);
		if (!ret && S_ISLNK(st.st_mode))
			ret = follow(&w);
	}
	return ret;
}

static bool is_without(const char *path, const char *const *without)
{
	for (; without && *without; without++) {
		size_t n = strlen(*without);

		if (!strncmp(path, *without, n) && (path[n] == '\0' || path[n] == '/'))
			return true;
	}
	return false;
}

static int add_tree_entry(struct kho_files *l, const FTSENT *e, const char *prefix,
			  struct kho_err *err)
{
	struct kho_file f = { .mode = e->fts_statp->st_mode };

	f.src = (char *)e->fts_path;
	f.dst = (char *)e->fts_path + strlen(prefix);
	f.bytes = S_ISREG(f.mode) ? e->fts_statp->st_size : 0;
	if (S_ISSOCK(f.mode) || !*relative(f.dst))
		return 0;
	return add(l, &f, err);
}

int kho_files_add_tree(struct kho_files *l, const char *root, const char *prefix,
		       const char *const *without, struct kho_err *err)
{
	char *paths[] = { (char *)root, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	int ret = 0;
	FTSENT *e;

	if (!fts)
		return kho_fail_errno(err, "%s", root);
	while (!ret && (e = fts_read(fts))) {
		if (e->fts_info == FTS_DP)
			continue;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) {
			if (e->fts_errno != ENOENT) /* gone since the directory was read */
				ret = kho_fail(err, -e->fts_errno, "%s: %s", e->fts_path,
					       strerror(e->fts_errno));
			continue;
		}
		if (is_without(e->fts_path, without)) {
			fts_set(fts, e, FTS_SKIP);
			continue;
		}
		ret = add_tree_entry(l, e, prefix, err);
	}
	fts_close(fts);
	return ret;
}

static int by_name(const void *a, const void *b)
{
	const struct kho_file *x = a, *y = b;
	int c = strcmp(x->dst, y->dst);

	return c ? c : y->wins - x->wins;
}

static void file_done(struct kho_file *f)
{
	free(f->dst);
	free(f->src);
	free(f->data);
}

static void drop_doubles(struct kho_files *l)
{
	size_t i, kept = 0;

	if (l->n)
		qsort(l->f, l->n, sizeof(*l->f), by_name);
	for (i = 0; i < l->n; i++) {
		if (kept && !strcmp(l->f[kept - 1].dst, l->f[i].dst))
			file_done(&l->f[i]);
		else
			l->f[kept++] = l->f[i];
	}
	l->n = kept;
}

static bool has(const struct kho_files *l, size_t n, const char *dst)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(dst, l->f[mid].dst);

		if (!c)
			return true;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

int kho_files_close(struct kho_files *l, struct kho_err *err)
{
	size_t i, n;
	int ret = 0;

	drop_doubles(l);
	n = l->n; /* those before n are sorted; parents come behind them */
	for (i = 0; i < n && !ret; i++) {
		_cleanup_free_ char *dir = strdup(l->f[i].dst);
		char *slash;

		if (!dir)
			return no_memory(err);
		while (!ret && (slash = strrchr(dir, '/'))) {
			*slash = '\0';
			if (!has(l, n, dir))
				ret = add(l,
					  &(struct kho_file){ .dst = dir, .mode = S_IFDIR | 0755 },
					  err);
		}
	}
	if (ret < 0)
		return ret;
	drop_doubles(l);
	return 0;
}

void kho_files_size(const struct kho_files *l, uint64_t *out_archive, uint64_t *out_unpacked)
{
	uint64_t archive = 1024, unpacked = 0;
	size_t i;

	for (i = 0; i < l->n; i++) {
		archive += 110 + strlen(l->f[i].dst) + 4 + l->f[i].bytes + 3;
		unpacked +=
			1024 + (l->f[i].bytes + 4095) / 4096 * 4096; /* inode and directory entry */
	}
	*out_archive = archive;
	*out_unpacked = unpacked;
}

void kho_files_done(struct kho_files *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		file_done(&l->f[i]);
	free(l->f);
	memset(l, 0, sizeof(*l));
}
