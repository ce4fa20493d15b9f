/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPUs of the running kernel. Two kernels of one machine number the same CPUs differently; what both call them by is the APIC id.
 */
#ifndef KHO_LIB_CPUINFO_H
#define KHO_LIB_CPUINFO_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_cpuinfo { /* an online CPU */
	unsigned cpu;	 /* this kernel's number of it */
	uint32_t apicid;
	int package, core;
};

/*
 * The text of /proc/cpuinfo. *out malloc'd, *out_n of them, in its order. What it does not say of a CPU: apicid and core are its number, package is 0.
 * -EINVAL: there is none in it; -ENOMEM.
 */
int kho_cpuinfo_parse(const char *text, struct kho_cpuinfo **out, size_t *out_n, struct kho_err *err) __must_check;

/* The same of sysroot's (NULL or "": the live system). */
int kho_cpuinfo_read(const char *sysroot, struct kho_cpuinfo **out, size_t *out_n, struct kho_err *err) __must_check;

/* APIC ids of those of the n CPUs at c whose numbers are in list ("0-3,8"). out has room for n; how many. */
size_t kho_cpuinfo_apicids(const struct kho_cpuinfo *c, size_t n, const char *list, uint32_t *out);

/* Numbers of those of the n CPUs at c that are among the nids APIC ids; others, and one that comes twice, are no matter. out has room for n; how many. */
size_t kho_cpuinfo_cpus(const struct kho_cpuinfo *c, size_t n, const uint32_t *ids, size_t nids, uint32_t *out);

#endif
