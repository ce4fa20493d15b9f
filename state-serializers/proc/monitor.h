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
 * Inherited: KHO_SPAWN_FD its control socket, then the packed Place of the (first) container. It forks the process with the
 * monitor's number, which starts CRIU's workers as it is asked to, and ends.
 */
#define KHO_ROLE_MONITOR "khoctl-monitor"
int kho_monitor_main(int argc, char **argv);

struct kho_monitor {
	pid_t pid; /* 0: none */
	int control; /* -1: of a pod's further container, whose monitor is the first one's */
	int base;    /* the number under which it has our end of the container's first stream when it becomes the monitor */
	uint64_t inode[KHO_CONTAINER_PIPES]; /* of the pipes that it has made */
};

#define KHO_MONITOR_INIT { .control = -1 }

/* base of the first container; the streams of further ones follow. */
#define KHO_MONITOR_FD 100

/*
 * Start it, and the worker c at that place (see kho_place_spawn()), which inherits our ends of the
 * standard streams as KHO_SPAWN_FD + 1 and so on.
 */
int kho_monitor_start(struct kho_monitor *m, struct kho_criu *c, const char *run_dir,
		      KhoProc__Place *place, struct kho_err *err) __must_check;

/* The worker c of a further container of the same pod: m is filled in, `first` started. */
int kho_monitor_add(struct kho_monitor *m, const struct kho_monitor *first, struct kho_criu *c, const char *run_dir,
		    KhoProc__Place *place, struct kho_err *err) __must_check;

/* It ends, and its number is free. */
void kho_monitor_stop(struct kho_monitor *m);

/*
 * Let it become conmon below new_root (for a shim see kho_shim_become()). conmon would make itself a daemon (another number) and pipes of
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

#endif
