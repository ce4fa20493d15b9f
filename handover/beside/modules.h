/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel modules of the target: are they there, is our own built for it, has each disk and NIC a
 * driver, and which files does an initramfs need for them (by dependency, through libkmod).
 */
#ifndef KHO_BESIDE_MODULES_H
#define KHO_BESIDE_MODULES_H

#include <stdbool.h>

#include "handover/beside/files.h"
#include "handover/beside/machine.h"
#include "lib/err.h"
#include "lib/report.h"

struct kho_target {		 /* which kernel's modules, and where */
	const char *modules_dir; /* /lib/modules/RELEASE */
	const char *release;
	const char *sysroot; /* of the running machine's /sys */
};

/* The target has a module directory and its lists (depmod). Names the fix. */
int kho_modules_check_lists(const struct kho_target *t, struct kho_err *err);

/* The target has a module directory, its lists (depmod), and khoctl.ko built for it. Names the fix.
 */
int kho_modules_check(const struct kho_target *t, struct kho_err *err);

/* One item for each function of pci (not bridges): driver there or not. */
int kho_modules_check_devices(const struct kho_target *t, const struct kho_machine *m,
			      struct kho_report *r, struct kho_err *err);

/* Add khoctl.ko, the drivers of the machine's functions and all that a carried workload may need.
 */
int kho_modules_add(const struct kho_target *t, const struct kho_machine *m, struct kho_files *l,
		    struct kho_err *err);

#endif
