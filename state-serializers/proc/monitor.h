/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The monitor of a container (conmon, or containerd's shim: shim.h) on the incoming side. A process of ours has its number and is
 * the parent of all that CRIU restores, long before the blackout; after the commit it becomes the monitor
 * by exec, with the container as its child and the container's output in its hands.
 */
#ifndef KHO_PROC_MONITOR_H
#define KHO_PROC_MONITOR_H

#include "state-serializers/proc/container.h"
#include "state-serializers/proc/criu.h"

/*
 * Inherited: KHO_SPAWN_FD its control socket, then CRIU's end of the socket to its client, then the
 * packed Place. It forks the process with the monitor's number, which starts CRIU's worker, and ends.
 */
#define KHO_ROLE_MONITOR "khoctl-monitor"
int kho_monitor_main(int argc, char **argv);

struct kho_monitor {
	pid_t pid; /* 0: none */
	int control;
	uint64_t inode[KHO_CONTAINER_PIPES]; /* of the pipes that it has made */
};

#define KHO_MONITOR_INIT { .control = -1 }

/*
 * Start it, and the worker c at that place (see kho_place_spawn()), which inherits our ends of the
 * standard streams as KHO_SPAWN_FD + 1 and so on.
 */
int kho_monitor_start(struct kho_monitor *m, struct kho_criu *c, const char *run_dir,
		      KhoProc__Place *place, struct kho_err *err) __must_check;

/* It ends, and its number is free. */
void kho_monitor_stop(struct kho_monitor *m);

/*
 * Let it become the monitor below new_root. conmon would make itself a daemon (another number) and pipes of
 * its own: it is traced until it has the container's pipes in their place.
 */
int kho_monitor_become(struct kho_monitor *m, const KhoProc__Container *c,
		       struct kho_err *err) __must_check;

/* The traced part alone: pid is stopped by nobody, and executes conmon when `go` is closed or written to. */
int kho_monitor_trace(pid_t pid, int go, const uint32_t *numbers, size_t n,
		      struct kho_err *err) __must_check;

/* In process pid, which serves others meanwhile: descriptor `from` takes the place of `to` and is closed. */
struct kho_monitor_move {
	int from, to;
};
int kho_monitor_move_fds(pid_t pid, const struct kho_monitor_move *moves, size_t n, struct kho_err *err) __must_check;

/* The number under which it has our end of the i-th stream when it becomes the monitor. */
#define KHO_MONITOR_FD 100

#endif
