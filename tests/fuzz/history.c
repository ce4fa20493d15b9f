// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what an upgrade's past is read from.  Input: one byte; even: a kernel's own record of its kexec; odd: the history's
 * lines, of which a prediction is made, and which read the same when they were written again.
 */
#include "fuzz.h"
#include "lib/format.h"
#include "lib/json.h"
#include "orchestrator/history.h"
#include "orchestrator/predict.h"

static void metadata(const uint8_t *data, size_t size)
{
	struct kho_kexec_metadata m;
	struct kho_err err = KHO_ERR_INIT;
	int rc = kho_kexec_metadata_parse(data, size, &m, &err);

	fuzz_check(rc != 1 || kho_is_word(m.previous_release));
	fuzz_check(rc >= 0 || *err.msg);
}

static void again(struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	struct json_object *twin = NULL;

	/* what is kept may be longer as it is written than as it was read */
	if (kho_history_line(text, strlen(text), &twin, NULL) == 0)
		fuzz_check(!strcmp(text, json_object_to_json_string_ext(twin, JSON_C_TO_STRING_PLAIN)));
	json_object_put(twin);
}

static void lines(const uint8_t *data, size_t size)
{
	const struct kho_kexec_metadata m = { .previous_release = "6.12", .kexec_count = 3 };
	struct kho_sample past[KHO_SAMPLES_MAX];
	struct json_object *list = NULL;
	struct kho_prediction p;
	unsigned bad = 0;
	char why[400];

	fuzz_put(KHO_HISTORY_NAME, data, size);
	fuzz_check(kho_history_load(fuzz_dir(), &list, &bad, NULL) == 0);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		again(json_object_array_get_idx(list, i));
	(void)kho_history_witness(list, "7.3", &m, why, sizeof(why));
	json_object_put(list);
	for (int jumps = 0; jumps < 2; jumps++) {
		size_t n = kho_samples_load(fuzz_dir(), jumps, past);

		fuzz_check(n <= KHO_SAMPLES_MAX);
		if (!n)
			continue;
		kho_predict(&past[0].facts, jumps, past, n, &p);
		fuzz_check(p.upgrades > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] % 2)
		lines(data + 1, size - 1);
	else if (size)
		metadata(data + 1, size - 1);
	return 0;
}
