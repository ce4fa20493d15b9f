/* SPDX-License-Identifier: GPL-2.0-only */
/* The CRIU of this machine: where it is, and what it misses on this kernel. */
#ifndef KHO_LIB_CRIU_H
#define KHO_LIB_CRIU_H

#include <stddef.h>

#include "lib/err.h"

/* Path of the criu to use: PATH, /usr/sbin/criu, /usr/lib/khoctl/criu; -ENOENT with the fix. */
int kho_criu_find(char **out_path, struct kho_err *err) __must_check;

/*
 * Their names, with blanks between them, into out (cut where it is full); only: not all of the table, but those that this text names (what another kernel has
 * said; other words in it are none), or NULL. How many they are; -ENOENT: there is no CRIU; -ETIMEDOUT: it does not answer. Starts CRIU
 * once for each, some milliseconds.
 */
int kho_criu_misses(const char *only, char *out, size_t size, struct kho_err *err) __must_check;

#endif
