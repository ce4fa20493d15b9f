/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Dark gate: the workloads are restored on this kernel, nobody outside sees them yet, and it can all be undone. Do they get on here?
 * What they could do a moment ago on the other kernel they must be able to do here.
 *
 * The programs come into the kernel before the freeze (load) and work from the restore on (begin), so that the blackout has only the
 * latter in it.
 */
#ifndef KHO_BPF_DARK_H
#define KHO_BPF_DARK_H

#include <sys/types.h>

#include "bpf/gate.h"

#define KHO_DARK_US    20000   /* that are looked at, at least */
#define KHO_DARK_STORM 100     /* calls that fail before they count: reads of missing files at a start are none */
#define KHO_DARK_USUAL 20      /* so many calls must have returned, to say how many of a process fail anyway */
#define KHO_DARK_PATIENCE_US 1000000 /* a thread that sleeps for a disk or a page so long is stuck */

struct kho_dark;

/* Owned by the caller. A kernel that refuses the programs makes its gates unknown, with the reason; -ENOMEM is the only failure here. */
int kho_dark_load(struct kho_dark **out, struct kho_err *err) __must_check;
/* Look at these processes from now on, and at what they start. usual: how many of their calls fail anyway, nusual of them, in any order. */
void kho_dark_begin(struct kho_dark *d, const pid_t *pids, size_t n, const struct kho_gate_usual *usual, size_t nusual);
/*
 * On the kernel that they come from: of each named process of which enough was seen, how many of its calls have failed, or of one that it
 * has started, if that is more. The caller frees out. -ENOMEM, -ENOSPC, and why the programs do not work.
 */
int kho_dark_usual(struct kho_dark *d, struct kho_gate_usual **out, size_t *n, struct kho_err *err) __must_check;
/* Not before KHO_DARK_US have passed since: results for all gates "dark", of what was seen and of the threads of these processes as they are now. */
void kho_dark_read(struct kho_dark *d, const pid_t *pids, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out);
/* Nothing of it is in the kernel afterwards. NULL is fine. */
void kho_dark_free(struct kho_dark *d);

/* Parts of kho_dark_read, for those who have the numbers. */
struct kho_dark_process;
void kho_dark_judge(const pid_t *pids, const struct kho_dark_process *of, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out);
void kho_dark_threads(const pid_t *pids, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out);

#endif
