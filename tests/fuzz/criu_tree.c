// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what was dumped by CRIU: process tree, sockets, registers of threads.  Input: pieces
 * (see fuzz.h): pstree.img, files.img, the core of each of three processes.
 */
#include "fuzz.h"
#include "state-serializers/proc/img.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "pstree.img", "files.img", "core-1.img", "core-2.img",
					     "core-3.img" };
	struct fuzz_in in = { data, size };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_img_tree tree;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct fuzz_in p = fuzz_piece(&in);

		fuzz_put(names[i], p.data, p.size);
	}
	if (kho_img_tree_read(fuzz_dir(), &tree, &err) < 0) {
		fuzz_check(*err.msg && !tree.tasks && !tree.tcp);
		return 0;
	}
	for (size_t i = 0; i < tree.ntasks; i++)
		fuzz_check(tree.tasks[i].sp);
	kho_img_tree_done(&tree);
	return 0;
}
