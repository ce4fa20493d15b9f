/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the incoming kernel's first root is made of: khoctl's own files alone, or behind an
 * initramfs that the host's generator (or the operator) has made.
 */
#ifndef KHO_BESIDE_INITRD_CHOICE_H
#define KHO_BESIDE_INITRD_CHOICE_H

#include "handover/beside/initrd.h"
#include "lib/err.h"
#include "lib/report.h"

enum kho_initramfs {
	KHO_INITRAMFS_NONE, /* not chosen yet */
	KHO_INITRAMFS_KHOCTL,
	KHO_INITRAMFS_HOST,
	KHO_INITRAMFS_GIVEN /* by path */
};

struct kho_initramfs_choice {
	enum kho_initramfs kind;
	bool asked;	 /* the operator wants it so: what is in the way is a refusal */
	char *path;	 /* of the initrd, or NULL */
	char reason[300]; /* for the kind */
	struct kho_initrd initrd; /* read and found good; empty for khoctl's own alone */
};

/* "khoctl", "host", "given" */
const char *kho_initramfs_name(enum kho_initramfs kind);

/*
 * mode: "auto" (or NULL), "khoctl", "host"; given: a path, which goes before the mode, or NULL. jumps: the target boots in the blackout. Auto takes the
 * host's where it can, but not with a root in RAM, nor for one that jumps. An initrd that was asked for and is not there or is damaged becomes a "no" in the report (and kind is khoctl's); one that was not,
 * an item that says so.
 */
int kho_initramfs_choose(const char *mode, const char *given, const char *sysroot, const char *release,
			 bool root_in_ram, bool jumps, struct kho_initramfs_choice *out, struct kho_report *r) __must_check;

/* The initrd cannot be used after all: khoctl's own alone, or a "no" when it was asked for. */
int kho_initramfs_drop(struct kho_initramfs_choice *c, const char *why, const char *fix, struct kho_report *r) __must_check;

void kho_initramfs_choice_done(struct kho_initramfs_choice *c);

#endif
