/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that the table of engines knows of the beside engine.
 */
#ifndef KHO_BESIDE_NEW_H
#define KHO_BESIDE_NEW_H

#include "handover/engine.h"

/* See struct kho_engine_entry. */
int kho_beside_new(const struct kho_engine_request *req, struct kho_engine **out,
		   struct kho_err *err);

#endif
