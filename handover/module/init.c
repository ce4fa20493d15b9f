// SPDX-License-Identifier: GPL-2.0-only
/*
 * REGION_INIT: everything in the head of a new region and in its low slot that does not come from
 * user space (which adds kernel image, ACPI tables, boot_params and initramfs through mmap
 * afterwards).  The ledger's magic is written last.
 */
#include "kho.h"

#include <linux/io.h>
#include <linux/memory.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <asm/cpufeature.h>
#include <asm/tsc.h>

#define PD_ENTRY	0x83ULL		/* present, writable, large page */
#define PD_UNCACHED	0x18ULL
#define MAP_1G		((u64)(1 + KHO_LOW_PGTABLE_NPD) << 39)	/* 512 GiB for each PDPT */
#define MAP_2M		((u64)KHO_LOW_PGTABLE_NPD << 30)

static u64 mapped_bytes(void)
{
	return boot_cpu_has(X86_FEATURE_GBPAGES) ? MAP_1G : MAP_2M;
}

/*
 * Identity map of the park code: PML4, PML5, PDPT, then either further PDPTs of 1 GiB pages or page
 * directories.  The last GiB below 4 GiB is uncached: local APIC, flash.
 */
static void identity_map(u8 *low, u64 phys)
{
	u64 *pml4 = (u64 *)(low + KHO_LOW_PGTABLE), *pml5 = pml4 + 512, *pdpt = pml5 + 512;
	u64 *pd = pdpt + 512, table = phys + KHO_LOW_PGTABLE, i;

	pml5[0] = table | 3;
	if (boot_cpu_has(X86_FEATURE_GBPAGES)) {
		for (i = 0; i < 1 + KHO_LOW_PGTABLE_NPD; i++)
			pml4[i] = (table + 0x2000 + i * PAGE_SIZE) | 3;
		for (i = 0; i < MAP_1G >> 30; i++)
			pdpt[i] = i << 30 | PD_ENTRY | (i == 3 ? PD_UNCACHED : 0);
		return;
	}
	pml4[0] = (table + 0x2000) | 3;
	for (i = 0; i < KHO_LOW_PGTABLE_NPD; i++)
		pdpt[i] = (table + 0x3000 + i * PAGE_SIZE) | 3;
	for (i = 0; i < MAP_2M >> 21; i++)
		pd[i] = i << 21 | PD_ENTRY | (i >> 9 == 3 ? PD_UNCACHED : 0);
}

static void put16(u8 *p, u16 v) { memcpy(p, &v, sizeof(v)); }
static void put32(u8 *p, u32 v) { memcpy(p, &v, sizeof(v)); }
static void put64(u8 *p, u64 v) { memcpy(p, &v, sizeof(v)); }

static void low_slot(u8 *low, u32 phys, u64 park)
{
	memset(low, 0, KHO_LOW_RAM);
	identity_map(low, phys);
	memset(low + KHO_LOW_IOAPIC, 0xff, PAGE_SIZE);
	memcpy(low, kho_sipi_blob, PAGE_SIZE);
	put16(low + SIPI_GDTR, PARK_GDT_BYTES - 1);
	put32(low + SIPI_GDTR + 2, phys + SIPI_GDT);
	put32(low + SIPI_FAR32, phys + SIPI_PM32);
	put16(low + SIPI_FAR32 + 4, 0x08);
	put32(low + SIPI_FAR64, phys + SIPI_LM64);
	put16(low + SIPI_FAR64 + 4, PARK_CS);
	put32(low + SIPI_CR3, phys + KHO_LOW_PGTABLE);
	put64(low + SIPI_ENTRY, park);
}

static void idt_gate(u8 *idt, int n, u64 target)
{
	u8 *g = idt + n * 16;

	put16(g, target);
	put16(g + 2, PARK_CS);
	put16(g + 4, 0x8e00);		/* present interrupt gate, no IST */
	put16(g + 6, target >> 16);
	put32(g + 8, target >> 32);
	put32(g + 12, 0);
}

