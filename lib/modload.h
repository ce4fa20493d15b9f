/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel modules by name, where the kernel has nobody to load them for it, or would do so at a bad moment.
 */
#ifndef KHO_LIB_MODLOAD_H
#define KHO_LIB_MODLOAD_H

#include <stddef.h>

#include "lib/err.h"

/* Load modules ("name" or "name option=value"; built-in ones are fine). The first that cannot be loaded is reported, the others are tried. */
int kho_modules_load(const char *const *names, size_t n, struct kho_err *err);

/* Remove a module if nothing uses it; failure is no error. */
void kho_module_unload(const char *name);

#endif
