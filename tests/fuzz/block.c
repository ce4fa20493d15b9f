// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what the incoming side checks of the message about disks and mounts before it uses
 * it.  The check is block-in.c's own, so that file is taken in instead of from the library.  Input:
 * the message.
 */
#include "fuzz.h"
#include "state-serializers/block-in.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_blob b = { .data = (void *)(uintptr_t)data, .len = size };
	struct kho_err err = KHO_ERR_INIT;

	if (set_state(&b, &err) < 0) {
		fuzz_check(*err.msg);
		return 0;
	}
	for (size_t i = 0; i < in.b->n_layer; i++)
		for (size_t k = 0; k < in.b->layer[i]->n_target; k++) {
			_cleanup_(kho_wipe) char *text = NULL;
			dev_t under[KHO_TABLE_UNDER] = { 0 };

			(void)!kho_table_join(in.b->layer[i]->target[k], under, "00", &text, NULL);
		}
	return 0;
}
