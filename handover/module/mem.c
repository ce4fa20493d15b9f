// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that changes hands: ranges taken out of the page allocator for an incoming kernel, and
 * memory of a kernel that is gone, hot-added here.  Each range that is out holds the module.
 */
#include "kho.h"

#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

struct kho_range {
	struct list_head node;
	u64 base, bytes;
	bool pinned;		/* a region */
	bool adopted;		/* hot-added here; else taken from the page allocator */
	bool given;		/* the incoming kernel may have it */
	atomic_t maps;		/* user mappings */
};

static LIST_HEAD(ranges);
static DEFINE_MUTEX(range_lock);
static u64 adopt_base, adopt_bytes;	/* must not go online while it is being added */

static struct kho_range *find(u64 base, u64 bytes, bool adopted)
{
	struct kho_range *r;

	list_for_each_entry(r, &ranges, node)
		if (r->base == base && r->bytes == bytes && r->adopted == adopted)
			return r;
	return NULL;
}

static struct kho_range *new_range(u64 base, u64 bytes, bool adopted)
{
	struct kho_range *r = kzalloc(sizeof(*r), GFP_KERNEL);

	if (r) {
		r->base = base;
		r->bytes = bytes;
		r->adopted = adopted;
	}
	return r;
}

/* Online memory of one zone (and node) only; struct pages of offline memory may not exist. */
static bool candidate(u64 base, u64 bytes, int node)
{
	unsigned long pfn = PHYS_PFN(base), end = PHYS_PFN(base + bytes), p;
	struct page *first = pfn_to_online_page(pfn), *page;

	if (!first || (node >= 0 && page_to_nid(first) != node))
		return false;
	for (p = pfn; p < end; p += PAGES_PER_SECTION) {
		page = pfn_to_online_page(p);
		if (!page || page_zone(page) != page_zone(first))
			return false;
	}
	page = pfn_to_online_page(end - 1);
	return page && page_zone(page) == page_zone(first);
}

/* The page allocator clears what it gives away and does not yield meanwhile: so, in pieces. */
#define PIECE	SZ_128M

static void release(u64 base, u64 bytes)
{
	u64 n;

	for (; bytes; base += n, bytes -= n) {
		n = min_t(u64, bytes, PIECE);
		free_contig_range(PHYS_PFN(base), n >> PAGE_SHIFT);
		cond_resched();
	}
}

static int take_piece(u64 base, u64 bytes)
{
#ifdef ACR_FLAGS_NONE
	acr_flags_t how = ACR_FLAGS_NONE;
#else
	unsigned int how = MIGRATE_MOVABLE;
#endif
	return alloc_contig_range_noprof(PHYS_PFN(base), PHYS_PFN(base + bytes), how,
					 GFP_KERNEL | __GFP_NOWARN);
}

static int take(u64 base, u64 bytes)
{
	u64 done, n;
	int ret;

	for (done = 0; done < bytes; done += n) {
		n = min_t(u64, bytes - done, PIECE);
		ret = take_piece(base + done, n);
		if (ret) {
			release(base, done);
			return ret;
		}
		cond_resched();
	}
	return 0;
}

static bool overlaps(u64 base, u64 bytes)
{
	struct kho_range *r;

	list_for_each_entry(r, &ranges, node)
		if (!r->adopted && base < r->base + r->bytes && r->base < base + bytes)
			return true;
	return false;
}

/* Top down, so that low memory stays for devices that need it.  Max is clipped to what exists. */
static int search(struct kho_ioc_mem_take *a, u64 top, u64 *out)
{
	u64 base, low = ALIGN(max_t(u64, a->min, SZ_1M), a->align);
	int ret = -ENOMEM;

	if (top < a->bytes)
		return -ENOMEM;
	for (base = round_down(top - a->bytes, a->align); base >= low; base -= a->align) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!overlaps(base, a->bytes) && candidate(base, a->bytes, a->node)) {
			ret = take(base, a->bytes);
			if (!ret) {
				*out = base;
				return 0;
			}
		}
		if (base < a->align)
			break;
		cond_resched();
	}
	return ret == -EBUSY ? -ENOMEM : ret;
}

static u64 end_of_memory(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, node_end_pfn(nid));
	return PFN_PHYS(end);
}

/**
 * kho_mem_take - KHO_IOC_MEM_TAKE
 *
 * Context: process; migrates pages, may take seconds.
 * Return: 0; -EINVAL; -ENOMEM no such range can be freed; -EINTR.
 */
long kho_mem_take(void *arg)
{
	struct kho_ioc_mem_take *a = arg;
	struct kho_range *r;
	int ret = kho_check_mem_take(a, MAX_NUMNODES), round;

	if (ret)
		return ret;
	r = new_range(0, a->bytes, false);
	if (!r)
		return -ENOMEM;
	mutex_lock(&range_lock);
	for (round = 0, ret = -ENOMEM; round < 3 && ret == -ENOMEM; round++)
		ret = search(a, min(a->max, end_of_memory()), &r->base);
	/* nobody will hear what was taken, to give it back */
	if (!ret && fatal_signal_pending(current)) {
		release(r->base, r->bytes);
		ret = -EINTR;
	}
	if (!ret) {
		list_add(&r->node, &ranges);
		__module_get(THIS_MODULE);
		a->base = r->base;
		pr_info("took %llu MiB\n", a->bytes >> 20);
	}
	mutex_unlock(&range_lock);
	if (ret)
		kfree(r);
	return ret;
}

