// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two archives in one root.  See kho_initrd_join in handover/beside/initrd.h.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handover/beside/initrd.h"
#include "lib/cleanup.h"

#define MAX_LINKS 40

/* Index of the first entry whose name is not less. */
static size_t lower(const struct kho_initrd *in, const char *name)
{
	size_t lo = 0, hi = in->nentries;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(in->entry[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct kho_initrd_entry *find(const struct kho_initrd *in, const char *name)
{
	size_t i = lower(in, name);

	return i < in->nentries && !strcmp(in->entry[i].name, name) ? &in->entry[i] : NULL;
}

static bool is_filled(const struct kho_initrd *in, const char *dir)
{
	char below[PATH_MAX + 2];
	size_t i;

	snprintf(below, sizeof(below), "%s/", dir);
	i = lower(in, below);
	return i < in->nentries && !strncmp(in->entry[i].name, below, strlen(below));
}

struct walk {
	char here[PATH_MAX]; /* resolved so far */
	char todo[PATH_MAX];
	unsigned links;
};

static bool next(struct walk *w)
{
	size_t skip = strspn(w->todo, "/"), n = strcspn(w->todo + skip, "/"), used = strlen(w->here);
	const char *part = w->todo + skip;
	char *slash;

	if (!n)
		return false;
	if (n == 2 && !memcmp(part, "..", 2)) {
		slash = strrchr(w->here, '/');
		*(slash ? slash : w->here) = '\0';
	} else if (!(n == 1 && *part == '.')) {
		snprintf(w->here + used, sizeof(w->here) - used, "%s%.*s", used ? "/" : "", (int)n, part);
	}
	memmove(w->todo, part + n, strlen(part + n) + 1);
	return true;
}

/* `here` is a link of theirs: go on from what it leads to. */
static int follow(struct walk *w, const char *target, struct kho_err *err)
{
	char rest[PATH_MAX], *slash = strrchr(w->here, '/');

	if (++w->links > MAX_LINKS)
		return kho_fail(err, -ELOOP, "%s: too many symbolic links", w->here);
	if (strlen(target) + strlen(w->todo) + 2 > sizeof(w->todo))
		return kho_fail(err, -ENAMETOOLONG, "%s: too long", target);
	strcpy(rest, w->todo);
	snprintf(w->todo, sizeof(w->todo), "%s/%.*s", target, (int)(sizeof(w->todo) - strlen(target) - 2), rest);
	if (*target == '/')
		w->here[0] = '\0';
	else
		*(slash ? slash : w->here) = '\0';
	return 0;
}

/* Where a file of ours comes to lie, into w->here. */
static int resolve(const struct kho_initrd *in, const char *dst, bool is_dir, struct walk *w, struct kho_err *err)
{
	*w = (struct walk){ 0 };
	if (snprintf(w->todo, sizeof(w->todo), "%s", dst) >= (int)sizeof(w->todo))
		return kho_fail(err, -ENAMETOOLONG, "%s: too long", dst);
	while (next(w)) {
		const struct kho_initrd_entry *e = find(in, w->here);
		bool last = !w->todo[strspn(w->todo, "/")];

		if (e && S_ISLNK(e->mode) && (!last || is_dir) && follow(w, e->target, err) < 0)
			return err ? err->code : -ELOOP;
	}
	return 0;
}


static int join_one(const struct kho_initrd *in, struct kho_file *f, struct kho_files *cut, struct kho_err *err)
{
	const struct kho_initrd_entry *e;
	bool is_dir = S_ISDIR(f->mode);
	struct walk w;
	char *moved;

	if (resolve(in, f->dst, is_dir, &w, err) < 0)
		return err ? err->code : -ELOOP;
	if (strcmp(w.here, f->dst)) {
		moved = strdup(w.here);
		if (!moved)
			return kho_fail(err, -ENOMEM, "initrd: out of memory");
		free(f->dst);
		f->dst = moved;
	}
	e = find(in, f->dst);
	if (e && S_ISDIR(e->mode) && !is_dir && is_filled(in, f->dst))
		return kho_fail(err, -EEXIST, "/%s is a directory with files in it, here it is none", f->dst);
	if (e && e->hard && S_ISREG(f->mode))
		return kho_files_add_made(cut, f->dst, S_IFLNK | 0777, "khoctl", 0, err);
	return 0;
}

int kho_initrd_join(const struct kho_initrd *in, struct kho_files *ours, struct kho_files *out_cut,
		    struct kho_err *err)
{
	int ret = 0;

	*out_cut = (struct kho_files){ 0 };
	for (size_t i = 0; !ret && i < ours->n; i++)
		ret = join_one(in, &ours->f[i], out_cut, err);
	if (!ret)
		ret = kho_files_close(ours, err); /* some have moved */
	if (ret < 0)
		kho_files_done(out_cut);
	return ret;
}
