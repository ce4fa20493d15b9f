// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two regions a kernel can know, and the way into their ledgers.
 *
 * The region above (kho_up) is found through the ACPI device KHOC0001 that the outgoing side put
 * into the DSDT; the one below (kho_down) is made by REGION_INIT.  Of what the peer can write, nothing
 * is used but its own words, checked: the ledger is copied once (kho_known()), and constants and what is ours
 * come from the copy; owners and states are compared, and lengths never come from shared memory twice.
 */
#include "kho.h"

#include <linux/acpi.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <asm/tsc.h>

struct kho_region kho_up = {
	.name = "up", .self = KHO_SIDE_INCOMING, .peer = KHO_SIDE_OUTGOING,
	.self_owner = KHO_OWNER_INCOMING, .peer_owner = KHO_OWNER_OUTGOING,
};
struct kho_region kho_down = {
	.name = "down", .self = KHO_SIDE_OUTGOING, .peer = KHO_SIDE_INCOMING,
	.self_owner = KHO_OWNER_OUTGOING, .peer_owner = KHO_OWNER_INCOMING,
};
DECLARE_RWSEM(kho_life);

struct kho_region *kho_region_of(u32 peer)
{
	struct kho_region *r = NULL;

	if (peer == KHO_PEER_INCOMING)
		r = &kho_down;
	else if (peer == KHO_PEER_OUTGOING)
		r = &kho_up;
	return r && kho_live(r) ? r : NULL;
}

bool kho_state_terminal(u32 state)
{
	return state >= KHO_STATE_RETIRED;	/* an unknown state is not one we can wait for */
}

/* The beat is read first: one that comes meanwhile would lie ahead of the time that was read. */
s64 kho_beat_age_ms(const struct kho_region *r)
{
	u64 beat = READ_ONCE(r->peer_beat_tsc);
	s64 age = rdtsc_ordered() - beat;

	return age > 0 ? age / tsc_khz : 0;
}

static bool beat_is_old(const struct kho_region *r)
{
	return kho_beat_age_ms(r) > KHO_SILENT_MS;
}

bool kho_peer_runs(const struct kho_region *r)
{
	u32 s = READ_ONCE(kho_peer(r)->state);

	return s >= KHO_STATE_BOOTING && !kho_state_terminal(s);
}

/*
 * Are all its CPUs known to be parked?  It says so when it has ended in order, or whoever fenced it; one
 * that panicked may still run on other CPUs for a while: the outgoing side fences it (KHO_IOC_STOP; the ledger
 * keeps saying that it panicked), the incoming side, which cannot, waits until nothing beats there any more.
 */
bool kho_peer_ended(const struct kho_region *r)
{
	u32 s = READ_ONCE(kho_peer(r)->state);

	if (s == KHO_STATE_PANICKED)
		return READ_ONCE(r->fenced) || (r == &kho_up && beat_is_old(r));
	return s < KHO_STATE_BOOTING || kho_state_terminal(s);
}

/*
 * Committed, this kernel is the machine: one that hung while it retired must not keep it from
 * resetting the machine, or from its consoles.  What that one owns stays untouched all the same.
 */
bool kho_peer_gone(const struct kho_region *r)
{
	if (kho_peer_ended(r))
		return true;
	return r == &kho_up && READ_ONCE(r->state) == KHO_STATE_COMMITTED && kho_beat_age_ms(r) > KHO_GONE_MS;
}

void kho_say(struct kho_region *r, u32 state)
{
	WRITE_ONCE(r->state, state);
	if (state <= KHO_STATE_FROZEN)
		WRITE_ONCE(r->frozen, state == KHO_STATE_FROZEN);
	smp_store_release(&kho_self(r)->state, state);
}

/* The table of khoctl_owner_table.h, for one entry as it is now. It is the peer's, if it says it were ours and is not. */
bool kho_may(const struct kho_region *r, enum kho_act act, bool ours, const u8 *owner, const u8 *to)
{
	u8 o = smp_load_acquire(owner);

	if (ours)
		o = r->self_owner;
	else if (o == r->self_owner)
		o = r->peer_owner;
	return kho_owner_may(act, r->self_owner, o, READ_ONCE(*to), kho_peer_ended(r));
}

bool kho_peer_silent(const struct kho_region *r)
{
	if (!kho_peer_runs(r))
		return true;
	return beat_is_old(r);
}

struct kho_ledger_cpu *kho_ledger_cpu(const struct kho_region *r, u32 apicid)
{
	u32 i;

