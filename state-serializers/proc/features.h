/* SPDX-License-Identifier: GPL-2.0-only */
/* What CRIU misses on this kernel, of lib/criu_features.def. */
#ifndef KHO_PROC_FEATURES_H
#define KHO_PROC_FEATURES_H

#include <stddef.h>

#include "lib/err.h"

/*
 * Their names, with blanks between them, into out (cut where it is full); only: not all of the table, but those that this text names (what another kernel has
 * said; other words in it are none), or NULL. How many they are; -ENOENT: there is no CRIU; -ETIMEDOUT: it does not answer. Starts CRIU
 * once for each, some milliseconds.
 */
int kho_criu_misses(const char *only, char *out, size_t size, struct kho_err *err) __must_check;

#endif
