// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: frames of the link, put together to messages.  Input: pieces (see fuzz.h), each a
 * frame.
 */
#include "fuzz.h"
#include "handover/link/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return kho_link_fuzz_one(data, size);
}
