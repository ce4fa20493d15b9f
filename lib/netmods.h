/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel modules of the network: packet filter, virtual interfaces, queueing. What is loaded of them here is
 * wanted by the incoming kernel too, which has nobody to load modules on demand before its root is there.
 */
#ifndef KHO_LIB_NETMODS_H
#define KHO_LIB_NETMODS_H

#include <stdbool.h>

#include "lib/err.h"

/* Is it one of them? name: as in /proc/modules. */
bool kho_module_is_network(const char *name);

/* Call fn for each that is loaded (by `text`, the content of /proc/modules) until it fails; its result. */
int kho_network_modules(const char *text, int (*fn)(void *arg, const char *name), void *arg);

#endif
