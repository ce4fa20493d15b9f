/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs with the libraries they are linked with, for an initramfs.
 */
#ifndef KHO_BESIDE_ELF_H
#define KHO_BESIDE_ELF_H

#include "handover/beside/files.h"
#include "lib/err.h"

/* Add each program (NULL-terminated absolute paths), its interpreter and all its libraries. */
int kho_elf_add(struct kho_files *l, const char *const *programs, struct kho_err *err);

#endif
