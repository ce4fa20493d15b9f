/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every step's act and its inverse; called by the runner alone, through the table.
 */
#ifndef KHO_STEP_LIST_H
#define KHO_STEP_LIST_H

#include "lib/err.h"

struct kho_upgrade;

#define KHO_STEP_FN(name) int name(struct kho_upgrade *u, struct kho_err *err)

KHO_STEP_FN(kho_step_preflight);
KHO_STEP_FN(kho_step_reserve);
KHO_STEP_FN(kho_undo_reserve);
KHO_STEP_FN(kho_step_spawn);
KHO_STEP_FN(kho_undo_spawn);
KHO_STEP_FN(kho_step_handshake);
KHO_STEP_FN(kho_undo_handshake);
KHO_STEP_FN(kho_step_probe);
KHO_STEP_FN(kho_step_precopy);
KHO_STEP_FN(kho_undo_precopy);
KHO_STEP_FN(kho_step_freeze);
KHO_STEP_FN(kho_undo_freeze);
KHO_STEP_FN(kho_step_load);
KHO_STEP_FN(kho_undo_load);
KHO_STEP_FN(kho_step_shadow);
KHO_STEP_FN(kho_undo_shadow);
KHO_STEP_FN(kho_step_shift);
KHO_STEP_FN(kho_undo_shift);
KHO_STEP_FN(kho_step_restore);
KHO_STEP_FN(kho_undo_restore);
KHO_STEP_FN(kho_step_commit);
KHO_STEP_FN(kho_step_settle);
KHO_STEP_FN(kho_step_retire);

#endif
