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

#include <stdio.h>
#include <string.h>

#include "state-serializers/common.h"

bool kho_block_first_of_function(const Kho__Block *b, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(b->disk[k]->pci, b->disk[i]->pci))
			return false;
	return true;
}

const char *kho_block_name(const Kho__Block *b, size_t source, char buf[KHO_DM_NAME])
{
	const Kho__BlockSource *s = b->source[source];

	if (s->layer)
		return b->layer[s->layer - 1]->name;
	if (!s->partition)
		return b->disk[s->disk]->name;
	snprintf(buf, KHO_DM_NAME, "%.100s, partition %u", b->disk[s->disk]->name, s->partition);
	return buf;
}

void kho_block_wipe_keys(Kho__Block *b)
{
	for (size_t i = 0; i < b->n_layer; i++)
		if (b->layer[i]->key.data)
			explicit_bzero(b->layer[i]->key.data, b->layer[i]->key.len);
}

void kho_block_free(Kho__Block *b)
{
	if (!b)
		return;
	kho_block_wipe_keys(b);
	kho__block__free_unpacked(b, NULL);
}

int kho_block_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	Kho__Block *b = NULL;
	int ret = kho_block_find(env->sysroot, &b, r, err);

	if (ret < 0)
		return ret;
	r->facts[KHO_FACT_FUNCTIONS] += b->n_disk;
	r->facts[KHO_FACT_MOUNTS] += b->n_mount;
	ret = kho_key_probe(env, b, r, err);
	kho_block_free(b);
	return ret < 0 ? ret : kho_swap_probe(env, r, err);
}

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
	.unlock = kho_block_unlock,
	.preserve = kho_block_preserve,
	.unpreserve = kho_block_unpreserve,
	.freeze = kho_block_freeze,
	.drain = kho_block_drain,
	.quiet = kho_block_quiet,
	.unfreeze = kho_block_unfreeze,
	.forget = kho_block_forget,
	.prepare = kho_block_prepare,
	.unprepare = kho_block_unprepare,
	.retrieve = kho_block_retrieve,
	.verify = kho_block_verify,
	.discard = kho_block_discard,
	.finish = kho_block_finish,
	.inherit = kho_block_inherit,
};
