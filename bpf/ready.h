/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Ready gate: is the kernel that this runs on fit to be given work?
 */
#ifndef KHO_BPF_READY_H
#define KHO_BPF_READY_H

#include "bpf/exercise.h"
#include "bpf/gate.h"

/* What the kernel itself uses and does not give back on demand, KiB; -1: /proc/meminfo does not say it. */
int64_t kho_ready_kernel_kib(const char *sysroot);

/*
 * Measures all gates called "ready" (gates.def) but for those that need the word of another kernel. sysroot: "", or a recorded tree, whose latencies are unknown. Takes
 * half a second, five times that where threads are late each time, and at most 13 s on a kernel with a CPU that hangs. Leaves nothing behind in the kernel.
 */
void kho_ready(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out);

/* Parts of it, for tests: latencies out of what was measured. hist: by number of the CPU, ncpus of them; NULL: why says why there is none. */
void kho_ready_timer(const struct kho_exercise_cpu *c, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out);
void kho_ready_wakeup(const struct kho_exercise_cpu *c, size_t n, const struct kho_hist *hist, size_t ncpus, const struct kho_err *why,
		      const struct kho_gate_policy *p, struct kho_gate_list *out);

#endif