/**
 * kho_mem_release - KHO_IOC_MEM_RELEASE
 *
 * Return: 0; -EINVAL; -ENOENT not a taken range; -EBUSY a region or a mapping is there.
 */
long kho_mem_release(void *arg)
{
	struct kho_ioc_mem *a = arg;
	struct kho_range *r;
	int ret = 0;

	if (a->pad)
		return -EINVAL;
	mutex_lock(&range_lock);
	r = find(a->base, a->bytes, false);
	if (!r)
		ret = -ENOENT;
	else if (r->pinned || r->given || atomic_read(&r->maps))
		ret = -EBUSY;
	else
		list_del(&r->node);
	mutex_unlock(&range_lock);
	if (ret)
		return ret;
	release(r->base, r->bytes);
	kfree(r);
	module_put(THIS_MODULE);
	return 0;
}

bool kho_mem_is_taken(u64 base, u64 bytes)
{
	bool ret;

	mutex_lock(&range_lock);
	ret = find(base, bytes, false);
	mutex_unlock(&range_lock);
	return ret;
}

int kho_mem_pin(u64 base, bool pin)
{
	struct kho_range *r;
	int ret = -ENOENT;

	mutex_lock(&range_lock);
	list_for_each_entry(r, &ranges, node)
		if (r->base == base && !r->adopted) {
			ret = pin && r->pinned ? -EBUSY : 0;
			r->pinned = pin;
		}
	mutex_unlock(&range_lock);
	return ret;
}

/**
 * kho_mem_give - KHO_IOC_MEM_GIVE
 *
 * Return: 0; -EINVAL; -ENODEV no region; -ENOENT not a taken range; -EBUSY the region itself,
 * given or mapped; -ENOSPC.
 */
long kho_mem_give(void *arg)
{
	struct kho_ioc_mem *a = arg;
	struct kho_ledger_range *g;
	struct kho_range *r;
	long ret = -ENOSPC;
	u32 i;

	if (a->pad)
		return -EINVAL;
	down_read(&kho_life);
	mutex_lock(&range_lock);
	r = find(a->base, a->bytes, false);
	if (!kho_live(&kho_down))
		ret = -ENODEV;
	else if (!r)
		ret = -ENOENT;
	else if (r->pinned || r->given || atomic_read(&r->maps))
		ret = -EBUSY;
	for (i = 0; ret == -ENOSPC && i < kho_down.ngiven; i++) {
		if (kho_known(&kho_down, &kho_down.given[i])->bytes)
			continue;
		g = &kho_down.given[i];
		r->given = true;
		*kho_known(&kho_down, g) = (struct kho_ledger_range) { a->base, a->bytes };
		WRITE_ONCE(g->base, a->base);
		smp_store_release(&g->bytes, a->bytes);
		ret = 0;
	}
	mutex_unlock(&range_lock);
	up_read(&kho_life);
	return ret;
}

void kho_mem_ungive(void)
{
	struct kho_range *r;

	mutex_lock(&range_lock);
	list_for_each_entry(r, &ranges, node)
		r->given = false;
	mutex_unlock(&range_lock);
}

/* --- memory of the kernel that made this one --- */

static bool was_given(u64 base, u64 bytes)
{
	u64 b, n;
	u32 i;

	for (i = 0; i < kho_up.ngiven; i++) {
		n = smp_load_acquire(&kho_up.given[i].bytes);
		b = READ_ONCE(kho_up.given[i].base);
		if (kho_within(base, bytes, b, n))
			return true;
	}
	return false;
}

/*
 * Only RAM of the machine, outside our own region, and only when nobody can run in it any more:
 * the other kernel is in a terminal state, none of its CPUs is its own, and each that is not ours answers from the park.
 */
static int may_adopt(u64 base, u64 bytes)
{
	struct kho_region *up = &kho_up;
	u64 end = base + bytes;
	u32 i;

	if (!kho_live(up))
		return -ENODEV;
	if (was_given(base, bytes))
		return base < up->base + up->bytes && up->base < end ? -EINVAL : 0;
	if (!kho_peer_ended(up))
		return -EPERM;
	for (i = 0; i < up->ncpus; i++)
		if (READ_ONCE(up->cpus[i].owner) == KHO_OWNER_OUTGOING)
			return -EPERM;
	if (base < up->base + up->bytes && up->base < end)
		return -EINVAL;
	for (i = 0; i < up->nram; i++) {
		if (kho_within(base, bytes, up->ram[i].base, up->ram[i].bytes))
			return kho_cpus_parked(up);
	}
	return -EPERM;
}

