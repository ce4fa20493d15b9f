/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A container of podman's or containerd's as a workload. Its processes are CRIU's, with all their namespaces but the
 * network's; its root directory stays where it is, on the disk, and is mounted again; what else is
 * mounted in it is made by us beside it, and CRIU binds it into place; its monitor (conmon, or
 * containerd's shim) is started anew under the number it had (monitor.h, shim.h).
 */
#ifndef KHO_PROC_CONTAINER_H
#define KHO_PROC_CONTAINER_H

#include <limits.h>

#include "lib/workload.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/serializer.h"

#define KHO_CONTAINER_PIPES 3 /* standard streams */

/* Where its runtime keeps its state: crun's or runc's file for podman, or what containerd's shim has said. */
void kho_container_status_path(const KhoProc__Container *c, char out[PATH_MAX]);

/* The pipes among the standard streams, out of the runtime's state, added to c. */
int kho_container_pipes(const char *text, size_t len, KhoProc__Container *c, struct kho_err *err) __must_check;

/* The runtime's state (malloc'd) with another start of the first process and the pipes' inodes of now. */
int kho_container_status(const char *text, size_t len, const KhoProc__Container *c, int64_t start,
			 const uint64_t *inodes, char **out, struct kho_err *err) __must_check;

/* When a process started, in ticks since boot, out of its /proc/PID/stat; 0: it is not understood. */
int64_t kho_stat_start(const char *stat);

/* --- outgoing side --- */

/* All that there is to know of it. -ENOTSUP says why it cannot be carried. */
int kho_container_read(const char *run_dir, const struct kho_workload *w, KhoProc__Container **out,
		       struct kho_err *err) __must_check;

/*
 * Where the value of an option of conmon's is in its arguments (it may lie behind the last one); 0: it has
 * none. The arguments of others, which come last, are not looked at.
 */
size_t kho_container_option(const KhoProc__Container *c, const char *brief, const char *name);

/* What CRIU is to leave to us: "mnt[PLACE]:khoctl-I", malloc'd; behind the last mount the network namespace, if it has one. */
char *kho_container_external(const KhoProc__Container *c, size_t i);

/* Wait until the monitor has read all that the (frozen) container has said. -EBUSY: it does not read. */
int kho_container_drain(const KhoProc__Container *c, struct kho_err *err) __must_check;

/* Then the monitor stops (a pod's with its first container); and goes on. */
int kho_container_hold(const KhoProc__Container *c, struct kho_err *err) __must_check;
void kho_container_release(pid_t monitor);

/*
 * Processes in a PID namespace of their own: CRIU's images have their numbers in it. The one that has
 * number `inner` in the namespace of process root, as we see it; 0: there is none.
 */
pid_t kho_pidns_outer(pid_t root, pid_t inner);

/* The number that a process or thread has in its own PID namespace, by the text of its status file; 0: it does not say. */
pid_t kho_pidns_number(const char *status);

/* Somebody in the namespace of process root who is none of those n (entered from outside); 0: nobody. */
pid_t kho_pidns_other(pid_t root, const pid_t *pids, size_t n);

/* --- incoming side --- */

/*
 * The caller (one thread), a worker that is to become CRIU: mounts the container's root for all, and
 * leaves for a mount namespace of its own with everything else at stage/0, stage/1 ...
 */
int kho_container_enter(const KhoProc__Container *c, const char *new_root, const char *stage,
			struct kho_err *err) __must_check;

/* All its mounts are made: what was put into its root for that is taken away again. */
void kho_container_settled(const KhoProc__Container *c, const char *new_root);

/* Take the root's mount away again. */
void kho_container_leave(const KhoProc__Container *c, const char *new_root);

/*
 * Files of its manager and its runtime below /run, which tell of the former kernel: its boot id, the first process's
 * start, the standard streams (inodes of c->pipe, now).
 */
int kho_container_tell(const KhoProc__Container *c, const uint64_t *inodes, struct kho_err *err) __must_check;

#endif
