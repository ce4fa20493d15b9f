// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: the reader of a host's initramfs, and joining ours with it.  Input: the file.
 */
#include "fuzz.h"
#include "handover/beside/initrd.h"

static int count(void *arg, const void *data, size_t len)
{
	uint64_t *sum = arg;

	for (size_t i = 0; i < len; i++)
		*sum += 1 + 0 * ((const volatile uint8_t *)data)[i];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_files ours = { 0 }, cut;
	uint8_t *copy = malloc(size + 1);
	struct kho_initrd in;
	uint64_t written = 0;

	memcpy(copy, data, size);
	if (kho_initrd_parse(copy, size, &in, &err) < 0) {
		fuzz_check(err.code && *err.msg);
		return 0;
	}
	fuzz_check(in.nentries && in.packed <= size);
	for (size_t i = 1; i < in.nentries; i++)
		fuzz_check(strcmp(in.entry[i - 1].name, in.entry[i].name) < 0);
	fuzz_check(kho_initrd_write(&in, count, &written, &err) == 0);
	fuzz_check(written >= in.packed && written % 4 == 0);
	if (kho_files_add_made(&ours, "/lib/modules/x", S_IFREG | 0644, "x", 0, &err) == 0 &&
	    kho_files_add_made(&ours, "/init", S_IFREG | 0755, "x", 0, &err) == 0 && kho_files_close(&ours, &err) == 0 &&
	    kho_initrd_join(&in, &ours, &cut, &err) == 0)
		kho_files_done(&cut);
	kho_files_done(&ours);
	kho_initrd_done(&in);
	return 0;
}
