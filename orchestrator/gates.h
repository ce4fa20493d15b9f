/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gates of an upgrade: what was measured is told and journaled; and those of the blackout: of the outgoing kernel
 * (Quiescent), and of what was restored on the incoming one (Dark; bpf/gates.def).
 */
#ifndef KHO_ORCH_GATES_H
#define KHO_ORCH_GATES_H

#include <stdbool.h>

#include "bpf/gate.h"

struct kho_upgrade;

/* One line for the operator, and a journal record "gates". */
int kho_gates_note(struct kho_upgrade *u, const struct kho_gate_list *l, struct kho_err *err) __must_check;

/*
 * With --gates: ask each serializer whether anything of its is still under way (quiet), by the thread that waits for the lanes. shifted: all but the last ones are across.
 * -EOPNOTSUPP names what is.
 */
int kho_gates_quiescent(struct kho_upgrade *u, bool shifted, struct kho_err *err) __must_check;

/* The incoming kernel is asked: its results in out, noted, the time that it took as that phase. The engine has `gates`. */
int kho_gates_incoming(struct kho_upgrade *u, enum kho_gate_moment moment, const char *phase, struct kho_gate_list *out,
		       struct kho_err *err) __must_check;

/*
 * With --gates: how many of the workloads' system calls fail on this kernel, from now until kho_gates_watched, which takes all that is in
 * the kernel for it away and is no act of the blackout. -ENOMEM only: a kernel that refuses the programs is told of by the latter.
 */
int kho_gates_watch(struct kho_upgrade *u, struct kho_err *err) __must_check;
void kho_gates_watched(struct kho_upgrade *u);

/* With --gates: the incoming kernel looks at the restored processes from now on. Engines that cannot be asked are refused before (probe). */
int kho_gates_restored(struct kho_upgrade *u, struct kho_err *err) __must_check;
/* And what it has seen since. -EOPNOTSUPP names what fails there. */
int kho_gates_dark(struct kho_upgrade *u, struct kho_err *err) __must_check;
/* The same of a copy, noted, and not decided: without calls that fail, as they may where there is no network. The engine has `gates`. */
int kho_gates_copied(struct kho_upgrade *u, struct kho_gate_list *out, struct kho_err *err) __must_check;

#endif
