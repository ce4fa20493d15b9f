/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which kernel parameters are carried, and reading them.
 */
#ifndef KHO_HOST_SYSCTL_H
#define KHO_HOST_SYSCTL_H

#include <stdbool.h>

#include "lib/err.h"
#include "state-serializers/host.pb-c.h"

/* key: below /proc/sys. *out_late: not before finish. */
bool kho_sysctl_is_carried(const char *key, bool *out_late);

/* Append all carried ones of base ("/proc/sys" or a recorded one) to h. */
int kho_sysctl_read_all(const char *base, Kho__Host *h, struct kho_err *err);

#endif
