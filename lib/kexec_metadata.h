/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a kernel with Kexec HandOver knows of how it was started: the kernel before tells it its release, and how often there was a
 * kexec since the machine was started without one (include/linux/kho/abi/kexec_metadata.h of Linux 7.x). It is shown in debugfs, to root.
 */
#ifndef KHO_LIB_KEXEC_METADATA_H
#define KHO_LIB_KEXEC_METADATA_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_kexec_metadata {
	char previous_release[65]; /* of printable characters */
	uint32_t kexec_count;
};

/* Its bytes. 1; 0: of a version that is not known here; -EBADMSG: damaged. */
int kho_kexec_metadata_parse(const void *bytes, size_t len, struct kho_kexec_metadata *out, struct kho_err *err) __must_check;

/* The running kernel's, or the recorded tree's. The same; 0 also: it has none (no handover, or not reached by kexec). */
int kho_kexec_metadata_read(const char *sysroot, struct kho_kexec_metadata *out, struct kho_err *err) __must_check;

#endif
