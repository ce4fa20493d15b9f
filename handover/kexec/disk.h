/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State that goes over a disk (--state-dir). The images of workloads lie, packed, in a folder of their own (KHO_CARRY_NAME) below the directory that
 * the operator names, until the next kernel has read them. What they are called, their sizes and digests are in the state (handed.proto), which goes through
 * memory: what lies on the disk vouches for nothing, and no name on it comes from there: the file of token 7 is "7.zst".
 */
#ifndef KHO_KEXEC_DISK_H
#define KHO_KEXEC_DISK_H

#include <stdint.h>

#include "lib/err.h"

struct kho_disk_file {
	uint64_t bytes;	 /* of the file */
	uint64_t packed; /* on the disk */
	uint64_t digest; /* of its bytes: kho_digest_add() of each MiB */
};

/* --- disk.c: files --- */

/*
 * Pack the file at `from` into folder (a descriptor) as that of token, 0600; one that is there is replaced. It is not synced to its end: that is for who has
 * put all of them (syncfs). until_us: kho_clock_us() at which it is given up (-ETIMEDOUT); 0: never.
 */
int kho_disk_put(int folder, uint64_t token, const char *from, uint64_t until_us, struct kho_disk_file *out, struct kho_err *err) __must_check;

/*
 * Read it again, from the disk if it has been synced, into a file at `to` (0600; none is left after a failure); NULL: only look whether it is whole.
 * until_us: as of kho_disk_put(). -EBADMSG: it is not what was put there.
 */
int kho_disk_get(int folder, uint64_t token, const struct kho_disk_file *f, const char *to, uint64_t until_us, struct kho_err *err) __must_check;

/* The same of an open file, from where it stands; out: a descriptor, or -1. Never writes more than f->bytes, whatever is in it. */
int kho_disk_unpack(int fd, const struct kho_disk_file *f, int out, uint64_t until_us, struct kho_err *err) __must_check;

/* --- place.c: the folder, and the file system that it lies on --- */

/*
 * Can state go over dir (absolute, without links)? Only root may be able to put something there; it lies on ext4 or xfs, on a PCI disk, with room for
 * so many bytes; no folder of an upgrade before is there. Negative: it cannot, and what would help. *out_free: the room there is; by /sys and the file
 * system, so of this machine only.
 */
int kho_disk_judge(const char *dir, uint64_t bytes, uint64_t *out_free, struct kho_err *err) __must_check;

/* Make the folder (0700) below dir; a descriptor. -EEXIST: there is one. Its inverse: kho_carry_drop() of handover/engine.h. */
int kho_disk_make(const char *dir, struct kho_err *err) __must_check;
/* The one that is there. A descriptor. */
int kho_disk_open(const char *dir, struct kho_err *err) __must_check;

/*
 * In the blackout the file system is frozen like all that are carried: let it be written to, and freeze it again, which waits until all is on the disk.
 * -EINVAL: it is not frozen, so that it is none of those that the next kernel will have. Whoever undoes the freeze finds it frozen or not.
 */
int kho_disk_thaw(int folder, struct kho_err *err) __must_check;
int kho_disk_freeze(int folder, struct kho_err *err) __must_check;

#endif
