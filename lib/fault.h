/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named faults, fired by the step runner:  KHOCTL_FAULT=STEP[.PLACE]:KIND[,...]
 * PLACE: before (default), after, undo.  KIND: fail, hang, kill; panic: this kernel does; or peer-panic, peer-hang, peer-stop,
 * peer-kill, peer-reboot, peer-poweroff, peer-criu, peer-scribble: the incoming kernel does it, if it was started with
 * --cmdline khoctl.fault=1 (handover/incoming/agent_fault.c).
 */
#ifndef KHO_LIB_FAULT_H
#define KHO_LIB_FAULT_H

#include <stddef.h>

#include "lib/err.h"

enum kho_fault_place { KHO_FAULT_BEFORE, KHO_FAULT_AFTER, KHO_FAULT_UNDO };
enum kho_fault_kind {
	KHO_FAULT_NONE,
	KHO_FAULT_FAIL,
	KHO_FAULT_HANG,
	KHO_FAULT_KILL,
	KHO_FAULT_PANIC, /* of this kernel */
	KHO_FAULT_PEER, /* this and all above: see kho_fault_peer() */
};

#define KHO_FAULTS_MAX 16

struct kho_faults {
	struct kho_fault {
		char step[32];
		enum kho_fault_place place;
		enum kho_fault_kind kind;
	} f[KHO_FAULTS_MAX];
	size_t n;
};

/*
 * Parse text (NULL or "": no faults). steps: NULL-terminated names that exist. Unknown step, place
 * or kind: -EINVAL naming what is known.
 */
int kho_faults_parse(const char *text, const char *const *steps, struct kho_faults *out,
		     struct kho_err *err) __must_check;

/* Which fault is due at this place? */
enum kho_fault_kind kho_fault_at(const struct kho_faults *f, const char *step,
				 enum kho_fault_place place);

/* What the incoming kernel shall do ("panic", ...), or NULL: kind is a fault of this side. */
const char *kho_fault_peer(enum kho_fault_kind kind);

#endif
