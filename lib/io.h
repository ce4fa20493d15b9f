/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whole files in and out, directories for root only, paths below a recorded tree (--sysroot).
 */
#ifndef KHO_LIB_IO_H
#define KHO_LIB_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* sysroot (NULL or "" = the live system) + path, malloc'd; NULL when out of memory. */
char *kho_sysroot_path(const char *sysroot, const char *path);

/*
 * Read the whole file; *out is malloc'd and NUL-terminated (the NUL is not counted in *out_len,
 * which may be NULL).  Works for /proc and /sys.  More than max bytes: -EFBIG.
 */
int kho_read_file(const char *path, size_t max, char **out, size_t *out_len,
		  struct kho_err *err) __must_check;

/* The same of an open file, from where it stands; path is for messages only. */
int kho_read_fd(int fd, const char *path, size_t max, char **out, size_t *out_len, struct kho_err *err) __must_check;

/* kho_read_file(), trailing white space removed; for one-line files. */
int kho_read_line(const char *path, char **out, struct kho_err *err) __must_check;

/* Write all bytes to a descriptor; -errno on failure. */
int kho_write_all(int fd, const void *data, size_t len);

/* Let this process have n descriptors, if it may have less; as far as the kernel lets it. */
void kho_want_descriptors(unsigned long n);

/* Write into an existing file (sysctl, sysfs) with one write(2). */
int kho_write_existing(const char *path, const char *text, struct kho_err *err) __must_check;

/* Whole or absent: PATH.new (0600), fsync, rename, fsync of the directory. */
int kho_write_file(const char *path, const void *data, size_t len,
		   struct kho_err *err) __must_check;

/* The bytes of one file into another (0600, made or emptied). */
int kho_copy_file(const char *from, const char *to, struct kho_err *err) __must_check;

/*
 * A symbolic link at path (whose directory is there) to target (absolute), that goes up from where it lies instead of beginning at the root: so it leads
 * there also for who has come to its directory by a descriptor and has another root and other mounts. -EEXIST: there is something at path.
 */
int kho_symlink_up(const char *target, const char *path, struct kho_err *err) __must_check;

/* Remove path with all below it on its file system; what cannot be removed stays. */
void kho_remove_tree(const char *path);

/* Make a directory and its missing parents, each new one 0700; an existing directory is fine. */
int kho_mkdir(const char *path, struct kho_err *err) __must_check;

/* The same with another mode; the last part is not looked at (it may be a file that is there already). */
int kho_make_dirs(const char *path, unsigned mode, struct kho_err *err) __must_check;

/* Is there something at path? */
bool kho_exists(const char *path);

/* Does path lie on tmpfs, ramfs or rootfs? */
bool kho_is_in_ram(const char *path);

/* Is something mounted at path (bind mounts within one file system do not count)? */
bool kho_is_mount_point(const char *path);

/* Is path dir itself, or below it? Both as they are written, dir without a "/" at its end. */
bool kho_path_is_below(const char *path, const char *dir);

/* Absolute, shorter than PATH_MAX, and without "..": what a path from the other kernel must be. */
bool kho_path_is_plain(const char *path);

/* "12", "64K", "512M", "2G" -> bytes; false when it is none of these or too large. */
bool kho_parse_size(const char *text, uint64_t *out_bytes);

/* "2s", "250ms", "100us", "10min" or "10m" -> microseconds; a bare number is refused. */
bool kho_parse_duration(const char *text, uint64_t *out_us);

#endif
