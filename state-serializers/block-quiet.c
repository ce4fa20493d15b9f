// SPDX-License-Identifier: GPL-2.0-only
/*
 * block, outgoing side, in the blackout: is there anything between files and disks any more? FIFREEZE has waited for what was written, and the
 * drivers' freeze for their requests; this is what the kernel's own counters say.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

int64_t kho_block_in_flight(const char *sysroot, const char *disk)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	uint64_t reads, writes;

	if (asprintf(&path, "%s/sys/block/%s/inflight", sysroot, disk) < 0 || kho_read_file(path, 256, &text, NULL, NULL) < 0 ||
	    sscanf(text, "%" SCNu64 " %" SCNu64, &reads, &writes) != 2 || reads > INT32_MAX || writes > INT32_MAX)
		return -1;
	return (int64_t)(reads + writes);
}

void kho_block_quiet_disks(const char *sysroot, const Kho__Block *b, struct kho_quiet_list *out)
{
	char what[96] = "";
	int64_t all = 0;

	for (size_t i = 0; i < b->n_disk; i++) {
		int64_t n = kho_block_in_flight(sysroot, b->disk[i]->name);

		if (n < 0) {
			snprintf(what, sizeof(what), "/sys/block/%.32s/inflight does not say it", b->disk[i]->name);
			kho_quiet_add(out, "requests", -1, what);
			return;
		}
		if (n && !*what)
			snprintf(what, sizeof(what), "%" PRId64 " on %.32s", n, b->disk[i]->name);
		all += n;
	}
	if (b->n_disk)
		kho_quiet_add(out, "requests", all, what);
}

void kho_block_quiet_files(const char *sysroot, const Kho__Block *b, struct kho_quiet_list *out)
{
	int64_t dirty = kho_meminfo_kib(sysroot, "Dirty"), writing = kho_meminfo_kib(sysroot, "Writeback");
	char what[96];

	if (!b->n_source)
		return;
	snprintf(what, sizeof(what), "%" PRId64 " KiB dirty, %" PRId64 " KiB on their way", dirty, writing);
	kho_quiet_add(out, "dirty", dirty < 0 || writing < 0 ? -1 : dirty + writing, dirty < 0 || writing < 0 ? "/proc/meminfo does not say it" : what);
}
