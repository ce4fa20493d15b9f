/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel unpacks: "newc" archives, one behind the other, with zeros between them.  This
 * reader takes them in pieces of any size and tells of each entry; it refuses what the kernel would
 * misread.
 */
#ifndef KHO_BESIDE_CPIO_H
#define KHO_BESIDE_CPIO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

#define KHO_CPIO_HEAD 110 /* bytes of a header */

struct kho_cpio_entry {
	const char *name;   /* without "/" or "./" in front; "" is the root */
	const char *target; /* of a symbolic link, else "" */
	mode_t mode;
	uint32_t nlink;
	uint64_t bytes;	       /* of content */
	uint64_t begin, end;   /* of header, name, content and padding, in the stream */
};

/* Told of each entry (not of the end of an archive) when all of it has come; negative ends the reading. */
typedef int (*kho_cpio_fn)(void *arg, const struct kho_cpio_entry *e, struct kho_err *err);

struct kho_cpio {
	kho_cpio_fn fn;
	void *arg;
	/* private */
	uint64_t at;	       /* bytes taken so far */
	int state;
	char head[KHO_CPIO_HEAD + 1], name[PATH_MAX + 4], target[PATH_MAX];
	uint64_t begin, left, pad, have;
	uint32_t name_len;
	struct kho_cpio_entry e;
	bool is_trailer;
	uint64_t entries;
};

/* Begin; fn is called with arg. */
void kho_cpio_init(struct kho_cpio *c, kho_cpio_fn fn, void *arg);

/*
 * Take len bytes. *out_used (may be NULL: everything is to be taken): stop behind the end of an
 * archive, so many were taken. -EBADMSG: no archive.
 */
int kho_cpio_take(struct kho_cpio *c, const uint8_t *data, size_t len, size_t *out_used,
		  struct kho_err *err) __must_check;

/* Between two archives, or behind the last: nothing is missing. */
bool kho_cpio_is_whole(const struct kho_cpio *c);

#endif
