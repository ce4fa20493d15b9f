// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what a canary reads: which loads are wanted, the kernel's times of its CPUs. Input: which of them (one byte), its bytes.
 */
#include "fuzz.h"

#include "bpf/load.h"
#include "bpf/spare.h"
#include "lib/cleanup.h"

static void loads(const char *text)
{
	struct kho_err err = KHO_ERR_INIT;
	unsigned set;

	if (kho_mixes_parse(text, &set, &err) == 0)
		fuzz_check(set && !(set >> KHO_NMIXES) && (*text == '/') == (set >> KHO_MIX_COMMAND));
	else
		fuzz_check(err.code && *err.msg);
}

static void times(const char *text)
{
	static struct kho_cpu_times none, t;
	struct kho_err err = KHO_ERR_INIT;
	cpu_set_t may, out;
	unsigned busy;

	kho_cpu_times_parse(text, &t);
	CPU_ZERO(&may);
	for (size_t i = 0; i < 4; i++)
		CPU_SET(i, &may);
	fuzz_check(!kho_spare_of(&none, &t, &may, 3, &out, &busy, &err) && CPU_COUNT(&out) == 3 && busy <= 100);
	fuzz_check(kho_spare_of(&t, &none, &may, 5, &out, &busy, &err) == -EINVAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;

	if (text && data[0] % 2)
		loads(text);
	else if (text)
		times(text);
	return 0;
}
