// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: the ledger in a region's head, as user space reads it.  It is written by two
 * kernels; whoever reads it must stay inside of it.  Input: the ledger.
 */
#include "fuzz.h"
#include "handover/beside/machine.h"
#include "handover/dev.h"
#include "handover/uapi/khoctl_region.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_machine m = { 0 };
	struct kho_ledger *l;
	size_t n = 0;

	if (size < sizeof(*l))
		return 0;
	l = aligned_alloc(64, (size + 63) & ~63ul);
	fuzz_check(l);
	memcpy(l, data, size);
	l->magic = KHO_REGION_MAGIC; /* all else is refused at once */
	l->revision = KHO_REGION_REVISION;
	if (kho_machine_from_ledger(&m, l, size, &err) < 0)
		fuzz_check(*err.msg);
	kho_machine_done(&m);
	const struct kho_ledger_cpu *cpus =
		kho_ledger_entries(l, size, &l->cpus, sizeof(*cpus), &n);
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += cpus[i].owner;
	fuzz_check(sum <= n * 255);
	for (int side = 0; side < 2; side++)
		fuzz_check(kho_state_name(l->side[side].state));
	free(l);
	return 0;
}
