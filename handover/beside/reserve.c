// SPDX-License-Identifier: GPL-2.0-only
/*
 * reserve: memory and the boot CPU leave this kernel; the initramfs is packed straight into the
 * region, so that it never exists twice.  unreserve gives back whatever is found to be out, also in
 * a process that did not reserve it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handover/beside/beside.h"
#include "handover/beside/initramfs_write.h"
#include "handover/beside/signature.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

#define MIB (1ULL << 20)

static int copy_ids(uint32_t **out, size_t *out_n, const uint32_t *ids, size_t n)
{
	free(*out);
	*out = calloc(n + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	memcpy(*out, ids, n * sizeof(*ids));
	*out_n = n;
	return 0;
}

/* Where the packer's bytes go. */
struct window {
	uint8_t *p;
	uint64_t used, room;
};

static int into_window(void *arg, const void *data, size_t len)
{
	struct window *w = arg;

	if (len > w->room - w->used)
		return -ENOSPC;
	memcpy(w->p + w->used, data, len);
	w->used += len;
	return 0;
}

static int no_room(const struct window *w, uint64_t unpacked, struct kho_err *err)
{
	return kho_fail(err, -ENOSPC,
			"the initramfs (%llu MiB, %llu unpacked) does not fit into the "
			"region; ask for more memory (--memory)",
			(unsigned long long)(w->used / MIB), (unsigned long long)(unpacked / MIB));
}

static int pack(struct kho_beside *b, struct kho_err *err)
{
	struct kho_initramfs_in in = kho_beside_initramfs_in(b);
	const struct kho_engine_request *req = b->e.req;
	struct window w = { .room = b->layout.initrd_room };
	uint64_t begin = kho_clock_us(), bytes = 0, unpacked = 0;
	bool behind = b->initramfs.initrd.len;
	int ret;

	w.p = kho_dev_map(b->dev, b->layout.initrd, w.room, true, err);
	if (!w.p)
		return err ? err->code : -EIO;
	ret = kho_initramfs_write(&in, req->initramfs, req->initrd, &b->initramfs, into_window, &w, &bytes, &unpacked, err);
	munmap(w.p, w.room);
	if (ret == -ENOSPC || (!ret && w.used + unpacked > w.room))
		return no_room(&w, unpacked, err);
	if (ret < 0)
		return ret;
	b->layout.initrd_bytes = w.used;
	kho_engine_note(&b->e, "initramfs: %llu MiB%s%s", (unsigned long long)(w.used / MIB), behind ? ", khoctl's behind " : "",
			behind ? b->initramfs.path : "");
	kho_engine_phase(&b->e, "initramfs", begin);
	return 0;
}

static int init_region(struct kho_beside *b, const struct kho_engine_plan *p, struct kho_err *err)
{
	struct kho_ioc_region_init arg = {
		.boot_apicid = p->boot_apicid,
		.base = b->region.base,
		.bytes = b->region.bytes,
		.bulk_bytes = p->bulk_bytes,
		.ram = (uintptr_t)b->m.ram,
		.nram = b->m.nram,
		.ecams = (uintptr_t)b->m.ecams,
		.necams = b->m.necams,
		.windows = (uintptr_t)b->m.windows,
		.nwindows = b->m.nwindows,
		.pci = (uintptr_t)b->m.pci,
		.npci = b->m.npci,
		.instance_id = b->info.instance_id + 1,
		.generation = b->info.generation + 1,
	};
	int ret = kho_dev_region_init(b->dev, &arg, err);

	b->layout.low_slot = arg.low_slot;
	return ret < 0 ? ret : kho_beside_map_head(b, err);
}

static int take_memory(struct kho_beside *b, const struct kho_engine_plan *p, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = kho_beside_take_region(b, p->region_bytes, err);

	if (!ret && p->extra_bytes)
		ret = kho_beside_take_extra(b, p->extra_bytes, err);
	if (ret < 0)
		return ret;
	b->layout = (struct kho_layout){
		.region_base = b->region.base,
		.region_bytes = b->region.bytes,
		.bulk_bytes = p->bulk_bytes,
	};
	kho_engine_phase(&b->e, "take memory", begin);
	return kho_layout_make(&b->layout, &b->img, err);
}

