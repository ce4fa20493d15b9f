/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Directories of images, and small facts out of /proc.
 */
#ifndef KHO_PROC_TREE_H
#define KHO_PROC_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "lib/pid.h"

/* Remove a directory and all in it; one that does not exist is fine. Goes on after a failure,
 * reports the first. */
int kho_tree_remove(const char *path, struct kho_err *err);

/* Call fn for each regular file of dir (not below it), until it fails. */
int kho_dir_each(const char *dir,
		 int (*fn)(const char *dir, const char *name, void *arg, struct kho_err *err),
		 void *arg, struct kho_err *err) __must_check;

/* Bytes in dir/pages-*.img. */
uint64_t kho_dir_pages_bytes(const char *dir);

/* A file that only CRIU itself reads: logs and statistics are not carried. */
bool kho_image_is_carried(const char *name);

/* Number in /proc/sys/kernel/NAME; 0 when it cannot be read. */
uint64_t kho_kernel_number(const char *name);

#endif