	for (i = 0; i < r->ncpus; i++)
		if (kho_known(r, &r->cpus[i])->apicid == apicid)
			return &r->cpus[i];
	return NULL;
}

struct kho_ledger_pci *kho_ledger_pci(const struct kho_region *r, u16 segment, u8 bus, u8 devfn)
{
	struct kho_ledger_pci *p;
	u32 i;

	for (i = 0; i < r->npci; i++) {
		p = kho_known(r, &r->pci[i]);
		if (p->segment == segment && p->bus == bus && p->devfn == devfn)
			return &r->pci[i];
	}
	return NULL;
}

/*
 * The receiver is written first: whoever sees PARK sees for whom.  What stays parked changes with that
 * one write: the receiver may have taken it before there could be a second.
 */
void kho_set_owner(u8 *owner, u8 *to, u8 who, u8 receiver)
{
	if (who == KHO_OWNER_PARK)
		WRITE_ONCE(*to, receiver);
	if (who != KHO_OWNER_PARK || READ_ONCE(*owner) != who)
		smp_store_release(owner, who);
	if (who != KHO_OWNER_PARK)
		WRITE_ONCE(*to, 0);
}

/* Where table t (of the copy) begins in l: the ledger, or the copy. */
static void *table(void *l, const struct kho_ledger_table *t, size_t entry, u32 *n, int *err)
{
	*n = t->count;
	if (!t->count)
		return NULL;
	if (!kho_check_table(t, entry))
		*err = -EPROTO;
	return l + t->off;
}

static int tables(struct kho_region *r)
{
	struct kho_ledger *l = r->known;
	int err = 0;

	r->cpus = table(r->ledger, &l->cpus, sizeof(*r->cpus), &r->ncpus, &err);
	r->pci = table(r->ledger, &l->pci, sizeof(*r->pci), &r->npci, &err);
	r->given = table(r->ledger, &l->given, sizeof(*r->given), &r->ngiven, &err);
	r->ram = table(l, &l->ram, sizeof(*r->ram), &r->nram, &err);
	r->ecams = table(l, &l->ecams, sizeof(*r->ecams), &r->necams, &err);
	r->windows = table(l, &l->windows, sizeof(*r->windows), &r->nwindows, &err);
	return err;
}

static struct kho_ledger *copy_of(const struct kho_ledger *l)
{
	struct kho_ledger *c = kvmalloc(KHO_LEDGER_BYTES, GFP_KERNEL);

	if (c)
		memcpy(c, l, KHO_LEDGER_BYTES);
	return c;
}

/**
 * kho_region_bind - check a ledger, copy it and find its tables
 * @r: base, bytes, head are set
 *
 * Context: process, before @r is live. The inverse, also after a failure: kho_region_unbind().
 * Return: 0; -ENODEV not a ledger; -EPROTO other revision or broken; -ENOMEM.
 */
int kho_region_bind(struct kho_region *r)
{
	struct kho_ledger *l;
	int err;

	r->ledger = r->head + KHO_OFF_LEDGER;
	if (smp_load_acquire(&r->ledger->magic) != KHO_REGION_MAGIC)
		return -ENODEV;
	r->known = l = copy_of(r->ledger);
	if (!l)
		return -ENOMEM;
	err = kho_check_ledger(l, r->base);
	if (!err)
		err = tables(r);
	if (err)
		return err;
	r->bytes = l->region_bytes;
	r->bulk_base = l->bulk_base;
	r->bulk_bytes = l->bulk_bytes;
	r->low_slot = l->low_slot;
	r->tx = r->head + (r->self == KHO_SIDE_OUTGOING ? KHO_OFF_RING_DOWN : KHO_OFF_RING_UP);
	r->rx = r->head + (r->self == KHO_SIDE_OUTGOING ? KHO_OFF_RING_UP : KHO_OFF_RING_DOWN);
	r->console = r->head + KHO_OFF_CONSOLE;
	if (!r->low)
		r->low = memremap(KHO_LOW_SLOT(r->low_slot), KHO_LOW_RAM, MEMREMAP_WB);
	return r->low ? 0 : -ENOMEM;
}

void kho_region_unbind(struct kho_region *r)
{
	if (r->low)
		memunmap(r->low);
	r->low = NULL;
	kvfree(r->known);
	r->known = NULL;
	r->base = r->bytes = 0;
}

