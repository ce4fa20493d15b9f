/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PID 1 of an incoming kernel: makes the machine usable, starts the agent as a child, reaps for
 * ever. Two processes, so that PID 1 can reap whatever falls to it (restored workloads) without
 * taking the exit status of a child that one of the agent's threads waits for.
 */
#ifndef KHO_INCOMING_INIT_H
#define KHO_INCOMING_INIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gate.h"
#include "lib/err.h"

/* One line into the kernel's log; before /dev is there it goes nowhere. */
void kho_init_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- init_system.c --- */

/* /proc alone: needed before anything else, the very first child must have the right number. */
int kho_init_proc(struct kho_err *err) __must_check;
/*
 * The value of a word KEY=VALUE of the kernel's command line, in buf; false when it is not there.
 */
bool kho_init_word(const char *key, char *buf, unsigned room);
/*
 * All other mounts, links in /dev, standard streams to the kernel's log, environment. Only what is
 * missing.
 */
int kho_init_mounts(const char *images_dir, struct kho_err *err) __must_check;
/* Host name, loopback: failures are told, and no reason to stop. */
void kho_init_names(void);

/* --- init_module.c --- */

/* Load khoctl and what it needs for the running release, wait for its nodes. */
int kho_init_module(struct kho_err *err) __must_check;

/* --- init_host.c --- */

/* The modules that the host's initramfs lists, if one lies below; what fails is told, and no reason to stop. */
void kho_init_host_modules(void);

/* --- init_measure.c --- */

/* struct kho_agent_conf's measure. */
void kho_init_measure(const struct kho_gate_ask *ask, const pid_t *pids, size_t n, struct kho_gate_list *out);

/* --- init_stop.c --- */

/* Orderly end: processes, file systems, then reboot(2) with cmd. Never returns. */
void kho_init_stop(int cmd) __attribute__((noreturn));

/*
 * Become the init system of the carried root, which is mounted at root: free this one, make that one "/",
 * run its /sbin/init, with what lies in socket (agent.h: KHO_INIT_FD). Returns only when that failed, having said why.
 */
void kho_init_enter(const char *root, int socket);

#endif
