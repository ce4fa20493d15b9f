// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what a kernel writes about itself: its log, a verifier's. Input: which of them (one byte), its bytes.
 */
#include "fuzz.h"

#include "bpf/program.h"
#include "bpf/trouble.h"
#include "lib/cleanup.h"

static void kernel_log(const char *data, size_t size)
{
	struct kho_trouble t = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	fuzz_put("dev/kmsg", data, size);
	fuzz_check(!kho_trouble_read(fuzz_dir(), &t, &err) && t.whole);
	for (int i = 0; i < KHO_NGATES; i++)
		fuzz_check(!t.lines[i] == !*t.first[i] && strlen(t.first[i]) < KHO_TROUBLE_LINE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;
	char out[80];

	if (!text)
		return 0;
	if (data[0] % 2) {
		kernel_log((const char *)data + 1, size - 1);
		return 0;
	}
	kho_program_reason(text, out, sizeof(out));
	fuzz_check(strlen(out) < sizeof(out) && !strchr(out, '\n'));
	return 0;
}
