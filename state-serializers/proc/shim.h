/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A container of containerd: its monitor is a shim (containerd-shim-runc-v2), which is started anew under its number and told,
 * by containerd's own protocol, to create and start the container. For the time of these two calls it finds a runtime of ours,
 * which says that the container is there; then the container's pipes take the place of those that the shim has made.
 */
#ifndef KHO_PROC_SHIM_H
#define KHO_PROC_SHIM_H

#include "lib/containerd.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/containerd.pb-c.h"
#include "state-serializers/proc/monitor.h"

/* The runtime of ours. It is an interpreter of the file that the shim executes: "#!/proc/PID/exe khoctl-runtime". */
#define KHO_ROLE_RUNTIME "khoctl-runtime"
int kho_runtime_main(int argc, char **argv);

/* --- outgoing side --- */

/* What the container's shim and its bundle say: c->bundle and c->shim. -ENOTSUP says why it cannot be carried. */
int kho_shim_read(const struct kho_containerd_name *name, KhoProc__Container *c, struct kho_err *err) __must_check;

/* The (held) shim of a pod's first container has as many containers as when that was read. -EAGAIN: it has not. */
int kho_shim_is_as_planned(const KhoProc__Container *c, struct kho_err *err) __must_check;

/* --- incoming side --- */

/* The process with the shim's number, in the carried root, with our ends of its pipes at KHO_MONITOR_FD: it executes the shim. Returns if that fails. */
int kho_shim_exec(const KhoProc__Container *c);

/* A container, and its streams in the process that becomes the shim. */
struct kho_shim_task {
	const KhoProc__Container *c;
	const struct kho_monitor *m;
};

/* Let it become the shim (the first one's is the process), and make the containers known to it. */
int kho_shim_become(const struct kho_shim_task *tasks, size_t n, struct kho_err *err) __must_check;

/* Where the runtime of ours lies while that goes on. */
#define KHO_SHIM_DIR "/run/khoctl-shim"

/* A socket that listens at path, for root alone, in place of what was there. -errno. */
int kho_shim_listen(const char *path);

/* Value of PATH with KHO_SHIM_DIR in front (once), and the directory of an absolute runtime behind it; malloc'd. */
char *kho_shim_path(const char *path, const char *runtime);

/* The options of Create out of options.json, with that name of the runtime. The caller's (kho_ctd__options__free_unpacked()). */
KhoCtd__Options *kho_shim_options(const char *text, const char *runtime, struct kho_err *err);

#endif