static void park_page(u8 *head, u64 base, u64 low)
{
	u8 *p = head + KHO_OFF_PARK;
	int i;

	memcpy(p, kho_park_blob, PAGE_SIZE);
	put64(p + PARK_CR3_4, low + KHO_LOW_PGTABLE);
	put64(p + PARK_CR3_5, low + KHO_LOW_PGTABLE + PAGE_SIZE);
	put64(p + PARK_MBOX, base + KHO_OFF_MAILBOX);
	put64(p + PARK_STACKS, base + KHO_OFF_STACKS);
	put16(p + PARK_GDTR, PARK_GDT_BYTES - 1);
	put64(p + PARK_GDTR + 2, base + KHO_OFF_PARK + PARK_GDT);
	put16(p + PARK_IDTR, 32 * 16 - 1);
	put64(p + PARK_IDTR + 2, base + KHO_OFF_IDT);
	put64(p + PARK_SELF, base + KHO_OFF_PARK);
	for (i = 0; i < 32; i++)
		idt_gate(head + KHO_OFF_IDT, i, base + KHO_OFF_PARK +
			 (i == 2 ? PARK_NMI : i == 18 ? PARK_MCE : PARK_FAULT));
}

/* All that a CPU needs in the park, and on the way there. */
static void park(struct kho_region *r)
{
	low_slot(r->low, KHO_LOW_SLOT(r->low_slot), r->base + KHO_OFF_PARK);
	park_page(r->head, r->base, KHO_LOW_SLOT(r->low_slot));
}

/*
 * Whatever the peer has written there, and before one of its CPUs is sent to the park again: park, mailbox, and the
 * ledger as this kernel knows it. What the peer has said of itself stays, but for a state that cannot be.
 */
void kho_region_heal(struct kho_region *r)
{
	struct kho_ledger *l = r->ledger, *k = r->known;
	struct kho_ledger_side *p = kho_peer(r);
	u32 state = READ_ONCE(p->state);

	kho_mbox_break(r);
	park(r);
	memcpy(l, k, offsetof(struct kho_ledger, side));
	memcpy(l + 1, k + 1, k->bytes - sizeof(*l));
	p->id = k->side[r->peer].id;
	p->generation = k->side[r->peer].generation;
	if (state > KHO_STATE_FENCED)
		WRITE_ONCE(p->state, KHO_STATE_BOOTING);
	kho_self(r)->id = kho_instance_id;
	kho_self(r)->generation = kho_generation;
	kho_say(r, r->state);
	kho_beat_fill(r);
}

/* Tables behind the ledger; `at` is where the next one goes. */
static void *table(struct kho_ledger *l, struct kho_ledger_table *t, u32 *at, u32 count,
		   size_t entry)
{
	u64 bytes = ALIGN((u64)count * entry, 8);

	if (bytes > KHO_LEDGER_BYTES - *at)
		return NULL;
	t->off = *at;
	t->count = count;
	*at += bytes;
	return (void *)l + t->off;
}

static int user_table(struct kho_ledger *l, struct kho_ledger_table *t, u32 *at, u64 user,
		      u32 count, size_t entry)
{
	void *p = table(l, t, at, count, entry);

	if (!p)
		return -ENOSPC;
	return copy_from_user(p, u64_to_user_ptr(user), count * entry) ? -EFAULT : 0;
}

/* All CPUs of the machine that this kernel knows. */
static int cpu_table(struct kho_ledger *l, u32 *at)
{
	struct kho_ledger_cpu *c;
	u32 bsp = kho_apicid(0);
	int cpu, n = 0;

	for_each_possible_cpu(cpu)
		n += kho_apicid(cpu) != BAD_APICID;
	c = table(l, &l->cpus, at, n, sizeof(*c));
	if (!c)
		return -ENOSPC;
	for_each_possible_cpu(cpu) {
		struct kho_ledger_cpu *old;
		u32 id = kho_apicid(cpu);

		if (id == BAD_APICID)
			continue;
		c->apicid = id;
		c->node = cpu_to_node(cpu);
		c->owner = KHO_OWNER_OUTGOING;
		c->bsp = id == bsp;
		if (kho_live(&kho_up)) {
			old = kho_ledger_cpu(&kho_up, id);
			c->bsp = old && kho_known(&kho_up, old)->bsp;
			/* not taken from the kernel before us: it cannot be given on */
			if (!old || !kho_is_ours(&kho_up, old))
				return -EBUSY;
		}
		c++;
	}
	return 0;
}

/* Entries come from user space: only the constant part is believed. */
static int pci_table(struct kho_ledger *l)
{
	struct kho_ledger_pci *p = (void *)l + l->pci.off;
	u32 i;

	for (i = 0; i < l->pci.count; i++) {
		if (p[i].bridge > 1)
			return -EINVAL;
		p[i].owner = KHO_OWNER_OUTGOING;
		p[i].to = 0;
		p[i].pad0 = 0;
	}
	return 0;
}

