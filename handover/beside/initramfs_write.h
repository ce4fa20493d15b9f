/* SPDX-License-Identifier: GPL-2.0-only */
/* The whole first root of an incoming kernel, as the kernel's unpacker wants it: the host's initrd where one was chosen, khoctl's own behind it. */
#ifndef KHO_BESIDE_INITRAMFS_WRITE_H
#define KHO_BESIDE_INITRAMFS_WRITE_H

#include "handover/beside/initramfs.h"
#include "handover/beside/initrd_choice.h"

/*
 * Bytes of khoctl's own archive, and of memory when it is unpacked; those of the choice's initrd are apart. What is in the way of the list becomes
 * a "no", and an initrd that khoctl's own does not fit behind is dropped.
 */
int kho_initramfs_measure(const struct kho_initramfs_in *in, struct kho_initramfs_choice *choice, uint64_t *out_archive, uint64_t *out_unpacked,
			  struct kho_report *r) __must_check;

/* How khoctl's own archive, of so many bytes, is packed: a level as kho_files_pack() takes it. */
int kho_initramfs_level(const struct kho_initramfs_in *in, uint64_t archive_bytes);

/*
 * Choose (unless the plan has: out->kind), list, and write it through sink, whose length after it is a multiple of 4 where anything
 * follows. out_bytes: of the archive; out_unpacked: of memory when it is unpacked. The choice's initrd is freed: it is written.
 */
int kho_initramfs_write(const struct kho_initramfs_in *in, const char *mode, const char *given, struct kho_initramfs_choice *choice,
			kho_sink_fn sink, void *arg, uint64_t *out_bytes, uint64_t *out_unpacked, struct kho_err *err) __must_check;

#endif
