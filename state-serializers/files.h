/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the files serializer.  `root` is "" on a live system; tests give a directory.
 */
#ifndef KHO_FILES_H
#define KHO_FILES_H

#include "state-serializers/files.pb-c.h"
#include "state-serializers/serializer.h"

/* What has been collected and where contents go. */
struct kho_ramroot {
	struct kho_env *env;
	const char *root;
	Kho__Files *list;
	unsigned next_image;
	size_t inline_bytes; /* contents that travel in the list itself */
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
 * for writing or mapped shared and the directories around them that changed after since_ns.
 */
int kho_ramroot_of_workloads(struct kho_ramroot *f, int64_t since_ns, bool written_only, struct kho_err *err);

/* Paths of the runtime directories of units that are workloads, appended to a list; none where systemd is not PID 1. */
int kho_ramroot_runtime_dirs(const char *sysroot, const struct kho_workload_list *w, char ***out, size_t *n, struct kho_err *err);

/* Put them where they belong. A single file that cannot be put is said (note) and reported as the first error at the end. */
int kho_ramroot_apply(struct kho_env *env, const char *root, const Kho__Files *list, struct kho_err *err);

#endif
