// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: the journal's bytes, as they are on disk.  Where it reads records, what lies before
 * the torn tail reads the same; and each is read as one of who was pinned to CPUs.
 */
#include "fuzz.h"
#include "lib/affinity.h"
#include "orchestrator/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_object *records = NULL;
	struct kho_err err = KHO_ERR_INIT;
	bool torn = false;

	if (kho_journal_parse(data, size, &records, &torn, &err) < 0) {
		fuzz_check(!records && *err.msg);
		return 0;
	}
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		struct json_object *o = json_object_array_get_idx(records, i);
		struct kho_affinity a = { 0 };

		(void)!json_object_to_json_string(o);
		fuzz_check(kho_affinity_from_record(o, &a, &err) == 0);
		for (size_t k = 0; k < a.n; k++)
			fuzz_check(a.t[k].tid > 0 && (!k || a.t[k - 1].tid <= a.t[k].tid));
		kho_affinity_done(&a);
	}
	json_object_put(records);
	return 0;
}

/* A record with a wrong CRC ends the journal: make them right, or no mutation is ever read. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint32_t len, crc;

	size = LLVMFuzzerMutate(data, size, max);
	for (size_t at = 8; seed % 4 && at + 8 < size; at += 8 + len) {
		memcpy(&len, data + at, sizeof(len));
		if (len > size - at - 8) {
			len = (uint32_t)(size - at - 8);
			memcpy(data + at, &len, sizeof(len));
		}
		crc = kho_crc32(data + at + 8, len);
		memcpy(data + at + 4, &crc, sizeof(crc));
	}
	return size;
}
