/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A list of files that will become an initramfs.  Paths inside carry no leading slash; parents and
 * the symbolic links on the way to a file are added by themselves.
 */
#ifndef KHO_BESIDE_FILES_H
#define KHO_BESIDE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

struct kho_file {
	char *dst;	/* path in the initramfs */
	char *src;	/* file to copy, or NULL: synthetic */
	char *data;	/* synthetic: content, or target of a symbolic link */
	mode_t mode;	/* synthetic: type and permissions */
	dev_t rdev;	/* synthetic device node */
	bool wins;	/* over another entry of the same name */
	uint64_t bytes; /* of content when it was listed */
};

struct kho_files {
	struct kho_file *f;
	size_t n;
};

/* Add a real file, link or directory (not what is in it) under its own name, with all on the way to
 * it. */
int kho_files_add(struct kho_files *l, const char *path, struct kho_err *err);
/* Add a real file under another name. */
int kho_files_add_as(struct kho_files *l, const char *path, const char *dst, struct kho_err *err);
/* Add something that is not there: S_IFREG and S_IFLNK with data, S_IFDIR, S_IFCHR with rdev. */
int kho_files_add_made(struct kho_files *l, const char *dst, mode_t mode, const char *data,
		       dev_t rdev, struct kho_err *err);
/*
 * Add a whole file system tree: not what is mounted below it, no sockets, none of the paths in
 * `without` (NULL-terminated, absolute) nor anything below them.  prefix, with which root begins,
 * is left out of the names in the archive.
 */
int kho_files_add_tree(struct kho_files *l, const char *root, const char *prefix,
		       const char *const *without, struct kho_err *err);

/* Sort, add missing parent directories, drop doubles. */
int kho_files_close(struct kho_files *l, struct kho_err *err);
/* Of a closed list: bytes of the uncompressed archive, and of memory once it is unpacked. */
void kho_files_size(const struct kho_files *l, uint64_t *out_archive, uint64_t *out_unpacked);
void kho_files_done(struct kho_files *l);

/* Where the archive goes, piece by piece: 0 or negative errno. */
typedef int (*kho_sink_fn)(void *arg, const void *data, size_t len);

/* Into the descriptor that arg points to (int *). */
int kho_sink_fd(void *arg, const void *data, size_t len);

/* How to pack an archive of so many bytes: 0 (as it is) or a level of zstd; see there. */
int kho_files_level(uint64_t archive_bytes);

/* About how many bytes it has then. */
uint64_t kho_files_packed(uint64_t archive_bytes, int level);

/* Whatever its size: as it is (where a level may be chosen; not for kho_files_pack()). */
#define KHO_PACK_PLAIN (-1)
/* With a level of zstd: by the calling thread alone, as in the blackout. */
#define KHO_PACK_ALONE 0x100

/*
 * Write a closed list as newc archive; level 0: as it is, else zstd (one frame, which the kernel's
 * unpacker takes beside others where it has CONFIG_RD_ZSTD).
 */
int kho_files_pack(const struct kho_files *l, int level, kho_sink_fn sink, void *arg,
		   struct kho_err *err);

#endif
