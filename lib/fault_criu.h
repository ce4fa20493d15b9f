/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fault that kills a CRIU, on either side (lib/faults.def).
 */
#ifndef KHO_LIB_FAULT_CRIU_H
#define KHO_LIB_FAULT_CRIU_H

#include <stdatomic.h>

#include "lib/err.h"

/*
 * Wait until one of khoctl's CRIUs is there, let it work for some milliseconds, kill it and all others. -ENOENT: none came
 * within ms, or *over (may be NULL) became true.
 */
int kho_fault_kill_criu(unsigned ms, const atomic_bool *over, struct kho_err *err) __must_check;

#endif
