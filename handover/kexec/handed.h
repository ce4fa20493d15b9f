/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one kernel hands to the next through kexec (handed.proto), and where it lies. Written by the engine (or, on the way back, by the
 * agent), read by the agent, which trusts none of it: names, sizes and numbers are checked here.
 *
 * Two carriers. "luo": files in tmpfs are preserved in place by the Live Update Orchestrator, nothing is copied; both kernels must have
 * it, of one version. "initrd": everything is the last part of the initramfs, below KHO_HANDED_DIR; any kernel can read that. With --state-dir the
 * images of workloads are not in there but on a disk (handover/kexec/disk.h).
 */
#ifndef KHO_KEXEC_HANDED_H
#define KHO_KEXEC_HANDED_H

#include <stdbool.h>
#include <stddef.h>

#include "handover/kexec/handed.pb-c.h"
#include "lib/err.h"

#define KHO_HANDED_REVISION 1

/* In the initramfs (carrier "initrd"): state, and images/ with the files. */
#define KHO_HANDED_DIR	  "/khoctl-handed"
#define KHO_HANDED_STATE  KHO_HANDED_DIR "/state"
#define KHO_HANDED_IMAGES KHO_HANDED_DIR "/images"
/* The word of the command line that tells the incoming init of it, and its values. */
#define KHO_HANDED_WORD	  "khoctl.handed"
#define KHO_HANDED_LUO	  "luo"
#define KHO_HANDED_INITRD "initrd"
/* And the one that tells which messages the console shows when the upgrade is through (the first number of kernel.printk). */
#define KHO_HANDED_LOGLEVEL "khoctl.loglevel"
/* Carrier "luo": the session's name; the state's token, files have the tokens from 1 on. */
#define KHO_HANDED_SESSION     "khoctl"
#define KHO_HANDED_STATE_TOKEN 0

#define KHO_HANDED_STATE_MAX (256u << 20)
#define KHO_HANDED_FILES_MAX 100000
/* Carrier "luo": so many descriptors may be open, for the files and for everything else. */
#define KHO_HANDED_FDS (KHO_HANDED_FILES_MAX + 1000)

/* Packed, malloc'd. */
int kho_handed_pack(const KhoHanded__State *s, void **out, size_t *out_len, struct kho_err *err) __must_check;

/*
 * Parse and check: revision, releases, names below images_dir (kho_link_name_ok), tokens of the carrier, the directory on the disk, each message one of
 * those that are replayed, the way back's paths. -EBADMSG or -EPROTONOSUPPORT with what is wrong. *out: kho_handed_free().
 */
int kho_handed_unpack(const void *data, size_t len, bool luo, KhoHanded__State **out, struct kho_err *err) __must_check;

void kho_handed_free(KhoHanded__State *s);

/*
 * Carrier "initrd": behind the archives that the initramfs at path holds, one more; whole or not at all. level: as of kho_files_pack(), and only what the
 * kernel that reads it can unpack. The file must not be loaded meanwhile.
 */

/* The packed state in the file `state`, and s's files, which lie below dir; but those on a disk and (skip, NULL: none) those whose place in it is set. */
int kho_handed_append(const char *path, const char *state, const KhoHanded__State *s, const char *dir, const bool *skip, int level,
		      struct kho_err *err) __must_check;

/* One file, which is called so among the images and will stay as it is. Of two of one name the later counts. */
int kho_handed_append_file(const char *path, const char *from, const char *name, int level, struct kho_err *err) __must_check;

#endif
