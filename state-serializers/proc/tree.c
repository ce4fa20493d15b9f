// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories of images, and small facts out of /proc.
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/tree.h"

static __thread int first_errno;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	if (remove(path) && errno != ENOENT && !first_errno)
		first_errno = errno;
	return 0;
}

int kho_tree_remove(const char *path, struct kho_err *err)
{
	first_errno = 0;
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT && !first_errno)
		first_errno = errno;
	return first_errno
		       ? kho_fail(err, -first_errno, "remove %s: %s", path, strerror(first_errno))
		       : 0;
}

int kho_dir_each(const char *dir, int (*fn)(const char *, const char *, void *, struct kho_err *),
		 void *arg, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return kho_fail_errno(err, "open %s", dir);
	while (!rc && (e = readdir(d)))
		if (e->d_type == DT_REG)
			rc = fn(dir, e->d_name, arg, err);
	return rc;
}

static int add_pages(const char *dir, const char *name, void *arg, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	uint64_t *sum = arg;
	struct stat st;

	(void)err;
	if (!strncmp(name, "pages-", 6) && asprintf(&path, "%s/%s", dir, name) > 0 &&
	    !stat(path, &st))
		*sum += (uint64_t)st.st_size;
	return 0;
}

uint64_t kho_dir_pages_bytes(const char *dir)
{
	uint64_t sum = 0;

	return kho_dir_each(dir, add_pages, &sum, NULL) ? 0 : sum;
}

bool kho_image_is_carried(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && !strcmp(name + len - 4, ".img");
}

uint64_t kho_kernel_number(const char *name)
{
	_cleanup_free_ char *text = NULL;
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	return kho_read_line(path, &text, NULL) ? 0 : strtoull(text, NULL, 10);
}
