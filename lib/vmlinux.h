/* SPDX-License-Identifier: GPL-2.0-only */
/* What is packed into an x86 kernel image: the kernel itself (an ELF file), for what only it can tell. */
#ifndef KHO_LIB_VMLINUX_H
#define KHO_LIB_VMLINUX_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* More than any kernel has. */
#define KHO_VMLINUX_MAX_BYTES (512u << 20)

/*
 * Unpack the payload (gzip, bzip2, lzma, xz, lzo, lz4, zstd) of the image at path; *out is the caller's. -ENOEXEC: no kernel image, or its
 * payload is damaged; the message says which.
 */
int kho_vmlinux_unpack(const char *path, uint8_t **out, size_t *out_len, struct kho_err *err) __must_check;

#endif
