/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An initramfs that somebody else has made (initramfs-tools, dracut, the operator): found, read to
 * its last byte before anything is touched, and joined with khoctl's own, which comes behind it, so
 * that of two files of one name khoctl's is the one that stays.
 */
#ifndef KHO_BESIDE_INITRD_H
#define KHO_BESIDE_INITRD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "handover/beside/files.h"
#include "lib/err.h"

struct kho_initrd_entry {
	char *name;   /* without "/" in front */
	char *target; /* of a symbolic link, or NULL */
	mode_t mode;
	bool hard;    /* has other names */
	size_t order; /* in the archive */
};

struct kho_initrd_piece { /* bytes of the file that are handed on */
	uint64_t at, bytes;
	bool pad; /* zeros behind it: it is compressed, or a file's end */
};

struct kho_initrd {
	uint8_t *data; /* the file; malloc'd: it may be replaced while we have it */
	size_t len;
	struct kho_initrd_piece *piece;
	size_t npieces;
	struct kho_initrd_entry *entry; /* closed: sorted by name, of each name the last */
	size_t nentries;
	uint64_t packed, unpacked; /* bytes that are handed on; bytes of memory when unpacked */
	bool early;		   /* it had an early part (microcode, ACPI tables), which is left out */
};

/* The initrd that the system has of a release, malloc'd path (below sysroot), or NULL. */
char *kho_initrd_find(const char *sysroot, const char *release);

/*
 * Read the file, unpack all of it in memory and look at each entry. -EBADMSG: it is damaged, the
 * message says where.
 */
int kho_initrd_open(const char *path, struct kho_initrd *out, struct kho_err *err) __must_check;
/* The same with bytes that are there already (for tests); takes them. */
int kho_initrd_parse(uint8_t *data, size_t len, struct kho_initrd *out, struct kho_err *err) __must_check;

/* Write what is handed on: aligned, so that another archive can follow. */
int kho_initrd_write(const struct kho_initrd *in, kho_sink_fn sink, void *arg, struct kho_err *err) __must_check;

/*
 * Make ours (closed) fit behind it. The kernel's unpacker makes no directory where a link is and no link
 * where a filled directory is, and writes into a file that is there, whatever other names it has. So
 * what of ours lies below a link of theirs moves to where that leads, and *out_cut (closed) gets a link for each
 * file of theirs that must be gone first; it is packed between both. -EEXIST: it cannot be.
 */
int kho_initrd_join(const struct kho_initrd *in, struct kho_files *ours, struct kho_files *out_cut,
		    struct kho_err *err) __must_check;

void kho_initrd_done(struct kho_initrd *in);

#endif
