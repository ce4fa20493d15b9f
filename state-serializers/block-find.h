/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the finding of file systems (block-find.c, block-layer.c).
 */
#ifndef KHO_BLOCK_FIND_H
#define KHO_BLOCK_FIND_H

#include <limits.h>

#include "state-serializers/block.h"

struct kho_find {
	const char *sysroot;
	Kho__Block *b;
	struct kho_report *r;
	char why[200];		/* what cannot be carried, filled with -ENOTSUP */
};

/* An attribute of a sysfs directory (full path), malloc'd; false: none. */
bool kho_find_attr(const char *dir, const char *attr, char **out);
uint64_t kho_find_number(const char *dir, const char *attr);

/* Index of a disk, added when it is new. dir: its directory in sysfs. */
int kho_find_disk(struct kho_find *f, const char *dir, const char *pci, uint32_t *out, struct kho_err *err);

/*
 * What really carries block device dev: a disk or partition on a PCI function, or a mapping over such, which is added with all that
 * is below it. -ENOTSUP: something that is not carried, f->why says what.
 */
int kho_find_under(struct kho_find *f, dev_t dev, unsigned depth, Kho__BlockRef *out, struct kho_err *err);

/* The device below one of our own thin layers, by sysfs. dir: resolved path in sysfs, changed in place. -ENOTSUP: another mapped device. */
int kho_find_see_through(char dir[PATH_MAX]);

#endif