/* Whatever this kernel's default is: user space decides how adopted memory goes online. */
static int hold_offline(struct notifier_block *nb, unsigned long action, void *arg)
{
	struct memory_notify *m = arg;
	u64 base = PFN_PHYS(m->start_pfn);

	if (action == MEM_GOING_ONLINE && base >= READ_ONCE(adopt_base) &&
	    base < READ_ONCE(adopt_base) + READ_ONCE(adopt_bytes))
		return notifier_from_errno(-EAGAIN);
	return NOTIFY_OK;
}

static struct notifier_block offline_nb = { .notifier_call = hold_offline };

/**
 * kho_mem_adopt - KHO_IOC_MEM_ADOPT
 *
 * The blocks appear under /sys/devices/system/memory and stay offline whatever the default policy
 * is; write online_movable, or the next upgrade cannot take them again.
 *
 * Context: process; a second, when a CPU does not answer.
 * Return: 0; -EINVAL not aligned to memory blocks, or our own region; -EPERM not RAM of the
 * ledger, or the other kernel may still run there; -EBUSY so may a CPU that is neither ours nor in
 * the park; -ENODEV no kernel before us; what add_memory() returns.
 */
long kho_mem_adopt(void *arg)
{
	struct kho_ioc_mem *a = arg;
	int ret = kho_check_adopt(a, memory_block_size_bytes());
	struct kho_range *r;

	if (!ret)
		ret = may_adopt(a->base, a->bytes);
	if (ret)
		return ret;
	r = new_range(a->base, a->bytes, true);
	if (!r)
		return -ENOMEM;
	mutex_lock(&range_lock);
	adopt_base = a->base;
	adopt_bytes = a->bytes;
	ret = add_memory_driver_managed(memory_add_physaddr_to_nid(a->base), a->base, a->bytes,
					"System RAM (khoctl)", MHP_NONE);
	adopt_bytes = 0;
	if (!ret) {
		list_add(&r->node, &ranges);
		__module_get(THIS_MODULE);	/* the resource's name lies in the module */
	}
	mutex_unlock(&range_lock);
	if (ret)
		kfree(r);
	return ret;
}

/**
 * kho_mem_disown - KHO_IOC_MEM_DISOWN
 *
 * Return: 0; -EINVAL; -ENOENT not adopted; -EBUSY a page there cannot be moved.
 */
long kho_mem_disown(void *arg)
{
	struct kho_ioc_mem *a = arg;
	struct kho_range *r;
	int ret;

	if (a->pad)
		return -EINVAL;
	mutex_lock(&range_lock);
	r = find(a->base, a->bytes, true);
	ret = r ? offline_and_remove_memory(a->base, a->bytes) : -ENOENT;
	if (!ret)
		list_del(&r->node);
	mutex_unlock(&range_lock);
	if (ret)
		return ret;
	kfree(r);
	module_put(THIS_MODULE);
	return 0;
}

/* --- mmap --- */

static void vm_open(struct vm_area_struct *vma)
{
	struct kho_range *r = vma->vm_private_data;

	if (r)
		atomic_inc(&r->maps);
}

static void vm_close(struct vm_area_struct *vma)
{
	struct kho_range *r = vma->vm_private_data;

	if (r)
		atomic_dec(&r->maps);
}

static const struct vm_operations_struct vm_ops = { .open = vm_open, .close = vm_close };

int kho_mem_mmap(struct file *f, struct vm_area_struct *vma)
{
	u64 phys = PFN_PHYS((u64)vma->vm_pgoff), len = vma->vm_end - vma->vm_start;
	struct kho_range *r = NULL, *i;
	bool ok;
	int ret;

	if (vma->vm_pgoff > PHYS_PFN(~0ULL) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	ok = kho_live(&kho_up) && kho_within(phys, len, kho_up.bulk_base, kho_up.bulk_bytes);
	if (kho_live(&kho_up) && !(vma->vm_flags & VM_WRITE) &&
	    (kho_within(phys, len, kho_up.base + KHO_OFF_LEDGER, KHO_LEDGER_BYTES) ||
	     kho_within(phys, len, kho_up.base + KHO_OFF_DMESG, KHO_DMESG_BYTES))) {
		ok = true;
		vm_flags_clear(vma, VM_MAYWRITE);
	}
	mutex_lock(&range_lock);
	list_for_each_entry(i, &ranges, node)
		if (!i->adopted && kho_within(phys, len, i->base, i->bytes))
			r = i;
	if (r)
		atomic_inc(&r->maps);
	mutex_unlock(&range_lock);
	if (!ok && !r)
		return -EPERM;
	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTDUMP, VM_MAYEXEC);
	ret = remap_pfn_range(vma, vma->vm_start, vma->vm_pgoff, len, vma->vm_page_prot);
	if (ret) {
		if (r)
			atomic_dec(&r->maps);
		return ret;
	}
	vma->vm_private_data = r;
	vma->vm_ops = &vm_ops;
	return 0;
}

int kho_mem_setup(void)
{
	return register_memory_notifier(&offline_nb);
}

void kho_mem_cleanup(void)
{
	unregister_memory_notifier(&offline_nb);
}
