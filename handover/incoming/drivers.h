/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KHO_INCOMING_DRIVERS_H
#define KHO_INCOMING_DRIVERS_H

#include "bpf/gate.h"

/* Load the drivers of the device at dir (below /sys) and of all on it that have none; what fails is told where it is missed. Any thread. */
void kho_drivers_load(const char *dir);

/*
 * Of n devices that are still another kernel's: how many have no driver here; the first such device in what, or "". Drivers that are not loaded yet are
 * loaded: that is not left for the blackout.
 */
size_t kho_drivers_missing(const struct kho_gate_device *d, size_t n, char *what, size_t size);

#endif
