// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: CRIU's page maps: read, marked for lazy restore, resolved through a parent
 * directory. Input: pieces (see fuzz.h): page map, memory map, the parent's page map, registers,
 * pages.
 */
#include "fuzz.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/img.h"

static void load(void)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_space *s = kho_space_load(fuzz_dir(), 1, -1, &err);

	if (!s) {
		fuzz_check(*err.msg);
		return;
	}
	for (size_t i = 0; i < s->n; i++)
		fuzz_check(s->b[i].nr <= 64 && s->b[i].file < s->nfiles &&
			   (!i || s->b[i - 1].va <= s->b[i].va));
	kho_space_drop(s, 0x1000, 0x100000);
	kho_space_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "final/pagemap-1.img", "final/mm-1.img",
					     "pre.0/pagemap-1.img", "regs", "pre.0/pages-1.img" };
	struct fuzz_in in = { data, size };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_img_task t = { .pid = 1, .nthreads = 1 };
	struct kho_lazy_sum sum = { 0 };
	char final[96], link[96];
	struct kho_pagemap m;
	uint64_t sp = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct fuzz_in p = fuzz_piece(&in);

		fuzz_put(names[i], p.data, p.size);
		if (i == 3 && p.size >= sizeof(sp))
			memcpy(&sp, p.data, sizeof(sp));
	}
	snprintf(final, sizeof(final), "%s/final", fuzz_dir());
	snprintf(link, sizeof(link), "%s/parent", final);
	(void)!symlink("../pre.0", link);
	t.sp = &sp;
	if (kho_pagemap_read(final, 1, &m, &err) == 0)
		kho_pagemap_done(&m);
	(void)!kho_pagemap_mark(final, &t, 16, &sum, &err);
	load();
	return 0;
}
