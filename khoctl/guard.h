/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the root is on a disk, that disk is frozen in the middle of an upgrade: if khoctl is killed
 * there, nobody could start another one to undo.  So a second process stands by in memory.
 */
#ifndef KHO_GUARD_H
#define KHO_GUARD_H

#include "lib/err.h"

/*
 * Fork it; called before the lock is taken and before any thread is made. Its memory is locked, it
 * holds no descriptor of ours. When the calling process ends it reads the journal in RAM: what was
 * begun, not committed and not undone is undone. Nothing to do (root in RAM): 0.
 */
int kho_guard_start(struct kho_err *err);

#endif
