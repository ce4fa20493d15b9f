/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the files serializer.  `root` is "" on a live system; tests give a directory.
 */
#ifndef KHO_FILES_H
#define KHO_FILES_H

#include <limits.h>

#include "state-serializers/files.pb-c.h"
#include "state-serializers/serializer.h"

/* What workloads' files would be, if they were sent. */
struct kho_ramroot_sum {
	size_t n; /* regular files */
	uint64_t bytes, largest_bytes;
	char largest[PATH_MAX]; /* of them; "" */
};

/* What has been collected and where contents go. */
struct kho_ramroot {
	struct kho_env *env;
	const char *root;
	Kho__Files *list;
	unsigned next_image;
	size_t inline_bytes; /* contents that travel in the list itself */
	struct kho_ramroot_sum *sum; /* nothing is sent, only counted: kho_ramroot_of_workloads() */
};

/*
 * Add what is at path (and send its contents): replaces nothing, a later entry wins. Sockets, what has vanished, and files that
 * are reached through a link only are left out. list_names: a directory gets the names of its entries.
 */
int kho_ramroot_add(struct kho_ramroot *f, const char *path, bool list_names, struct kho_err *err);
/* Open a regular file for reading; never one that is reached through a link, and without waiting for anybody. -errno. */
int kho_ramroot_open(const struct kho_ramroot *f, const char *path);
/* Path's parents, from the top, without contents; each once. */
int kho_ramroot_add_parents(struct kho_ramroot *f, const char *path, struct kho_err *err);

/*
 * dir itself ("" has no entry) and everything on its device below it that changed after since_ns; below images and run_dir nothing.
 * one_level: not deeper.
 */
int kho_ramroot_scan(struct kho_ramroot *f, const char *dir, int64_t since_ns, bool one_level, struct kho_err *err);

/*
 * What workloads use: files, directories and socket paths on tmpfs, pid files; and, with written_only, only files that are open
 * for writing or mapped shared and the directories around them that changed after since_ns. For a copy (env's copy) also
 * what they have open or mapped on disks; of the root, whose files the other kernel has in its initramfs, only what changed
 * after since_ns or may be written to.
 */
int kho_ramroot_of_workloads(struct kho_ramroot *f, int64_t since_ns, bool written_only, struct kho_err *err);

/* Bytes that go along with a copy: each takes memory there twice, and those that may be written to are read while the workloads stand still. */
#define KHO_COPY_FILES_MAX (64ull << 20)

/* Can the files of workloads go along with a copy of them? Adds to the report. */
int kho_ramroot_probe_copy(struct kho_env *env, struct kho_report *r, struct kho_err *err);
/* Do they still, just before it is made? They have had time to grow. -EFBIG says what is too much. */
int kho_ramroot_copy_fits(struct kho_env *env, struct kho_err *err);

/* Paths of the runtime directories of units that are workloads, appended to a list; none where systemd is not PID 1. */
int kho_ramroot_runtime_dirs(const char *sysroot, const struct kho_workload_list *w, char ***out, size_t *n, struct kho_err *err);

/* Put them where they belong. A single file that cannot be put is said (note) and reported as the first error at the end. */
int kho_ramroot_apply(struct kho_env *env, const char *root, const Kho__Files *list, struct kho_err *err);

#endif
