/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of firmware that a module names (modinfo): a driver whose device has them already asks for
 * them again when it binds in the incoming kernel.
 */
#ifndef KHO_BESIDE_FIRMWARE_H
#define KHO_BESIDE_FIRMWARE_H

#include "handover/beside/files.h"
#include "lib/err.h"

struct kmod_module;

/* Add those that are installed here, for the kernel of that release. */
int kho_firmware_add(struct kmod_module *mod, const char *release, struct kho_files *l,
		     struct kho_err *err) __must_check;

#endif
