/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Versions of what one kernel leaves in memory for the next: Kexec HandOver, the Live Update Orchestrator, its memfds, reserve_mem.
 * A kernel compares each as a string with its own (include/linux/kho/abi/ of Linux 7.x): another one of KHO means that all is lost, of
 * LUO that the new kernel panics, of memfd that a file cannot be read.
 */
#ifndef KHO_LIB_KHO_ABI_H
#define KHO_LIB_KHO_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_abi {
	char kho[24], luo[24], memfd[24], memblock[24]; /* "kho-v4"; empty: the kernel has none of that */
	bool config;					/* it has its configuration in itself (CONFIG_IKCONFIG); else these are guesses: */
	bool handover, liveupdate;			/* CONFIG_KEXEC_HANDOVER, CONFIG_LIVEUPDATE */
};

/* Out of an unpacked kernel (lib/vmlinux.h). */
void kho_abi_find(const uint8_t *vmlinux, size_t len, struct kho_abi *out);

/* Of the kernel image at path. */
int kho_abi_of_image(const char *path, struct kho_abi *out, struct kho_err *err) __must_check;

/* "kho-v4 luo-v5 memfd-v2", or "none", into out. */
void kho_abi_format(const struct kho_abi *abi, char *out, size_t len);

#endif
