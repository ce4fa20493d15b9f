// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what dmsetup printed, taken apart and put together again; and crypttab.  Input: the text.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lib/cleanup.h"
#include "state-serializers/block-key.h"
#include "state-serializers/block-table.h"

static void one(const struct kho_dm_target *t)
{
	_cleanup_(kho_wipe) char *key = NULL, *again = NULL;
	Kho__BlockTarget out = KHO__BLOCK_TARGET__INIT;
	Kho__BlockRef *refs[KHO_TABLE_UNDER] = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	dev_t under[KHO_TABLE_UNDER];

	if (kho_table_split(t, &out, under, &out.n_under, &key, &err) < 0) {
		fuzz_check(*err.msg && !key);
	} else {
		out.under = refs;
		fuzz_check(!kho_table_join(&out, under, key, &again, &err) && *again);
	}
	if (out.type != protobuf_c_empty_string)
		free(out.type);
	if (out.params != protobuf_c_empty_string)
		free(out.params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct kho_err err = KHO_ERR_INIT;
	struct kho_crypttab c;

	if (!text)
		return 0;
	if (!kho_dm_table_recorded(text, "t-x", &t, &err))
		for (size_t i = 0; i < t.n; i++)
			one(&t.target[i]);
	(void)kho_crypttab_find(text, "t-x", &c);
	return 0;
}
