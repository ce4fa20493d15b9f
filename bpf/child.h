/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work in a process of its own: it ends with who started it, and can be killed, whatever it does.
 */
#ifndef KHO_BPF_CHILD_H
#define KHO_BPF_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

/* First thing in such a process: it dies with its parent (the thread that has forked it). */
void kho_child_begin(pid_t parent);
/* The same of one that leads what it will start: a group of its own, signals as by default, no descriptors from 3 on, the first to go when memory is short. */
void kho_child_lead(pid_t parent);
/*
 * Until it and what is left of its group has ended: 0, or why it was killed: -EINTR, stop (may be NULL, asked ten times a second) has said so;
 * -ETIMEDOUT, it is until_ns (kho_now_ns()). One that cannot be killed is left to itself.
 */
int kho_child_wait(pid_t pid, uint64_t until_ns, bool (*stop)(void *arg), void *arg, struct kho_err *err) __must_check;

#endif
