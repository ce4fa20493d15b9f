/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The blackout of one workload: from "stop NAME" on the outgoing side to "resume NAME" on the
 * incoming one.  The report finds both phases by these names (orchestrator/report.c).
 */
#ifndef KHO_PROC_PHASE_H
#define KHO_PROC_PHASE_H

#include "state-serializers/serializer.h"

/* "stop NAME": from CRIU's start on this workload until all of it stands still. */
void kho_proc_stopped(struct kho_env *env, const char *workload, uint64_t begin_us, uint64_t end_us);

/* "resume NAME": from the request to restore it until it runs again. */
void kho_proc_resumed(struct kho_env *env, const char *workload, uint64_t begin_us, uint64_t end_us);

#endif
