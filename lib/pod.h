/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pods: containers of containerd that have one shim. It was started for the first of them, the pod's sandbox, and the others came
 * later; so a pod is carried whole, and is declared by its name (as CRI wrote it into the sandbox's bundle) or by its sandbox.
 */
#ifndef KHO_LIB_POD_H
#define KHO_LIB_POD_H

#include "lib/containerd.h"
#include "lib/workload.h"

/* Containers of one pod, the sandbox among them. */
#define KHO_POD_MAX 16

/* Longest name of a pod (a DNS subdomain), and of its namespace, with NUL. */
#define KHO_POD_NAME_LEN 254

struct kho_pod_name {
	char ns[KHO_POD_NAME_LEN], name[KHO_POD_NAME_LEN];
};

/* "pod://NAMESPACE/NAME". False: it is none of that kind. */
bool kho_pod_name(const char *text, struct kho_pod_name *out);

/* The id of its running sandbox, in containerd's namespace KHO_CONTAINERD_NAMESPACE. -ENOENT: there is none. */
int kho_pod_find(const char *sysroot, const struct kho_pod_name *pod, char out[KHO_CONTAINERD_ID_LEN],
		 struct kho_err *err) __must_check;

/* The id of the container that a shim was started for. -EPROTO: its arguments do not say it. */
int kho_pod_first(const char *sysroot, pid_t shim, char out[KHO_CONTAINERD_ID_LEN], struct kho_err *err) __must_check;

/* Ids (sorted) of running containers in a namespace of containerd's whose shim is that one. -E2BIG: more than KHO_POD_MAX. */
int kho_pod_members(const char *sysroot, const char *ns, pid_t shim, char (*out)[KHO_CONTAINERD_ID_LEN], size_t *out_n,
		    struct kho_err *err) __must_check;

/*
 * Before kho_workloads_resolve(): a pod by name becomes its sandbox, "containerd://k8s.io/ID", and behind a sandbox come its
 * other containers as workloads of their own, called NAME.ID with 12 characters of the id. What does not run is left as it is.
 */
int kho_workloads_add_pods(const char *sysroot, struct kho_workload_list *l, struct kho_err *err) __must_check;

/* All that are declared in workloads.d, with the containers of pods; not resolved yet. Free with kho_workloads_done(), also on failure. */
int kho_workloads_declared(const char *sysroot, struct kho_workload_list *out, struct kho_err *err) __must_check;

#endif
