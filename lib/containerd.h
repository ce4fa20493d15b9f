/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Containers of containerd, by what its shims keep below /run (its default state directory). containerd itself is not asked,
 * so that it also works below a recorded tree.
 */
#ifndef KHO_LIB_CONTAINERD_H
#define KHO_LIB_CONTAINERD_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

/* Bundles of its tasks: NAMESPACE/ID below it. */
#define KHO_CONTAINERD_TASKS "/run/containerd/io.containerd.runtime.v2.task"

/* Longest namespace or id, with NUL (containerd's pkg/identifiers). */
#define KHO_CONTAINERD_ID_LEN 77

/* Kubernetes', which its notation leaves out. */
#define KHO_CONTAINERD_NAMESPACE "k8s.io"

struct kho_containerd_name {
	char ns[KHO_CONTAINERD_ID_LEN], id[KHO_CONTAINERD_ID_LEN];
};

/* "containerd://NAMESPACE/ID", or as Kubernetes writes it: "containerd://ID". False: it is none of that kind. */
bool kho_containerd_name(const char *name, struct kho_containerd_name *out);

/* *out: the container's first process, *monitor: its shim; each 0 when there is none. -ENOENT: containerd has no such task. */
int kho_containerd_pids(const char *sysroot, const struct kho_containerd_name *name, pid_t *out, pid_t *monitor,
			struct kho_err *err) __must_check;

#endif
