// SPDX-License-Identifier: GPL-2.0-only
/*
 * Load khoctl.ko in the incoming kernel and wait for its nodes.
 */
#include <errno.h>
#include <time.h>

#include "handover/dev.h"
#include "handover/incoming/init.h"
#include "lib/io.h"

#define NODES_MS 5000

int kho_init_module(struct kho_err *err)
{
	struct timespec ms = { .tv_nsec = 1000000 };
	int ret = 0;

	if (!kho_exists("/dev/khoctl"))
		ret = kho_dev_load(err);
	for (int i = 0; !ret && !(kho_exists("/dev/khoctl") && kho_exists("/dev/khoctl-link"));
	     i++) {
		if (i == NODES_MS)
			return kho_fail(err, -ENODEV,
					"module khoctl is loaded, but /dev/khoctl does not appear");
		nanosleep(&ms, NULL);
	}
	return ret;
}