static int ledger(struct kho_region *r, const struct kho_ioc_region_init *a)
{
	struct kho_ledger *l = r->head + KHO_OFF_LEDGER;
	u32 at = sizeof(*l);
	int ret;

	l->revision = KHO_REGION_REVISION;
	l->region_base = r->base;
	l->region_bytes = a->bytes;
	l->bulk_bytes = a->bulk_bytes;
	l->bulk_base = r->base + a->bytes - a->bulk_bytes;
	l->tsc_khz = tsc_khz;
	l->low_slot = r->low_slot;
	l->boot_apicid = a->boot_apicid;
	ret = cpu_table(l, &at);
	if (!ret)
		ret = user_table(l, &l->ram, &at, a->ram, a->nram, sizeof(struct kho_ledger_range));
	if (!ret)
		ret = user_table(l, &l->ecams, &at, a->ecams, a->necams,
				 sizeof(struct kho_ledger_ecam));
	if (!ret)
		ret = user_table(l, &l->windows, &at, a->windows, a->nwindows,
				 sizeof(struct kho_ledger_window));
	if (!ret)
		ret = user_table(l, &l->pci, &at, a->pci, a->npci, sizeof(struct kho_ledger_pci));
	if (!ret)
		ret = pci_table(l);
	if (!ret && !table(l, &l->given, &at, KHO_GIVEN_MAX, sizeof(struct kho_ledger_range)))
		ret = -ENOSPC;
	if (ret)
		return ret;
	kho_platform_fill(&l->platform);
	l->bytes = at;
	l->side[KHO_SIDE_OUTGOING].id = kho_instance_id;
	l->side[KHO_SIDE_OUTGOING].generation = kho_generation;
	l->side[KHO_SIDE_OUTGOING].state = KHO_STATE_READY;
	l->side[KHO_SIDE_INCOMING].id = a->instance_id;
	l->side[KHO_SIDE_INCOMING].generation = a->generation;
	l->side[KHO_SIDE_INCOMING].state = KHO_STATE_LOADED;
	smp_store_release(&l->magic, KHO_REGION_MAGIC);
	return 0;
}

static int check(const struct kho_ioc_region_init *a)
{
	int ret = kho_check_region(a, memory_block_size_bytes());

	if (ret)
		return ret;
	if (a->base + a->bytes > mapped_bytes())
		return -ERANGE;		/* out of reach of the park code's page table */
	if (!kho_mem_is_taken(a->base, a->bytes))
		return -EPERM;
	return 0;
}

static int build(struct kho_region *r, const struct kho_ioc_region_init *a)
{
	int ret;

	r->base = a->base;
	r->head = __va(a->base);
	r->low_slot = kho_free_slot();
	r->low = memremap(KHO_LOW_SLOT(r->low_slot), KHO_LOW_RAM, MEMREMAP_WB);
	if (!r->low)
		return -ENOMEM;
	memset(r->head, 0, KHO_HEAD_BYTES);
	park(r);
	ret = ledger(r, a);
	if (!ret)
		ret = kho_region_bind(r);
	if (ret)
		return ret;
	return kho_doorbell_open();
}

/**
 * kho_region_init - KHO_IOC_REGION_INIT
 *
 * Context: process; takes kho_life for writing.
 * Return: 0; -EBUSY there is a region, or the kernel that made this one still runs, or a CPU of
 * the kernel before us was not taken; -EINVAL; -ERANGE; -EPERM not a taken range; -ENOSPC tables
 * do not fit; -EFAULT; -ENODEV boot CPU unknown.
 */
long kho_region_init(void *arg)
{
	struct kho_ioc_region_init *a = arg;
	struct kho_region *r = &kho_down;
	int ret = check(a);

	if (ret)
		return ret;
	if (kho_cpu_of(a->boot_apicid) < 0)
		return -ENODEV;
	down_write(&kho_life);
	if (kho_live(r) || (kho_live(&kho_up) && kho_peer_runs(&kho_up)))
		ret = -EBUSY;		/* two kernels at a time, not three */
	else
		ret = kho_mem_pin(a->base, true);
	if (ret) {
		up_write(&kho_life);
		return ret;
	}
	ret = build(r, a);
	if (!ret) {
		a->low_slot = r->low_slot;
		kho_beat_fill(r);
		kho_region_activate(r);
	} else {
		kho_region_unbind(r);
		r->head = NULL;
	}
	up_write(&kho_life);
	if (ret)
		kho_mem_pin(a->base, false);
	return ret;
}