/* From here on timers, interrupts and hot-plug callbacks look at it. */
void kho_region_activate(struct kho_region *r)
{
	r->seq++;
	r->broken = false;
	r->attached = false;
	r->want_pong = false;
	r->state = READ_ONCE(kho_self(r)->state);
	r->frozen = false;
	r->fenced = false;
	r->tx_head = r->rx_tail = 0;
	r->peer_state = READ_ONCE(kho_peer(r)->state);
	r->peer_beat = READ_ONCE(kho_peer(r)->heartbeat);
	r->peer_beat_tsc = rdtsc_ordered();
	smp_store_release(&r->live, true);
	kho_doorbell_publish(r);
}

void kho_region_deactivate(struct kho_region *r)
{
	WRITE_ONCE(r->live, false);
	synchronize_rcu();		/* interrupts, timer, hot-plug that still saw it */
	cancel_work_sync(&r->poll_work);
	wake_up_all(&r->wait);
	kho_region_unbind(r);
}

/* Which low slot a new region would use: not the one this kernel itself lives in. */
u32 kho_free_slot(void)
{
	return kho_live(&kho_up) ? !kho_up.low_slot : 0;
}

static bool owns_anything(struct kho_region *r)
{
	u32 i;

	for (i = 0; i < r->ncpus; i++)
		if (!kho_is_ours(r, &r->cpus[i]))
			return true;
	for (i = 0; i < r->npci; i++)
		if (!kho_is_ours(r, &r->pci[i]))
			return true;
	return false;
}

/**
 * kho_region_drop - KHO_IOC_REGION_DROP
 *
 * Context: process; takes kho_life for writing (waits for operations under way).
 * Return: 0; -ENODEV no region; -EBUSY the incoming kernel runs or something is not back.
 */
long kho_region_drop(void *arg)
{
	struct kho_region *r = &kho_down;
	struct kho_ioc_u32 *a = arg;
	u64 base;

	if (a->value)
		return -EINVAL;
	down_write(&kho_life);
	if (!kho_live(r)) {
		up_write(&kho_life);
		return -ENODEV;
	}
	if (kho_peer_runs(r) || owns_anything(r)) {
		up_write(&kho_life);
		return -EBUSY;
	}
	base = r->base;
	kho_region_deactivate(r);
	memset(r->head, 0, KHO_HEAD_BYTES);
	r->head = NULL;
	/* before the next region can be made: what is given for that one stays given */
	kho_mem_pin(base, false);
	kho_mem_ungive();
	up_write(&kho_life);
	return 0;
}

/* This kernel was made by another one: take the side that was kept for it. */
static int up_probe(struct platform_device *pdev)
{
	struct kho_region *r = &kho_up;
	struct kho_ledger_cpu *c;
	struct resource *res;
	int ret;

	res = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	if (!res || resource_size(res) != KHO_HEAD_BYTES || kho_live(r))
		return -ENODEV;
	r->base = res->start;
	r->head = memremap(r->base, KHO_HEAD_BYTES, MEMREMAP_WB);
	if (!r->head)
		return -ENOMEM;
	ret = kho_region_bind(r);
	if (ret)
		dev_err(&pdev->dev, "no usable ledger at %pa: %d\n", &res->start, ret);
	else
		ret = kho_doorbell_open();
	if (ret) {
		kho_region_unbind(r);
		memunmap(r->head);
		r->head = NULL;
		return ret;
	}
	kho_instance_id = r->known->side[r->self].id;
	kho_generation = r->known->side[r->self].generation;
	/* this kernel cannot be without it: the veto and the bridge are in the module */
	__module_get(THIS_MODULE);
	kho_region_activate(r);
	c = kho_ledger_cpu(r, kho_apicid(0));
	if (c)
		kho_own(r, c, KHO_OWNER_INCOMING);
	else
		dev_warn(&pdev->dev, "boot CPU is not in the ledger\n");
	kho_beat_fill(r);
	kho_say(r, KHO_STATE_RUNNING);
	dev_info(&pdev->dev, "instance %u, generation %u\n", kho_instance_id, kho_generation);
	return 0;
}

static const struct acpi_device_id up_ids[] = { { "KHOC0001", 0 }, { } };
MODULE_DEVICE_TABLE(acpi, up_ids);

static struct platform_driver up_driver = {
	.probe = up_probe,
	.driver = {
		.name = "khoctl",
		.acpi_match_table = up_ids,
		.suppress_bind_attrs = true,
	},
};

int kho_region_setup(void)
{
	struct kho_region *r;

	for_each_region(r) {
		sema_init(&r->mbox_lock, 1);
		kho_link_init(r);
	}
	return platform_driver_register(&up_driver);
}

void kho_region_cleanup(void)
{
	platform_driver_unregister(&up_driver);
}
