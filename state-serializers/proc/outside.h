/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets of a service that lead out of its tree and are carried all the same: its standard output
 * and error, connected to journald (or to the relay that an earlier upgrade has put there), and
 * datagram sockets connected to what systemd listens on. The outgoing side finds out which and what
 * journald knows of them; the incoming side gives CRIU connected sockets in their place.
 */
#ifndef KHO_PROC_OUTSIDE_H
#define KHO_PROC_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/workload.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc.pb-c.h"

#define KHO_OUTSIDE_MAX 16 /* of one workload */
#define KHO_OUTSIDE_PRIORITY 0x3ff /* facility and level of syslog */

/* What a socket's other end, known by its name, is to us. */
enum kho_outside {
	KHO_OUTSIDE_FOREIGN,  /* not carried */
	KHO_OUTSIDE_STREAM,   /* journald's stdout socket, or a relay of ours */
	KHO_OUTSIDE_DATAGRAM, /* a datagram socket of systemd or journald */
};
enum kho_outside kho_outside_of(const struct kho_sock *peer);

/*
 * The journal streams of a (resolved) workload, added to its plan; and whether it holds datagram
 * sockets of the kind above, for which paths are bound on the incoming side. sysroot: "" or a
 * recorded tree.
 */
int kho_outside_collect(const char *sysroot, const char *run_dir, const struct kho_workload *w,
			KhoProc__PlanWorkload *out, struct kho_err *err) __must_check;

/* The paths of such datagram sockets that there are on this machine. */
int kho_outside_names(const char *sysroot, KhoProc__Plan *out, struct kho_err *err) __must_check;

/* Free what the two have added. */
void kho_outside_plan_done(KhoProc__PlanWorkload *w);
void kho_outside_names_done(KhoProc__Plan *p);

/* The incoming side of one workload: sockets for CRIU's worker, and what CRIU calls them ("socket:[INODE]"). */
struct kho_outside_in {
	int fds[KHO_OUTSIDE_MAX];
	char keys[KHO_OUTSIDE_MAX][32];
	size_t n;
};

/*
 * Connect sockets for all streams of the plan and start the relay, in the workload's cgroup cg (NULL:
 * where we are). It ends with the last of its streams.
 */
int kho_outside_start(struct kho_outside_in *j, const char *run_dir, const KhoProc__PlanWorkload *w,
		      const char *cg, struct kho_err *err) __must_check;

/* The worker has its copies, or there will be none: ours are closed. The keys stay. */
void kho_outside_close(struct kho_outside_in *j);

/* Bind the paths of plan (those that are free) and start a relay for them; its pid, 0: none needed. */
int kho_outside_bind_names(const KhoProc__Plan *p, pid_t *out, struct kho_err *err) __must_check;

#endif
