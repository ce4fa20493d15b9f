// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what the machine says of itself in /proc and /sys, which tests also read from
 * recorded trees.  Input: pieces (see fuzz.h): iomem, zoneinfo, cpuinfo, meminfo, mountinfo, swaps.
 */
#include "fuzz.h"
#include "handover/beside/machine.h"
#include "lib/report.h"
#include "state-serializers/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "proc/iomem",   "proc/zoneinfo",	    "proc/cpuinfo",
					     "proc/meminfo", "proc/self/mountinfo", "proc/swaps" };
	struct fuzz_in in = { data, size };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_machine m = { 0 };
	struct kho_env env = { .sysroot = fuzz_dir() };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct fuzz_in p = fuzz_piece(&in);

		fuzz_put(names[i], p.data, p.size);
	}
	fuzz_put("proc/mounts", "rootfs / rootfs rw 0 0\n", 23);
	if (kho_machine_read(fuzz_dir(), 0, &m, &err) < 0)
		fuzz_check(*err.msg);
	kho_machine_done(&m);
	(void)!kho_block_probe(&env, &r, &err);
	kho_report_done(&r);
	return 0;
}
