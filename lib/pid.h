/* SPDX-License-Identifier: GPL-2.0-only */
/* What /proc says of one process. */
#ifndef KHO_LIB_PID_H
#define KHO_LIB_PID_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

/* The next number in an open /proc (or a process's task/) directory; 0: that was all, or d is NULL. */
pid_t kho_pid_next(DIR *d);

/* The process id that a file holds. -ENOENT: there is no such file; -EINVAL: it holds something else. */
int kho_pid_of_file(const char *path, pid_t *out, struct kho_err *err) __must_check;

/* State letter of a process ('R', 'S', 'T' ...), 0 when it does not exist. sysroot: NULL, or the tree to look into. */
char kho_pid_state(const char *sysroot, pid_t pid);

/* Number of its parent; 0: it has none, or does not exist. */
pid_t kho_pid_parent(const char *sysroot, pid_t pid);

/* Who traces it; 0: nobody, or it does not exist. */
pid_t kho_pid_tracer(const char *sysroot, pid_t pid);

/* When a process or thread began, in clock ticks since the boot: together with its number nobody else's. 0: it does not exist. */
uint64_t kho_pid_start(const char *sysroot, pid_t pid);

/* The text of the status file of a process or thread, malloc'd; NULL: it does not exist. (A recorded tree has those of processes alone.) */
char *kho_pid_status(const char *sysroot, pid_t pid);

/* What the text of a status file has behind "KEY:" ("Cpus_allowed_list"), malloc'd; NULL: nothing, or out of memory. */
char *kho_status_value(const char *status, const char *key);

/* Its threads, malloc'd; 0 when it is gone. */
size_t kho_pid_threads(pid_t pid, pid_t **out);

/* Put nmore of them behind the n of *all, which is malloc'd or NULL. -ENOMEM: it is as before. */
int kho_pids_append(pid_t **all, size_t *n, const pid_t *more, size_t nmore);

/* Wait until the process behind pidfd ends. False: it still runs after timeout_us. */
bool kho_pidfd_wait(int pidfd, uint64_t timeout_us);

/* What it is called (its comm), malloc'd; NULL: it does not exist, or out of memory. */
char *kho_pid_name(const char *sysroot, pid_t pid);

/* Is it called that (its comm, which has 15 characters at most)? */
bool kho_pid_is(const char *sysroot, pid_t pid, const char *name);

/*
 * Is it a CRIU, or what one has forked to become a process? It is called "criu", or where it was started in a workload's place (place.h)
 * what it executes is the program loader, a copy in memory under this name.
 */
#define KHO_CRIU_LOADER "khoctl-criu"
bool kho_pid_is_criu(pid_t pid);

#endif
