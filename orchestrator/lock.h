/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Only one upgrade at a time: a lock in RAM (it works while the disk is frozen) that names the
 * process and the step.  The kernel drops it when the process dies.
 */
#ifndef KHO_LOCK_H
#define KHO_LOCK_H

#include <sys/types.h>

#include "lib/err.h"

/* Take it; the descriptor, or -EBUSY "another upgrade is running (pid N, step X)". */
int kho_lock_take(const char *run_dir, struct kho_err *err) __must_check;
/* Publish the step. */
void kho_lock_step(int fd, const char *step);
/*
 * 0, or -EBUSY "an upgrade is running (pid N, step X)": for two seconds somebody has held it. Nothing is taken, so a look keeps no upgrade
 * away. Who may not read it (it is root's) is told 0.
 */
int kho_lock_look(const char *run_dir, struct kho_err *err) __must_check;
/* Who holds it: pid and step (at least 32 bytes), or 0 when nobody does. */
pid_t kho_lock_holder(const char *run_dir, char step[32]);

#endif
