/* SPDX-License-Identifier: GPL-2.0-only */
/* How the workloads of this machine are, at any time. */
#ifndef KHO_ORCH_HEALTH_H
#define KHO_ORCH_HEALTH_H

#include "orchestrator/plan.h"

/*
 * Looks for each declared workload's processes and does its health check (as workloads.d says). A KHO_V_NO item in r, named
 * by the workload, for each that is not well; KHO_V_OK items for the others. An error: nothing is known.
 */
int kho_health_now(const struct kho_world *world, struct kho_report *r, struct kho_err *err) __must_check;

#endif
