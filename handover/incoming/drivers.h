/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KHO_INCOMING_DRIVERS_H
#define KHO_INCOMING_DRIVERS_H

/* Load the drivers of the device at dir (below /sys) and of all on it that have none; what fails is told where it is missed. Any thread. */
void kho_drivers_load(const char *dir);

#endif
