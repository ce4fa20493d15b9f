// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: recordings, which khoctl compare reads.  Input: two of them, as two parts. Whatever is taken reads the same when it was written
 * again, and can be compared and drawn.
 */
#include "bpf/regress.h"
#include "fuzz.h"
#include "lib/json.h"

static bool parse(struct fuzz_in p, struct kho_recording *out)
{
	struct kho_err err = KHO_ERR_INIT;
	int rc = kho_recording_parse((const char *)p.data, p.size, out, &err);

	fuzz_check(rc == 0 || (*err.msg && !out->slices));
	return rc == 0;
}

static void again(const struct kho_recording *r)
{
	struct json_object *o = kho_recording_json(r), *twice;
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	struct kho_recording twin;

	fuzz_check(kho_recording_parse(text, strlen(text), &twin, NULL) == 0);
	twice = kho_recording_json(&twin);
	fuzz_check(!strcmp(text, json_object_to_json_string_ext(twice, JSON_C_TO_STRING_PLAIN)));
	json_object_put(twice);
	json_object_put(o);
	kho_recording_done(&twin);
}

static void compare(const struct kho_recording *a, const struct kho_recording *b)
{
	static struct kho_regress g;
	struct kho_gate_policy p;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	kho_gate_policy_init(&p);
	kho_regress(a, b, &p, &g);
	fuzz_check(g.gates.n && g.gates.n <= KHO_NMETRICS + 1);
	json_object_put(kho_regress_json(&g));
	kho_regress_draw(a, b, &g, f);
	fuzz_check(fclose(f) == 0 && !strcmp(text + len - 7, "</svg>\n"));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct kho_recording a, b;
	bool has_a = parse(fuzz_piece(&in), &a), has_b = parse(fuzz_piece(&in), &b);

	if (has_a)
		again(&a);
	if (has_a && has_b)
		compare(&a, &b);
	kho_recording_done(&a);
	kho_recording_done(&b);
	return 0;
}
