/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of a machine stands against one kernel's memory becoming another's.
 */
#ifndef KHO_BESIDE_HARDWARE_H
#define KHO_BESIDE_HARDWARE_H

#include "handover/beside/machine.h"
#include "lib/report.h"

/* An IOMMU that is on, pages that are broken, or that the host has: a line for each thing there is. 0 or -ENOMEM. */
int kho_hardware_check(const char *sysroot, const struct kho_machine *m, struct kho_report *r) __must_check;

#endif
