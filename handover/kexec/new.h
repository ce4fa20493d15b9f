/* SPDX-License-Identifier: GPL-2.0-only */
/* All that the table of engines knows of the kexec engine. */
#ifndef KHO_KEXEC_NEW_H
#define KHO_KEXEC_NEW_H

#include "handover/engine.h"

/* See struct kho_engine_entry. */
int kho_kexec_new(const struct kho_engine_request *req, struct kho_engine **out, struct kho_err *err);

#endif
