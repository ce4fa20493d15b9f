/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where CRIU works: in the mount namespace of its workload, below a root that comes late, in a
 * control group.  A process of our own (role "khoctl-criu") is started long before, has everything
 * open that it needs, goes there when it is asked to, and becomes CRIU by exec.
 */
#ifndef KHO_PROC_PLACE_H
#define KHO_PROC_PLACE_H

#include "lib/workload.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/proc/criu.h"

/* Inherited: KHO_SPAWN_FD the socket, then n files for CRIU, then the packed Place; args: n. */
#define KHO_ROLE_CRIU "khoctl-criu"
int kho_place_main(int argc, char **argv);

/*
 * Start a worker that becomes CRIU at that place, with the descriptors fds as KHO_SPAWN_FD + 1 and
 * so on. criu, plugins are filled in here. What goes wrong on the way is CRIU's answer to the first
 * request.
 */
int kho_place_spawn(struct kho_criu *c, const char *run_dir, KhoProc__Place *place, const int *fds,
		    size_t n, struct kho_err *err) __must_check;

/* The message as a file in memory, with criu and plugins filled in: its descriptor; and read again. */
int kho_place_file(const char *run_dir, KhoProc__Place *place, struct kho_err *err) __must_check;
KhoProc__Place *kho_place_read(int fd, struct kho_err *err);

/* As a pod's further container is: in two namespaces of the first one. */
void kho_place_join(KhoProc__Place *place, const KhoProc__Container *c);

/* Does the place differ from our own, so that it takes more than kho_criu_spawn()? */
bool kho_place_is_elsewhere(const KhoProc__Place *place);

/* --- mount namespaces --- */

/* Has pid a namespace of that kind ("mnt", "uts", "user") other than ours? Live system only. */
bool kho_ns_differs(pid_t pid, const char *kind);

/* Are both in the same one? False, too, when one of them cannot be looked at. */
bool kho_ns_is_same(pid_t a, pid_t b, const char *kind);

/*
 * Describe the mount namespace of pid, so that kho_ns_build() can make it again. -ENOTSUP says what
 * of it cannot be made again. run_dir: what is mounted below is ours, and is left out.
 */
int kho_ns_read(pid_t pid, const char *run_dir, KhoProc__Namespace **out,
		struct kho_err *err) __must_check;

/*
 * What is now in those file systems of ns that only its processes have and may write to: their mounts, with target and nodes
 * alone, appended to array (kho_pb_append()). The processes are frozen.
 */
int kho_ns_read_own(pid_t pid, const KhoProc__Namespace *ns, KhoProc__Mount ***array, size_t *n,
		    struct kho_err *err) __must_check;

/* What is at m->target (below root, a directory of a process), into m->nodes. */
int kho_ns_read_nodes(int root, KhoProc__Mount *m, struct kho_err *err) __must_check;

/* Open files of pid that lie outside of its mount namespace, appended to array (kho_pb_append()). */
int kho_ns_outside(pid_t pid, KhoProc__Inherit ***array, size_t *n,
		   struct kho_err *err) __must_check;

/* The caller (one thread) leaves for a new mount namespace that is like that one; stage: an empty
 * directory. */
int kho_ns_build(const KhoProc__Namespace *ns, const char *new_root, const char *stage,
		 struct kho_err *err) __must_check;

/*
 * The caller (one thread) leaves for a new mount namespace whose root is new_root ("": it stays);
 * what is mounted in the old one later still arrives.
 */
int kho_ns_leave(const char *new_root, struct kho_err *err) __must_check;

/*
 * One mount of a description, with its options, in no place yet: its descriptor. root: what the
 * system has mounted.
 */
int kho_ns_tree(int root, const KhoProc__Mount *m, struct kho_err *err) __must_check;

/* A new file system of that type, with m's nodes below m's root, not mounted anywhere yet: its descriptor. */
int kho_ns_make_fs(const KhoProc__Mount *m, struct kho_err *err) __must_check;

/* The map of owners of an idmapped mount: a descriptor of a user namespace. */
int kho_ns_idmap(const KhoProc__Mount *m, struct kho_err *err) __must_check;

/* m's nodes below m's root, in a file system that is there already. */
int kho_ns_make_nodes(int fs, const KhoProc__Mount *m, struct kho_err *err) __must_check;

/* Make a node below dirfd; path may not lead out of it. One that is there is left as it is. */
int kho_ns_make_node(int dirfd, const KhoProc__Node *n, struct kho_err *err) __must_check;

/* Per-mount options ("ro,nosuid,relatime") as mount_setattr() wants them. */
struct mount_attr;
void kho_ns_attr(const char *options, struct mount_attr *out);

/* --- control groups --- */

/* Make the directory below /sys/fs/cgroup, and its parents; "" and "/" are there. */
int kho_cgroup_make(const char *cg, struct kho_err *err) __must_check;

/*
 * The control groups of a (resolved) workload's processes and those that they are in, with their limits and weights, into
 * out->cgroups. sysroot: "" or a recorded tree.
 */
int kho_cgroup_read(const char *sysroot, const struct kho_workload *w, KhoProc__PlanWorkload *out,
		    struct kho_err *err) __must_check;
void kho_cgroup_plan_done(KhoProc__PlanWorkload *w);

/* Make them, with their controllers, without limits. What this kernel does not have of them is left out. */
int kho_cgroup_prepare(const KhoProc__PlanWorkload *w, struct kho_err *err) __must_check;

/* Set the limits and weights: when what restores the processes, too, is through. The first that failed. */
int kho_cgroup_limit(const KhoProc__PlanWorkload *w, struct kho_err *err) __must_check;

/* Put a process (0: the caller) there. */
int kho_cgroup_enter(const char *cg, pid_t pid, struct kho_err *err) __must_check;

#endif