static int give_boot_cpu(struct kho_beside *b, const struct kho_engine_plan *p, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = kho_dev_cpu_give(b->dev, p->boot_apicid, KHO_PEER_INCOMING, err);

	kho_engine_phase(&b->e, "park boot CPU", begin);
	return ret;
}

int kho_beside_reserve(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	const char *why;
	int ret = kho_beside_facts(b, err);

	if (ret < 0)
		return ret;
	if (b->dev < 0)
		return kho_fail(err, -ENOENT,
				"the khoctl module is not loaded; load it: modprobe khoctl");
	if (copy_ids(&b->before, &b->nbefore, p->apicids_before, p->nbefore) < 0 ||
	    copy_ids(&b->after, &b->nafter, p->apicids_after, p->nafter) < 0)
		return kho_fail(err, -ENOMEM, "reserve: out of memory");
	if (kho_signature_enforced(e->req->sysroot, &why))
		ret = kho_signature_verify(e->req->image, err);
	if (!ret)
		ret = kho_beside_cmdline(b, &b->cmdline, err);
	if (!ret)
		ret = take_memory(b, p, err);
	if (!ret)
		ret = pack(b, err);
	if (!ret)
		ret = init_region(b, p, err);
	return ret < 0 ? ret : give_boot_cpu(b, p, err);
}

/* As it is if it is parked for us; else it is stopped first. */
static int take_cpu(struct kho_beside *b, const struct kho_ledger_cpu *c, struct kho_err *err)
{
	int ret = kho_dev_cpu_take(b->dev, c->apicid, KHO_PEER_INCOMING, false, err);

	return ret < 0 && !c->bsp
		       ? kho_dev_cpu_take(b->dev, c->apicid, KHO_PEER_INCOMING, true, err)
		       : ret;
}

/* CPUs and functions that are not ours, by the ledger. */
static void take_back(struct kho_beside *b, int *first, struct kho_err *err)
{
	const struct kho_ledger *l = kho_beside_ledger(b);
	const struct kho_ledger_pci *pci;
	const struct kho_ledger_cpu *cpus;
	struct kho_err one = KHO_ERR_INIT;
	size_t ncpus, npci, i;

	if (!l)
		return;
	cpus = kho_ledger_entries(l, KHO_LEDGER_BYTES, &l->cpus, sizeof(*cpus), &ncpus);
	pci = kho_ledger_entries(l, KHO_LEDGER_BYTES, &l->pci, sizeof(*pci), &npci);
	for (i = 0; i < npci; i++) {
		struct kho_pci_addr a = { pci[i].segment, pci[i].bus, pci[i].devfn };

		if (pci[i].owner != KHO_OWNER_OUTGOING)
			kho_first_failure(kho_dev_pci_take(b->dev, a, KHO_PEER_INCOMING, NULL,
							   &one),
					  &one, first, err);
	}
	for (i = 0; i < ncpus; i++)
		if (cpus[i].owner != KHO_OWNER_OUTGOING)
			kho_first_failure(take_cpu(b, &cpus[i], &one), &one, first, err);
}

int kho_beside_unreserve(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	struct kho_err one = KHO_ERR_INIT;
	int ret, first = 0;

	if (b->dev < 0)
		return 0; /* without the module nothing can be out */
	kho_first_failure(kho_beside_held_load(b, &one), &one, &first, err);
	kho_first_failure(kho_beside_map_head(b, &one), &one, &first, err);
	take_back(b, &first, err);
	if (kho_beside_keep_log(b, &one) < 0) /* no reason to call the machine not undone */
		kho_engine_note(&b->e, "%s", one.msg);
	if (b->bulk)
		munmap(b->bulk, b->layout.bulk_bytes);
	if (b->head)
		munmap(b->head, KHO_HEAD_BYTES);
	b->bulk = NULL;
	b->head = NULL;
	ret = kho_dev_region_drop(b->dev, &one);
	if (ret != -ENODEV)
		kho_first_failure(ret, &one, &first, err);
	kho_first_failure(kho_beside_release(b, &one), &one, &first, err);
	return first;
}
