/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long woken threads of this process wait until they run, by CPU (wakeup.bpf.c).
 */
#ifndef KHO_BPF_WAKEUP_H
#define KHO_BPF_WAKEUP_H

#include "bpf/hist.h"
#include "lib/err.h"

struct kho_wakeup;

/* Begin to count. Needs root, and a kernel with BTF; the error says what it lacks or refuses. */
int kho_wakeup_start(struct kho_wakeup **out, struct kho_err *err) __must_check;
/* What was counted, by number of the CPU; *out is malloc'd. */
int kho_wakeup_read(struct kho_wakeup *w, struct kho_hist **out, size_t *out_ncpus, struct kho_err *err) __must_check;
/* Out of the kernel again. NULL is fine. */
void kho_wakeup_stop(struct kho_wakeup *w);

#endif
