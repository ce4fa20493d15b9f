/* SPDX-License-Identifier: GPL-2.0-only */
/* How an installed kernel was built, where a distribution leaves that: /boot/config-RELEASE, or `config` beside its modules. */
#ifndef KHO_LIB_KCONFIG_H
#define KHO_LIB_KCONFIG_H

/* What key (CONFIG_HZ) is set to ("250", "y", "m"; of a string with its quotes); malloc'd. NULL: to nothing, or nobody knows. */
char *kho_kconfig_get(const char *sysroot, const char *release, const char *key);

#endif
