// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what the incoming side checks of the message about interfaces before it uses it. The
 * check is netdev-in.c's own, so that file is taken in instead of from the library.  Input: the
 * message.
 */
#include "fuzz.h"
#include "state-serializers/netdev-in.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_blob b = { .data = (void *)(uintptr_t)data, .len = size };
	struct kho_err err = KHO_ERR_INIT;

	if (set_cfg(&b, &err) < 0)
		fuzz_check(*err.msg);
	return 0;
}
