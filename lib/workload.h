/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Workloads as declared in /etc/khoctl/workloads.d/NAME.conf (key = value lines, # comments):
 *
 *   unit = redis-server.service	the root of the process tree: exactly one of unit
 *   container = web			  (systemd service), container (podman's name,
 *   pidfile = /run/redis.pid		  containerd://NAMESPACE/ID, or a pod of Kubernetes',
 *   match = /usr/bin/redis-server	  pod://NAMESPACE/NAME: pod.h), pidfile, match (path of
 *   cgroup = /khoctl/redis		  the executable), cgroup (path below /sys/fs/cgroup)
 *   health-tcp = 127.0.0.1:6379	checked in the dark, inside the locked network: connect,
 *   health-send = PING\r\n		  send (C escapes), expect this prefix of the answer
 *   health-expect = +PONG
 *   health-command = /usr/bin/...	or a command (no shell), exit status 0
 *   health-timeout = 2s
 */
#ifndef KHO_LIB_WORKLOAD_H
#define KHO_LIB_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

struct kho_workload {
	char *name;			/* file name without .conf: [a-z0-9._-]{1,63} */
	char *unit, *container;		/* one of these */
	char *pidfile, *match, *cgroup;	/*   five is set */
	char *health_tcp, *health_send, *health_expect, *health_command;	/* or NULL; send/expect unescaped */
	uint64_t health_timeout_us;	/* default 2 s */
	bool in_pod;			/* one of a pod's further containers (pod.h), declared by nobody */
	char *cg;			/* resolved: cgroup v2 path of the root ("/system.slice/..."), NULL = not known */
	pid_t root;			/* resolved: root of the tree, 0 = not running */
	pid_t monitor;			/* resolved: of a container: its conmon, which is in no tree of ours; 0 = none */
	pid_t *pids;			/* resolved: the whole tree, root first; threads not listed */
	size_t npids;
	uint64_t rss_bytes;		/* resolved: sum over the tree */
};

struct kho_workload_list {
	struct kho_workload *w;
	size_t n;
};

/*
 * Read every *.conf of dir (default "/etc/khoctl/workloads.d"), in name order, below sysroot ("" for
 * the live system). Unknown key, bad value, duplicate key: -EINVAL with file:line. No directory: empty list.
 */
int kho_workloads_load(const char *sysroot, const char *dir, struct kho_workload_list *out, struct kho_err *err);

/*
 * The process that carries a unit's output to the journal across upgrades. It lives in the unit's
 * cgroup and is no part of the workload.
 */
#define KHO_JOURNAL_COMM "khoctl-journal"

/* A name that systemd gives a running service (also an instance, "x@y.service"); no '/' in it. */
bool kho_unit_name_is_valid(const char *s);

/* An absolute path without "..", "." and empty components ("/" is fine), as the kernel writes a cgroup. */
bool kho_cgroup_path_is_valid(const char *s);

/* The cgroup v2 path of a process ("0::/path"), malloc'd; NULL: not known. */
char *kho_cgroup_of(const char *sysroot, pid_t pid);

/* "unit = ", "cgroup = " ...: what the declaration names the workload by; never NULL once loaded. */
const char *kho_workload_declared(const struct kho_workload *w);

/* Find the processes of each: fills root, pids, rss_bytes, cg. A workload that does not run: -ESRCH naming it. */
int kho_workloads_resolve(const char *sysroot, struct kho_workload_list *l, struct kho_err *err);

/* Only the one of that name stays in the list (not a pod's further container, which is declared by nobody); false: there is none, and the list is empty. */
bool kho_workloads_keep(struct kho_workload_list *l, const char *name);

void kho_workloads_done(struct kho_workload_list *l);

#endif
