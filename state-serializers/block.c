// SPDX-License-Identifier: GPL-2.0-only
/*
 * The block serializer: disks on PCI functions, with the file systems mounted from them.
 *
 * Happy path: outgoing preserve syncs; prepare loads drivers and makes stores in RAM; freeze freezes the
 * file systems (from now on writes wait) and quiesces the disk's driver (reads wait too); drain gives the
 * function away; retrieve finds the disk again, looks at it through a snapshot whose writes
 * go to the store, mounts; until commit nothing is written to the disk.  finish merges the store into the
 * disk while everything runs; the device stays, as a linear one.
 * Unhappy path: discard unmounts, drops the store and gives the disk back as it was; unfreeze wakes the
 * driver (mounts, caches and files are all still there) and thaws.
 */
#include "state-serializers/block.h"

/* processes first: a frozen file system stops a writer in the kernel, where it cannot be seized */
static const char *const needs[] = { "proc", NULL };

extern const struct kho_serializer kho_ser_block;
const struct kho_serializer kho_ser_block = {
	.name = "block",
	.order = 40,
	.flags = KHO_SER_THAW,
	.needs = needs,
	.root_needs = needs, /* the dump reads files (and CRIU's own pages) of the root */
	.probe = kho_block_probe,
	.preserve = kho_block_preserve,
	.unpreserve = kho_block_unpreserve,
	.freeze = kho_block_freeze,
	.drain = kho_block_drain,
	.unfreeze = kho_block_unfreeze,
	.forget = kho_block_forget,
	.prepare = kho_block_prepare,
	.unprepare = kho_block_unprepare,
	.retrieve = kho_block_retrieve,
	.verify = kho_block_verify,
	.discard = kho_block_discard,
	.finish = kho_block_finish,
};
